"""The critic of SegAN: it gives no score, but everything that it sees."""

import torch
from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, initialise
from MedGANLogic.parts.network import Network


class FeatureCritic(Network):
    """Describe (B, in_channels, *size) by (B, features): the image itself and every level of convolutions, float32.

    Each level is scaled by features / ((levels + 1) · its own number), so that the mean absolute difference of two
    descriptions is the mean over levels of each level's mean absolute difference: the multi-scale L1 (Xue et al. 2018,
    arXiv:1706.01805, eq. 2). c4s2 width, 2·, 4·width …, LeakyReLU .2, batch norm but in the first; width 64, 3 levels
    [paper: third-party code]. No activation is in place: the levels are what comes out of each LeakyReLU.
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, levels: int) -> None:
        super().__init__()
        convolution, norm = CONVOLUTION[dimensions], BATCH_NORM[dimensions]
        first = nn.Sequential(convolution(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2))
        self.levels = nn.ModuleList([first])
        for level in range(1, levels):
            wider = width * 2**level
            shrunk = convolution(wider // 2, wider, 4, stride=2, padding=1, bias=False)
            self.levels.append(nn.Sequential(shrunk, norm(wider), nn.LeakyReLU(0.2)))
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        seen = [image]
        for level in self.levels:
            seen.append(level(seen[-1]))
        flat = [one.float().flatten(1) for one in seen]
        features = sum(one.shape[1] for one in flat)
        return torch.cat([one * (features / (len(flat) * one.shape[1])) for one in flat], dim=1)
