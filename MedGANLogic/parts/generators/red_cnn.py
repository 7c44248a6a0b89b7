"""RED-CNN: convolutions that take voxels off, deconvolutions that put them back, and shortcuts between the two."""

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import CONVOLUTION, TRANSPOSED, initialise
from MedGANLogic.parts.grids import own_slice
from MedGANLogic.parts.network import Network

_KERNEL = 5


class ResidualEncoderDecoder(Network):
    """Correct (B, out_channels·n, *size), n neighbouring slices of each image, to (B, out_channels, *size).

    ``levels`` convolutions c5-width without padding, then as many deconvolutions, the last to the image; ReLU after
    each, but shortcuts come first: what every second convolution wrote, and the image itself, is added to the
    deconvolution that has its size. Weights N(0, .01). RED-CNN has 5 and 5 of width 96 (Chen et al. 2017,
    arXiv:1702.00288, §II-B and fig. 1); without the last ReLU, because an image in [-1, 1] may be negative [assumed].
    size is more than 4·levels.
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        convolution, transposed = CONVOLUTION[dimensions], TRANSPOSED[dimensions]
        self.encode = nn.ModuleList(
            convolution(in_channels if level == 0 else width, width, _KERNEL) for level in range(levels)
        )
        self.decode = nn.ModuleList(
            transposed(width, out_channels if level == 0 else width, _KERNEL) for level in range(levels)
        )
        self.activation = nn.ReLU()
        initialise(self, deviation=0.01)

    def forward(self, image: Tensor) -> Tensor:
        written = [own_slice(image, self.arguments["out_channels"])]
        for convolution in self.encode:
            image = self.activation(convolution(image))
            written.append(image)
        for level in reversed(range(len(self.decode))):
            image = self.decode[level](image)
            image = image + written[level] if level % 2 == 0 else image
            image = self.activation(image) if level else image
        return image
