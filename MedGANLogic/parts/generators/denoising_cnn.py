"""Convolutions in a row, for denoising: padded ones that make the image anew, and valid ones that correct it."""

from itertools import pairwise

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import CONVOLUTION, initialise_unnormed
from MedGANLogic.parts.grids import own_slice, without_margin
from MedGANLogic.parts.network import Network


class PlainCNN(Network):
    """Translate (B, in_channels, *size) to (B, out_channels, *size), linear; any size.

    ``layers`` c3, all of width but the last, which writes the image, with ReLU in between; no skip, no norm. WGAN-VGG
    has 8 of width 32 (Yang et al. 2018, arXiv:1708.00961, §II-C and fig. 1). Padded, and no ReLU at the end, because an
    image in [-1, 1] may be negative; weights as He et al. draw them [assumed].
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, layers: int) -> None:
        super().__init__()
        stack: list[nn.Module] = []
        for inputs, outputs in pairwise([in_channels, *[width] * (layers - 1), out_channels]):
            stack += [CONVOLUTION[dimensions](inputs, outputs, 3, padding=1), nn.ReLU()]
        self.translate = nn.Sequential(*stack[:-1])
        initialise_unnormed(self)
        # The first answers are near the middle of the window, whatever the input.
        nn.init.normal_(self.translate[-1].weight, std=0.02)  # type: ignore[arg-type]  # a convolution's

    def forward(self, image: Tensor) -> Tensor:
        translated: Tensor = self.translate(image)
        return translated


class ValidResidualCNN(Network):
    """Correct the centre of (B, out_channels·n, *size), n neighbouring slices of each image.

    The answer is (B, out_channels, *(size - 2·layers)): ``layers`` c3 without padding, LeakyReLU .2 in between; what
    the last one says is added to the centre of each own slice. The first half of the others is of width, the second
    of twice that (Wolterink et al. 2017, doi:10.1109/TMI.2017.2708987 [paper?]; 7 layers, 32-32-32-64-64-64-1
    [assumed]). The last one begins at 0: a network that has learnt nothing changes nothing [assumed]. A voxel depends
    on what lies within ``layers`` voxels of it and on nothing else, so that windows of any size agree.
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, layers: int) -> None:
        super().__init__()
        hidden = [width] * ((layers - 1) // 2) + [2 * width] * (layers // 2)
        stack: list[nn.Module] = []
        for inputs, outputs in pairwise([in_channels, *hidden, out_channels]):
            stack += [CONVOLUTION[dimensions](inputs, outputs, 3), nn.LeakyReLU(0.2)]
        self.residual = nn.Sequential(*stack[:-1])
        initialise_unnormed(self, slope=0.2)
        nn.init.zeros_(self.residual[-1].weight)  # type: ignore[arg-type]  # a convolution's

    def forward(self, image: Tensor) -> Tensor:
        own = own_slice(image, self.arguments["out_channels"])
        corrected: Tensor = without_margin(own, self.arguments["layers"]) + self.residual(image)
        return corrected
