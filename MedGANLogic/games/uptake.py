"""Aligned pairs whose target is uptake in SUV: two networks, one of which must not miss what is hot."""

from typing import ClassVar

from torch import Tensor

from MedGANLogic.domain import FixedWindow
from MedGANLogic.games.paired import Paired
from MedGANLogic.recipe import tensor


class Uptake(Paired):
    """``Paired`` with a second network from input to target, ``regressor``; ``window`` is the target's in SUV."""

    window: ClassVar[FixedWindow]

    @tensor
    def regressed_b(self) -> Tensor:
        """The regressor's translation of the input."""
        translated: Tensor = self.network("regressor")(self.real_a)
        return translated

    @tensor
    def suv_b(self) -> Tensor:
        """The target in SUV."""
        return self.window.low + (self.real_b + 1) * (self.window.high - self.window.low) / 2


def uptake_in(window: FixedWindow) -> type[Uptake]:
    """Return the game for targets of a window in SUV."""

    class UptakeInWindow(Uptake):
        pass

    UptakeInWindow.window = window
    return UptakeInWindow
