"""PatchGAN: one logit for every patch of the image."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, INSTANCE_NORM, initialise
from MedGANLogic.parts.network import Network


class PatchDiscriminator(Network):
    """Score (B, in_channels, *size) with one logit per patch; with width 64 and 3 layers the field is 70 voxels.

    c4-64s2, 128s2, 256s2, 512s1, 1s1, LeakyReLU .2, batch norm except in the first and last layer (Isola et al.
    2017, arXiv:1611.07004, §6.1.2). MONAI's network of the same name has the same form; this one lets training run
    where MONAI is not installed.
    """

    norms: ClassVar[Mapping[int, Callable[[int], nn.Module]]] = BATCH_NORM

    def __init__(self, dimensions: int, in_channels: int, width: int, layers: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        body: list[nn.Module] = [convolution(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels = width
        for layer in range(1, layers + 1):
            wider = width * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            normed = [self.norms[dimensions](wider)] if self.norms else []
            body += [convolution(channels, wider, 4, stride=stride, padding=1, bias=not normed), *normed]
            body.append(nn.LeakyReLU(0.2))
            channels = wider
        self.score = nn.Sequential(*body, convolution(channels, 1, 4, padding=1))
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.score(image)
        return logits


class InstancePatchDiscriminator(PatchDiscriminator):
    """``PatchDiscriminator`` with instance norm, without scale and shift: CycleGAN's (arXiv:1703.10593, §7.2)."""

    norms = INSTANCE_NORM


class NormFreePatchDiscriminator(PatchDiscriminator):
    """``PatchDiscriminator`` without norm, for what a norm would hide: how strong noise is [assumed]."""

    norms: ClassVar[Mapping[int, Callable[[int], nn.Module]]] = {}


class TwoLayerPatchDiscriminator(PatchDiscriminator):
    """``PatchDiscriminator`` of one further layer, whose field is 16 voxels, and whose hidden layers can be read.

    c4-64s2, 128s1, 1s1 with width 64: MedGAN's (Armanious et al. 2018, arXiv:1806.06397, §II-B).
    ``judged(second(first(image)))`` is what it answers.
    """

    def __init__(self, dimensions: int, in_channels: int, width: int) -> None:
        super().__init__(dimensions, in_channels, width, layers=1)

    def first(self, image: Tensor) -> Tensor:
        """Return the first hidden layer: (B, width, *size / 2)."""
        hidden: Tensor = self.score[:2](image)
        return hidden

    def second(self, first: Tensor) -> Tensor:
        """Return the second hidden layer: (B, 2·width, *size / 2 - 1)."""
        hidden: Tensor = self.score[2:-1](first)
        return hidden

    def judged(self, second: Tensor) -> Tensor:
        """Return one logit a patch: (B, 1, *size / 2 - 2)."""
        logits: Tensor = self.score[-1](second)
        return logits
