"""The discriminator of BEGAN: an image is as real as it can be rebuilt."""

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import CONVOLUTION
from MedGANLogic.parts.generators.upsampling import SMALLEST, UpsamplingDecoder, elu_pair
from MedGANLogic.parts.grids import doublings, start_grid
from MedGANLogic.parts.network import Network


class Autoencoder(Network):
    """Rebuild images (B, in_channels, *size) from codes of ``latent`` numbers; the output is linear.

    c3 of ``width``, then per halving two c3 and a c3s2, all with ELU, whose widths grow by ``width`` a step; two c3 at
    the smallest grid, fully connected without activation to the code, and ``UpsamplingDecoder`` back (Berthelot et al.
    2017, arXiv:1703.10717, §3.5 and fig. 1; without the same options). The energy of an image is its L1 error.
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, size: int, latent: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        steps = doublings(size, SMALLEST)
        layers: list[nn.Module] = [convolution(in_channels, width, 3, padding=1), nn.ELU()]
        for step in range(1, steps + 1):
            layers += elu_pair(dimensions, width * step, width * (step + 1))
            layers += [convolution(width * (step + 1), width * (step + 1), 3, stride=2, padding=1), nn.ELU()]
        deepest, grid = width * (steps + 1), start_grid(size, steps)
        layers += elu_pair(dimensions, deepest, deepest)
        self.encode = nn.Sequential(*layers, nn.Flatten(), nn.Linear(deepest * grid**dimensions, latent))
        self.decode = UpsamplingDecoder(dimensions, latent, in_channels, width, size)

    def forward(self, image: Tensor) -> Tensor:
        rebuilt: Tensor = self.decode(self.encode(image))
        return rebuilt
