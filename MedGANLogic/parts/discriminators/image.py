"""Discriminators that give a whole image one logit."""

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, MAX_POOL, initialise
from MedGANLogic.parts.network import Network


class ImageDiscriminator(Network):
    """Score (B, in_channels, size, size(, size)) with one logit an image: (B, 1).

    c3-width, width s2, 2·width, 2·width s2, 4·width, 4·width s2, 8·width, 8·width s2, LeakyReLU .2, batch norm but in
    the first; FC 16·width, LeakyReLU .2, FC 1; width 64 in SRGAN (Ledig et al. 2017, arXiv:1609.04802, fig. 4).
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, size: int) -> None:
        super().__init__()
        convolution, norm = CONVOLUTION[dimensions], BATCH_NORM[dimensions]
        layers: list[nn.Module] = [convolution(in_channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        channels = width
        for layer in range(1, 8):
            wider = width * 2 ** (layer // 2)
            layers.append(convolution(channels, wider, 3, stride=1 + layer % 2, padding=1, bias=False))
            layers += [norm(wider), nn.LeakyReLU(0.2)]
            channels = wider
        edge = -(-size // 16)
        layers += [nn.Flatten(), nn.Linear(channels * edge**dimensions, 16 * width), nn.LeakyReLU(0.2)]
        self.score = nn.Sequential(*layers, nn.Linear(16 * width, 1))
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.score(image)
        return logits


class PooledImageDiscriminator(Network):
    """Score (B, in_channels, size, size(, size)) with one logit an image: (B, 1); size at least 8.

    c5-width, 2·, 4·, 8·width, batch norm, ReLU, max-pool after the first three; FC 16·width, FC 4·width, FC 1; width 32
    (Nie et al. 2017, arXiv:1612.05362, §2.2). Padded convolutions [assumed].
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for level in range(4):
            wider = width * 2**level
            layers.append(CONVOLUTION[dimensions](channels, wider, 5, padding=2, bias=False))
            layers += [BATCH_NORM[dimensions](wider), nn.ReLU()]
            layers += [MAX_POOL[dimensions](2)] if level < 3 else []
            channels = wider
        layers += [nn.Flatten(), nn.Linear(channels * (size // 8) ** dimensions, 16 * width), nn.ReLU()]
        layers += [nn.Linear(16 * width, 4 * width), nn.ReLU(), nn.Linear(4 * width, 1)]
        self.score = nn.Sequential(*layers)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.score(image)
        return logits
