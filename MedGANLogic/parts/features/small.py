"""A small encoder of our own, for perceptual terms without weights from elsewhere, in 2D and 3D."""

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import AVERAGE_POOL, CONVOLUTION
from MedGANLogic.parts.network import Network


class SmallFeatures(Network):
    """Return the features of (B, in_channels, *size) in [-1, 1]: (B, width · 2^(levels - 1), *size / 2^(levels - 1)).

    ``levels`` of two c3 of width, 2·, 4·width …, LeakyReLU .2, halved by averages between levels; no norm, so that
    features depend on nothing but the image, and no level loses the intensity, which means something here.
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, levels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for level in range(levels):
            layers += [AVERAGE_POOL[dimensions](2)] if level else []
            for _ in range(2):
                convolution = CONVOLUTION[dimensions](channels, width * 2**level, 3, padding=1)
                nn.init.kaiming_normal_(convolution.weight, a=0.2)
                layers += [convolution, nn.LeakyReLU(0.2)]
                channels = width * 2**level
        self.features = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.features(image)
        return features
