"""VGG19 as torchvision lays it out, up to the activation that perceptual losses compare."""

import torch
from torch import Tensor, nn

from MedGANLogic.parts.network import Network

_CONVOLUTIONS = (2, 2, 4, 4, 4)
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class VGG19Features(Network):
    """Return the features of (B, 1 or 3, H, W) in [-1, 1] after the last convolution's ReLU: (B, 8·width, H/16, W/16).

    relu5_4 of VGG19 (Simonyan & Zisserman 2015, arXiv:1409.1556, table 1, E; width 64), which SRGAN compares
    (arXiv:1609.04802, eq. 5). Weights have torchvision's names and expect what it expects: RGB, scaled to [0, 1] and
    then by mean and deviation of ImageNet; grey is shown as three equal channels.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for level, convolutions in enumerate(_CONVOLUTIONS):
            layers += [nn.MaxPool2d(2)] if level else []
            for _ in range(convolutions):
                wider = width * min(2**level, 8)
                layers += [nn.Conv2d(channels, wider, 3, padding=1), nn.ReLU()]
                channels = wider
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        coloured = image.expand(-1, 3, -1, -1)
        features: Tensor = self.features(((coloured + 1) / 2 - self.mean) / self.deviation)
        return features
