"""The encoder of VAE-GAN: from an image to where its code may lie."""

from itertools import pairwise

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, initialise
from MedGANLogic.parts.grids import doublings, start_grid
from MedGANLogic.parts.network import Network


class LatentEncoder(Network):
    """Encode images (B, in_channels, *size) as moments (B, 2·latent): the codes' means, then their log variances.

    c5s2 of width, 2·, 4·width down to a grid of 8 to 15, fully connected 32·width, batch norm and ReLU on each, then
    linear; at 64² and width 64 the paper's 64-128-256-2048 (Larsen et al. 2016, arXiv:1512.09300, table 1). More than
    three steps keep to 4·width, weights are N(0, .02) [assumed]. ``parts.losses.latent`` reads the moments.
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, size: int, latent: int) -> None:
        super().__init__()
        steps = doublings(size, smallest=8)
        widths = [in_channels, *(width * min(2**step, 4) for step in range(steps))]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers.append(CONVOLUTION[dimensions](inputs, outputs, 5, stride=2, padding=2, bias=False))
            layers += [BATCH_NORM[dimensions](outputs), nn.ReLU()]
        grid, hidden = start_grid(size, steps), 32 * width
        self.moments = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(widths[-1] * grid**dimensions, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * latent),
        )
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        moments: Tensor = self.moments(image)
        return moments
