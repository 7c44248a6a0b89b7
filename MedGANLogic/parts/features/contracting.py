"""The contracting path of VGG: convolutions at one resolution, then halve; shared by what reads several levels."""

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, MAX_POOL

#: Convolutions at each level of VGG16 (Simonyan & Zisserman 2015, arXiv:1409.1556, table 1, D).
VGG16 = (2, 2, 3, 3, 3)


class ContractingPath(nn.Module):
    """Read (B, in_channels, *size) on at most five resolutions: level l is (B, widths[l], *size / 2^(l + 1)).

    VGG16 up to its fifth pool: c3-width ×2, 2·width ×2, 4·width ×3, 8·width ×3, 8·width ×3, max-pool after each level;
    width 64 in the paper. Batch norm instead of pre-training on photographs, because nothing is downloaded [assumed].
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, levels: int) -> None:
        super().__init__()
        self.widths = [width * min(2**level, 8) for level in range(levels)]
        self.levels = nn.ModuleList(
            _level(dimensions, inputs, outputs, convolutions)
            for inputs, outputs, convolutions in zip(
                [in_channels, *self.widths[:-1]], self.widths, VGG16[:levels], strict=True
            )
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features = []
        for level in self.levels:
            image = level(image)
            features.append(image)
        return features


def _level(dimensions: int, inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, *[outputs] * (convolutions - 1)):
        convolution = CONVOLUTION[dimensions](channels, outputs, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, BATCH_NORM[dimensions](outputs), nn.ReLU()]
    return nn.Sequential(*layers, MAX_POOL[dimensions](2))
