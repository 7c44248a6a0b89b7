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
