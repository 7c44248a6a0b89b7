"""The generator of the context-aware GAN: nine convolutions, two of which take a margin off."""

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, initialise
from MedGANLogic.parts.network import Network


class ValidCNN(Network):
    """Translate (B, in_channels, *size) to the centre of the target: (B, out_channels, *(size - 16)), linear.

    c9-width valid, c3-width ×3, c9-2·width valid, c3-2·width ×2, c3-width, c3-out; batch norm and ReLU but after the
    last; width 32 and 32³ → 16³ (Nie et al. 2017, arXiv:1612.05362, §2.1 [paper: released code]). The c3 are padded
    with zeros as published: a voxel looks 15 voxels far and the margin is 8, so that the outer 7 of an output see some
    zeros where the image goes on, and depend on the window.
    """

    #: Voxels that the output lacks on each side.
    MARGIN = 8

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        convolution, norm = CONVOLUTION[dimensions], BATCH_NORM[dimensions]
        table = ((width, 9), (width, 3), (width, 3), (width, 3), (2 * width, 9), (2 * width, 3), (2 * width, 3))
        layers: list[nn.Module] = []
        channels = in_channels
        for wide, kernel in (*table, (width, 3)):
            layers.append(convolution(channels, wide, kernel, padding=1 if kernel == 3 else 0, bias=False))
            layers += [norm(wide), nn.ReLU()]
            channels = wide
        self.translate = nn.Sequential(*layers, convolution(width, out_channels, 3, padding=1))
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        centre: Tensor = self.translate(image)
        return centre
