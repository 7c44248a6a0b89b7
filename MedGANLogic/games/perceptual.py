"""Pairs that are compared by what a frozen network sees in them."""

from torch import Tensor

from MedGANLogic.games.paired import PairedApart
from MedGANLogic.recipe import tensor


class Perceptual(PairedApart):
    """``PairedApart`` with the network ``features``, which nobody moves."""

    @tensor
    def features_real(self) -> Tensor:
        """The features of the target."""
        seen: Tensor = self.network("features")(self.real_b)
        return seen

    @tensor
    def features_fake(self) -> Tensor:
        """The features of the translation as shown."""
        seen: Tensor = self.network("features")(self.shown_b)
        return seen
