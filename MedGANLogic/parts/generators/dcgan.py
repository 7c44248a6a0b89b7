"""The generator of DCGAN, which most latent systems share."""

from itertools import pairwise

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, TRANSPOSED, initialise
from MedGANLogic.parts.grids import central, doublings, start_grid
from MedGANLogic.parts.network import Network


class DCGANGenerator(Network):
    """Make images (B, out_channels, *size) in [-1, 1] of codes (B, latent); conditions are part of the code.

    The code is projected to a grid of 8·width, then transposed convolutions c4s2 double it: 8·, 4·, 2·width, width,
    image; batch norm and ReLU on all but the output, tanh there, weights N(0, .02). At 64² and width 128 these are
    the paper's 4×4×1024-512-256-128 (Radford et al. 2015, arXiv:1511.06434, §3 and fig. 1), with kernel 4 for its 5.
    ``width`` is the narrowest hidden width. Other sizes start at a grid of 4 to 7, are cropped in the middle and keep
    to 8·width [assumed].
    """

    def __init__(self, dimensions: int, latent: int, out_channels: int, width: int, size: int) -> None:
        super().__init__()
        self.size = size
        steps = doublings(size, smallest=4)
        transposed, norm = TRANSPOSED[dimensions], BATCH_NORM[dimensions]
        widths = [width * min(2**step, 8) for step in reversed(range(steps))]
        layers: list[nn.Module] = [
            nn.Unflatten(1, (latent, *[1] * dimensions)),
            transposed(latent, widths[0], start_grid(size, steps), bias=False),
        ]
        for inputs, outputs in pairwise(widths):
            layers += [norm(inputs), nn.ReLU()]
            layers.append(transposed(inputs, outputs, 4, stride=2, padding=1, bias=False))
        layers += [norm(width), nn.ReLU(), transposed(width, out_channels, 4, stride=2, padding=1), nn.Tanh()]
        self.image = nn.Sequential(*layers)
        initialise(self)

    def forward(self, code: Tensor) -> Tensor:
        return central(self.image(code), self.size)
