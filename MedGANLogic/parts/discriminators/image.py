"""Discriminators that give a whole image one logit."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, MAX_POOL, initialise, initialise_unnormed
from MedGANLogic.parts.network import Network


class ImageDiscriminator(Network):
    """Score (B, in_channels, size·times, size(, size)) with one logit an image: (B, 1).

    c3-width, width s2, 2·width, 2·width s2, 4·width, 4·width s2, 8·width, 8·width s2, LeakyReLU .2, batch norm but in
    the first; FC 16·width, LeakyReLU .2, FC 1; width 64 in SRGAN (Ledig et al. 2017, arXiv:1609.04802, fig. 4).
    """

    #: How often the grid is halved, by how many convolutions each time, and the norm after all but the first.
    halvings: ClassVar[int] = 4
    each: ClassVar[int] = 2
    #: LeakyReLU's slope, and how many times as wide as the first convolution the fully connected layer is.
    slope: ClassVar[float] = 0.2
    connected: ClassVar[int] = 16
    norms: ClassVar[Mapping[int, Callable[[int], nn.Module]]] = BATCH_NORM

    def __init__(self, dimensions: int, in_channels: int, width: int, size: int, times: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for layer in range(self.halvings * self.each):
            wider = width * 2 ** (layer // self.each)
            stride = 2 if (layer + 1) % self.each == 0 else 1
            normed = [self.norms[dimensions](wider)] if layer and self.norms else []
            convolution = CONVOLUTION[dimensions](channels, wider, 3, stride=stride, padding=1, bias=not normed)
            layers += [convolution, *normed, nn.LeakyReLU(self.slope)]
            channels = wider
        first, edge = (-(-length // 2**self.halvings) for length in (size * times, size))
        hidden = self.connected * width
        layers += [nn.Flatten(), nn.Linear(channels * first * edge ** (dimensions - 1), hidden)]
        layers.append(nn.LeakyReLU(self.slope))
        self.score = nn.Sequential(*layers, nn.Linear(hidden, 1))
        if self.norms:
            initialise(self)
        else:
            initialise_unnormed(self, slope=self.slope)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.score(image)
        return logits


class ImageCritic(ImageDiscriminator):
    """``ImageDiscriminator`` without norm, halved three times: c3-width, width s2, 2·, 2·width s2, 4·, 4·width s2.

    The critic of WGAN-VGG, whose width is 64 (Yang et al. 2018, arXiv:1708.00961, §II-C; LeakyReLU .2 and zero padding
    [paper: released code]; weights as He et al. draw them [assumed]).
    """

    halvings = 3
    norms: ClassVar[Mapping[int, Callable[[int], nn.Module]]] = {}


class VolumeDiscriminator(ImageDiscriminator):
    """``ImageDiscriminator`` of the 3D SRGAN: LeakyReLU .3, FC 32·width; width 32 (Sánchez & Vilaplana 2018,
    arXiv:1812.11440 [paper: released code])."""

    slope = 0.3
    connected = 32


class LayerNormImageCritic(ImageDiscriminator):
    """``ImageDiscriminator`` that scores each image alone, as a gradient penalty needs it: layer norm in place of batch
    norm, over channels and space, one gain and shift a channel.

    The critic of mDCSRN-GAN, whose width is 64 (Chen et al. 2018, arXiv:1803.01417, fig. 1; widths [third-party code]).
    """

    norms: ClassVar[Mapping[int, Callable[[int], nn.Module]]] = dict.fromkeys((2, 3), partial(nn.GroupNorm, 1))


class CubeDiscriminator(ImageCritic):
    """``ImageCritic`` with three convolutions a level, nine in all, for small cubes (Wolterink et al. 2017,
    doi:10.1109/TMI.2017.2708987 [paper?]; strides, width 32, no norm, fully connected layers [assumed])."""

    each = 3


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
