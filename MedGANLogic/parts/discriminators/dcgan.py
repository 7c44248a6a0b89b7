"""DCGAN's discriminator, the critic that a gradient penalty allows, and heads that read their features."""

from abc import ABC, abstractmethod
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, initialise
from MedGANLogic.parts.grids import doublings
from MedGANLogic.parts.network import Network


class _StridedJudge(Network, ABC):
    """Strided convolutions down to a grid of 4 to 7, and one convolution as large as that grid for the scores."""

    def __init__(self, dimensions: int, in_channels: int, width: int, size: int, outputs: int) -> None:
        super().__init__()
        steps = doublings(size, smallest=4)
        convolution = CONVOLUTION[dimensions]
        widths = [width * min(2**step, 8) for step in range(steps)]
        layers: list[nn.Module] = [convolution(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for narrow, wide in pairwise(widths):
            layers.append(convolution(narrow, wide, 4, stride=2, padding=1, bias=False))
            layers += [self._norm(dimensions, wide), nn.LeakyReLU(0.2)]
        grid = size >> steps
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(convolution(widths[-1], outputs, grid), nn.Flatten())
        self.feature_shape = (widths[-1], *[grid] * dimensions)
        initialise(self)

    @staticmethod
    @abstractmethod
    def _norm(dimensions: int, channels: int) -> nn.Module:
        """Return the norm of a hidden layer, from the second convolution on."""

    @property
    def feature_count(self) -> int:
        """How many numbers ``features`` gives for an image."""
        return prod(self.feature_shape)

    def features(self, image: Tensor) -> Tensor:
        """Return the last hidden activation, (B, *feature_shape): what a second head or a feature distance reads."""
        hidden: Tensor = self.body(image)
        return hidden

    def judge(self, features: Tensor) -> Tensor:
        """Return the logits (B, outputs) for the ``features`` of an image."""
        logits: Tensor = self.head(features)
        return logits

    def forward(self, image: Tensor) -> Tensor:
        return self.judge(self.features(image))


class DCGANDiscriminator(_StridedJudge):
    """Score images (B, in_channels, *size) with logits (B, outputs), without activation.

    c4s2 of width, 2·, 4·, 8·width, LeakyReLU .2, batch norm except in the first layer, then one convolution over what
    is left of the grid; weights N(0, .02) (Radford et al. 2015, arXiv:1511.06434, §3; kernel 4, and 8·width for more
    than four layers [assumed]). With one output and its weights clipped it is the critic of Wasserstein GAN
    (arXiv:1701.07875, §4.2).
    """

    @staticmethod
    def _norm(dimensions: int, channels: int) -> nn.Module:
        return BATCH_NORM[dimensions](channels)


class LayerNormCritic(_StridedJudge):
    """Score images (B, in_channels, *size) with (B, outputs), each image alone: a gradient penalty needs that.

    ``DCGANDiscriminator`` with layer norm over channels and space, one gain and shift a channel, from the second
    convolution on (Gulrajani et al. 2017, arXiv:1704.00028, §4 "no critic batch normalization"; its place and its
    gains per channel from the authors' released code).
    """

    @staticmethod
    def _norm(_: int, channels: int) -> nn.Module:
        return nn.GroupNorm(1, channels)


class Head(Network):
    """Read features (B, ...) of ``inputs`` numbers in all as (B, outputs), linearly: such as InfoGAN's Q.

    The paper's Q has a hidden layer of 128 (Chen et al. 2016, arXiv:1606.03657, app. C); this one has none [assumed].
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))
        initialise(self)

    def forward(self, features: Tensor) -> Tensor:
        answers: Tensor = self.read(features)
        return answers
