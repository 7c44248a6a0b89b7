"""Convolutions in a row, for segmentation: dilated ones, which see far, and valid ones, which see a patch."""

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, DROPOUT, initialise
from MedGANLogic.parts.network import Network


class DilatedCNN(Network):
    """Segment (B, in_channels, *size) into logits (B, out_channels, *size); any size.

    Seven c3-width, 1, 1, 2, 4, 8, 16 and 1 voxels between their taps, batch norm and ReLU after each, then c1: a voxel
    depends on the 67 around it along every axis and on all of them; width 32 (Moeskops et al. 2017, arXiv:1707.03195,
    after Yu & Koltun 2016, arXiv:1511.07122). Padded with zeros [assumed]: at the edge of a window a voxel sees these
    instead of what lies beyond.
    """

    DILATIONS = (1, 1, 2, 4, 8, 16, 1)

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, dilation in zip([in_channels, *[width] * 6], self.DILATIONS, strict=True):
            layers += _normed(dimensions, inputs, width, 3, dilation=dilation, padding=dilation)
        self.segment = nn.Sequential(*layers, CONVOLUTION[dimensions](width, out_channels, 1))
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.segment(image)
        return logits


class ValidPatchCNN(Network):
    """Segment the centre of (B, in_channels, *size): logits (B, out_channels, *(size - 16)).

    Eight c3 without padding, four of width and four of 2·width, dropout .25, c1-4·width, dropout .25, c1; batch norm
    and ReLU after all but the last; dropout takes whole channels. Width 64 and 31² → 15² (Li, Wang & Yu 2017,
    doi:10.1007/978-3-319-75238-9_11 [third-party code]). A voxel depends on what lies within 8 voxels of it and on
    nothing else, so that windows of any size agree.
    """

    #: Voxels that the output lacks on each side.
    MARGIN = 8

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        drop, layers = DROPOUT[dimensions], list[nn.Module]()
        widths = [*[width] * 4, *[2 * width] * 4]
        for inputs, outputs in zip([in_channels, *widths], widths, strict=False):
            layers += _normed(dimensions, inputs, outputs, 3)
        layers += [drop(0.25), *_normed(dimensions, 2 * width, 4 * width, 1), drop(0.25)]
        self.segment = nn.Sequential(*layers, CONVOLUTION[dimensions](4 * width, out_channels, 1))
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.segment(image)
        return logits


def _normed(
    dimensions: int, inputs: int, outputs: int, kernel: int, dilation: int = 1, padding: int = 0
) -> list[nn.Module]:
    convolution = CONVOLUTION[dimensions](inputs, outputs, kernel, dilation=dilation, padding=padding, bias=False)
    return [convolution, BATCH_NORM[dimensions](outputs), nn.ReLU()]
