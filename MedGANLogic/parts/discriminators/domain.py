"""The domain classifier: which scanner made what the segmentation network thinks here?"""

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import CONVOLUTION
from MedGANLogic.parts.network import Network


class DomainClassifier(Network):
    """Tell for every place of (B, in_channels, *size) its domain by a logit: (B, 1, *size), positive for the source.

    Three c3-width, LeakyReLU .2, c1-1. It reads the activations of several layers at once, so that the segmentation
    network is corrected where the domains differ first (Kamnitsas et al. 2017, arXiv:1612.08894, §2.4). Depth and width
    100 [paper?]. No norm: statistics of a batch of one domain would hide what is to be told [assumed].
    """

    def __init__(self, dimensions: int, in_channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (in_channels, width, width):
            layers += [CONVOLUTION[dimensions](channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        self.score = nn.Sequential(*layers, CONVOLUTION[dimensions](width, 1, 1))

    def forward(self, activations: Tensor) -> Tensor:
        logits: Tensor = self.score(activations)
        return logits
