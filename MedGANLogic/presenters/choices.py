"""What a model without input lets its user choose of what is drawn: a class, an attribute, a code."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from MedGANLogic.catalogue import Card
from MedGANLogic.chance import Category, Chance, Codes, Condition


@dataclass(frozen=True)
class Choice:
    """One of some words or, where there are none, a number from ``low`` to ``high``.

    ``value`` is what was chosen, as it is given to ``sample``; empty where the seed decides.
    """

    name: str
    words: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_whole: bool = False
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

    def offers(self, value: str) -> bool:
        """Say whether a value may be chosen."""
        if self.words:
            return value in self.words
        try:
            return self.low <= float(value) <= self.high
        except ValueError:
            return False


def choices_of(card: Card, chosen: Mapping[str, str]) -> tuple[Choice, ...]:
    """Return what a card offers, with what was chosen of it; what it does not offer is left out."""
    offered = {choice.name: choice for chance in card.chance.values() for choice in _offered(chance)}
    return tuple(
        replace(choice, value=chosen[name]) if choice.offers(chosen.get(name, "")) else choice
        for name, choice in offered.items()
    )


def _offered(chance: Chance) -> list[Choice]:
    match chance:
        case Condition():
            classes = [Choice("class", chance.classes)] if chance.classes else []
            limits = {name: sorted(ends) for name, ends in chance.attributes.items()}
            return [*classes, *(Choice(name, low=low, high=high) for name, (low, high) in limits.items())]
        case Codes():
            return [Choice(name, low=chance.low, high=chance.high) for name in chance.choices]
        case Category():
            return [Choice(name, high=float(chance.count - 1), is_whole=True) for name in chance.choices]
        case _:
            return []
