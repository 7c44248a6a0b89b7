"""Pairs of an image with noise and without: what is asked of a result beside that it is near the target."""

from torch import Tensor

from MedGANLogic.games.paired import Paired, PairedApart
from MedGANLogic.parts.features.grain import grain
from MedGANLogic.parts.features.local_binary_patterns import sharpness_map
from MedGANLogic.recipe import tensor

#: By what a discriminator sees grain enlarged: noise of 25 HU, where 1600 HU are 1, is then about .3 [assumed].
_GAIN = 20.0


class Sharpened(Paired):
    """``Paired`` with the network ``sharpness``, from images to maps of how sharp they are, (B, out, *size)."""

    @tensor
    def sharpness_b(self) -> Tensor:
        """How sharp the target is, by its patterns, in [0, 1]: what the network is to say of it."""
        return sharpness_map(self.real_b)

    @tensor
    def perceived_real(self) -> Tensor:
        """What the network says of the target."""
        seen: Tensor = self.network("sharpness")(self.real_b)
        return seen

    @tensor
    def perceived_fake(self) -> Tensor:
        """What the network says of the translation as shown."""
        seen: Tensor = self.network("sharpness")(self.shown_b)
        return seen


class Grained(PairedApart):
    """``PairedApart`` whose discriminator sees nothing but the grain of an image: of what is coarse it cannot judge.

    It does not see the input either: a texture is to be natural, not to be the target's own.
    """

    @tensor
    def grain_real(self) -> Tensor:
        """The target's grain, enlarged."""
        return _GAIN * grain(self.real_b)

    @tensor
    def grain_fake(self) -> Tensor:
        """The grain of the translation as shown, enlarged."""
        return _GAIN * grain(self.shown_b)

    @tensor
    def score_real(self) -> Tensor:
        """The discriminator's scores of the target's grain."""
        scores: Tensor = self.network(self.discriminator)(self.grain_real)
        return scores

    @tensor
    def score_fake(self) -> Tensor:
        """The discriminator's scores of the grain of the translation as shown."""
        scores: Tensor = self.network(self.discriminator)(self.grain_fake)
        return scores
