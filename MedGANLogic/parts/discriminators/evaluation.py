"""The evaluation network of DAN: how good is this segmentation of this image?"""

from torch import Tensor, nn

from MedGANLogic.parts.features.contracting import ContractingPath
from MedGANLogic.parts.network import Network


class EvaluationNetwork(Network):
    """Score segmentation and image, joined in (B, in_channels, size, size(, size)), with one logit: (B, 1).

    ``levels`` levels of VGG16's contracting path, FC 16·width, ReLU, FC 16·width, ReLU, FC 1; size at least 2^levels
    (Zhang et al. 2017, doi:10.1007/978-3-319-66179-7_47). Width 64 and 5 levels are VGG16; the widths of the fully
    connected layers and that the two are joined as channels [paper?].
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, levels: int, size: int) -> None:
        super().__init__()
        self.contract = ContractingPath(dimensions, in_channels, width, levels)
        inputs = self.contract.widths[-1] * (size // 2**levels) ** dimensions
        self.score = nn.Sequential(
            nn.Flatten(),
            nn.Linear(inputs, 16 * width),
            nn.ReLU(),
            nn.Linear(16 * width, 16 * width),
            nn.ReLU(),
            nn.Linear(16 * width, 1),
        )

    def forward(self, joined: Tensor) -> Tensor:
        logits: Tensor = self.score(self.contract(joined)[-1])
        return logits
