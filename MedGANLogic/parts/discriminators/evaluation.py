"""How good is this segmentation of this image: the evaluation network of DAN, the critic of SCAN."""

from torch import Tensor, nn

from MedGANLogic.parts.features.contracting import ContractingPath
from MedGANLogic.parts.features.residual_path import ResidualPath
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


class ResidualCritic(Network):
    """Score image and segmentation, joined in (B, in_channels, *size), with one logit: (B, 1); any size ≥ 2^levels.

    The residual path of SCAN's segmenter, whose deepest level is averaged over all places, then FC 1 (Dai et al. 2017,
    arXiv:1703.08770 [paper?: its layers]).
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, levels: int) -> None:
        super().__init__()
        self.contract = ResidualPath(dimensions, in_channels, width, levels)
        self.score = nn.Linear(self.contract.widths[-1], 1)

    def forward(self, joined: Tensor) -> Tensor:
        logits: Tensor = self.score(self.contract(joined).flatten(2).mean(2))
        return logits
