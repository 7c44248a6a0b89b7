"""CasNet: U-Nets end to end, each of which refines the image that the one before it made."""

from torch import Tensor, nn

from MedGANLogic.parts.generators.strided_unet import StridedUNet
from MedGANLogic.parts.network import Network


class CascadedUNet(Network):
    """Translate (B, in_channels, *size) in [-1, 1] to (B, out_channels, *size) in [-1, 1]; size a multiple of 2^levels.

    ``blocks`` U-blocks: the first reads the input, each further one the image (out_channels, after tanh) that the one
    before it made (Armanious et al. 2018, arXiv:1806.06397, fig. 3; six of 64 to 512 channels on 8 levels). A U-block
    is a ``StridedUNet``, whose dropout and norms are pix2pix's [assumed].
    """

    def __init__(
        self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int, blocks: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            StridedUNet(dimensions, out_channels if block else in_channels, out_channels, width, levels)
            for block in range(blocks)
        )

    def forward(self, image: Tensor) -> Tensor:
        for block in self.blocks:
            image = block(image)
        return image
