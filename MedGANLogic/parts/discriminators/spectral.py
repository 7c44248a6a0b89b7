"""A discriminator whose every layer can stretch its input by no more than one: spectral normalisation."""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from MedGANLogic.parts.dimensions import CONVOLUTION
from MedGANLogic.parts.grids import doublings
from MedGANLogic.parts.network import Network


class SpectralDiscriminator(Network):
    """Score images (B, in_channels, *size) with logits (B, outputs), without norm of activations.

    c3s1 and c4s2 of width, 2·, 4·, …, then c3s1 of twice the last, LeakyReLU .1, and one linear layer; every layer's
    weight is divided by its largest singular value, found by one power iteration a forward pass in training (Miyato
    et al. 2018, arXiv:1802.05957, table 3b and algorithm 1; width 64 for 32²). A size that is no multiple of 2^levels
    loses its last voxels to the strides [assumed].
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, size: int, outputs: int) -> None:
        super().__init__()
        steps = doublings(size, smallest=4)
        convolution = CONVOLUTION[dimensions]
        layers: list[nn.Module] = []
        channels = in_channels
        for step in range(steps):
            wide = width * min(2**step, 8)
            layers += [spectral_norm(convolution(channels, wide, 3, padding=1)), nn.LeakyReLU(0.1)]
            layers += [spectral_norm(convolution(wide, wide, 4, stride=2, padding=1)), nn.LeakyReLU(0.1)]
            channels = wide
        wide = width * min(2**steps, 8)
        layers += [spectral_norm(convolution(channels, wide, 3, padding=1)), nn.LeakyReLU(0.1), nn.Flatten()]
        self.score = nn.Sequential(*layers, spectral_norm(nn.Linear(wide * (size >> steps) ** dimensions, outputs)))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.score(image)
        return logits
