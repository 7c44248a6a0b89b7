"""A U-Net without norm, and the one that says what is to be added to its input: for what must keep its values."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from MedGANLogic.parts.dimensions import AVERAGE_POOL, CONVOLUTION, initialise_unnormed
from MedGANLogic.parts.grids import fold, own_slice, unfold
from MedGANLogic.parts.network import Network

#: Of what is below 0 something must pass: without a norm, units that are silent for all images stay silent.
_SLOPE = 0.2


class NormFreeUNet(Network):
    """Translate (B, in_channels, *size) to (B, out_channels, *size), linear; size a multiple of 2^(levels - 1).

    ``levels`` resolutions of width, 2·, then 4·width; on each two c3 with LeakyReLU .2, on the way up after joining
    what was doubled (nearest neighbour) with the skip; halved by averages, which keep a mean as it is; c1-out
    (Ronneberger et al. 2015, arXiv:1505.04597, with padding). No norm: a patch's statistics are not those of a slice,
    and a norm would take away how strong the noise is [assumed].
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * min(2**level, 4) for level in range(levels)]
        self.down = nn.ModuleList(_pair(dimensions, *channels) for channels in pairwise([in_channels, *widths]))
        self.up = nn.ModuleList(
            _pair(dimensions, deep + shallow, shallow) for shallow, deep in reversed(list(pairwise(widths)))
        )
        self.shrink = AVERAGE_POOL[dimensions](2)
        self.output = CONVOLUTION[dimensions](width, out_channels, 1)
        initialise_unnormed(self, slope=_SLOPE)

    def forward(self, image: Tensor) -> Tensor:
        skips = []
        for level, pair in enumerate(self.down):
            image = pair(self.shrink(image) if level else image)
            skips.append(image)
        image = skips.pop()
        for pair in self.up:
            image = pair(torch.cat([interpolate(image, scale_factor=2.0, mode="nearest"), skips.pop()], dim=1))
        translated: Tensor = self.output(image)
        return translated


class ResidualUNet(Network):
    """Correct (B, out_channels·n, *size), n neighbouring slices of each image, to (B, out_channels, *size).

    A ``NormFreeUNet`` works on the image with every 2×2(×2) neighbourhood folded into channels (as in
    arXiv:1609.05158, backwards), which halves the time of a step; a c3 at full resolution, which sees the input again,
    and a c3-out say what is added to each image's own slice (residual learning, Zhang et al. 2017, arXiv:1608.03981,
    §III). The last one begins at 0: a network that has learnt nothing changes nothing. Size: a multiple of 2^levels.
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        fine, places = max(width // 4, 1), 2**dimensions
        convolution = CONVOLUTION[dimensions]
        self.coarse = NormFreeUNet(dimensions, in_channels * places, fine * places, width, levels)
        self.refine = nn.Sequential(convolution(fine + in_channels, fine, 3, padding=1), nn.LeakyReLU(_SLOPE))
        self.output = convolution(fine, out_channels, 3, padding=1)
        for part in (self.refine, self.output):
            initialise_unnormed(part, slope=_SLOPE)
        nn.init.zeros_(self.output.weight)

    def forward(self, image: Tensor) -> Tensor:
        seen = torch.cat([unfold(self.coarse(fold(image))), image], dim=1)
        corrected: Tensor = own_slice(image, self.arguments["out_channels"]) + self.output(self.refine(seen))
        return corrected


def _pair(dimensions: int, inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [CONVOLUTION[dimensions](channels, outputs, 3, padding=1), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers)
