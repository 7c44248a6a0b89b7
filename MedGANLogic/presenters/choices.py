"""What a model without input lets its user choose of what is drawn: a class, an attribute, a code."""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace

from MedGANLogic.catalogue import Card
from MedGANLogic.chance import Offer


@dataclass(frozen=True)
class Choice(Offer):
    """An offer and what was chosen of it: ``value``, as it is given to ``sample``, empty where the seed decides."""

    value: str = ""

    @property
    def step(self) -> float:
        """How far one click goes: one, or a twentieth of a range that is short."""
        return 1.0 if self.is_whole or self.high - self.low >= 10 else (self.high - self.low) / 20

    @property
    def decimals(self) -> int:
        """How many digits behind the point it is shown with: those of a click, none where all are whole."""
        if self.step == 1 and self.low.is_integer() and self.high.is_integer():
            return 0
        return max(0, 1 - math.floor(math.log10(self.step)))

    def holds(self, value: str) -> bool:
        """Say whether a value may be chosen."""
        if self.words:
            return value in self.words
        try:
            return self.low <= float(value) <= self.high
        except ValueError:
            return False


def choices_of(card: Card, chosen: Mapping[str, str]) -> tuple[Choice, ...]:
    """Return what a card offers, with what was chosen of it; what it does not offer is left out."""
    offered = {offer.name: Choice(*astuple(offer)) for chance in card.chance.values() for offer in chance.offers}
    return tuple(
        replace(choice, value=chosen[name]) if choice.holds(chosen.get(name, "")) else choice
        for name, choice in offered.items()
    )
