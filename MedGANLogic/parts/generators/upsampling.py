"""The decoder of BEGAN: convolutions between nearest-neighbour doublings."""

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import CONVOLUTION
from MedGANLogic.parts.grids import central, doublings, start_grid
from MedGANLogic.parts.network import Network

#: The paper's smallest grid; sizes between its powers of two start from 8 to 15.
SMALLEST = 8


class UpsamplingDecoder(Network):
    """Make images (B, out_channels, *size) of codes (B, latent); the output is linear.

    Fully connected without activation to a grid of ``width`` channels, two c3 of ``width`` with ELU, then per doubling
    nearest neighbour ×2 and again two of them, one c3 to the image (Berthelot et al. 2017, arXiv:1703.10717, §3.5 and
    fig. 1; width 64 to 128 there). Without the paper's optional residuals and skip connections (§3.5.1).
    Sizes other than 8·2^k are cropped in the middle [assumed].
    """

    def __init__(self, dimensions: int, latent: int, out_channels: int, width: int, size: int) -> None:
        super().__init__()
        self.size = size
        steps = doublings(size, SMALLEST)
        grid = (start_grid(size, steps),) * dimensions
        layers: list[nn.Module] = [nn.Linear(latent, width * grid[0] ** dimensions), nn.Unflatten(1, (width, *grid))]
        layers += elu_pair(dimensions, width, width)
        for _ in range(steps):
            layers += [nn.Upsample(scale_factor=2), *elu_pair(dimensions, width, width)]
        self.image = nn.Sequential(*layers, CONVOLUTION[dimensions](width, out_channels, 3, padding=1))

    def forward(self, code: Tensor) -> Tensor:
        return central(self.image(code), self.size)


def elu_pair(dimensions: int, inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """Return two 3-convolutions with ELU, of which the last changes the number of channels."""
    convolution = CONVOLUTION[dimensions]
    return (
        convolution(inputs, inputs, 3, padding=1),
        nn.ELU(),
        convolution(inputs, outputs, 3, padding=1),
        nn.ELU(),
    )
