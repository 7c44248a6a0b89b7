"""What is drawn: the noise and conditions that a generator begins with, in training and in prediction. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.errors import MedGANError
from MedGANLogic.plain import Plain

Vector = NDArray[np.float32]

_LARGEST = 1 << 26


class ChanceError(MedGANError):
    """A choice that a model does not offer."""


@dataclass(frozen=True)
class Offer:
    """What a user may choose: one of some words or, where there are none, a number from ``low`` to ``high``."""

    name: str
    words: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_whole: bool = False

    @property
    def text(self) -> str:
        """From what, in words."""
        return ", ".join(self.words) or f"{self.low:g} to {self.high:g}"


class Chance(Plain):
    """Something that is drawn for every sample."""

    def draw(self, rng: np.random.Generator) -> Vector:
        """Return one draw, float32."""
        raise NotImplementedError

    def chosen(self, drawn: Vector, choices: Mapping[str, str]) -> Vector:  # noqa: ARG002 - most leave no choice
        """Return a draw in which what the user chose stands in place of what was drawn."""
        return drawn

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What a user may choose."""
        return ()


@dataclass(frozen=True)
class Normal(Chance):
    """Independent numbers of N(0, 1) in a shape."""

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        _refuse_shape(self.shape)

    def draw(self, rng: np.random.Generator) -> Vector:
        return rng.standard_normal(self.shape, np.float32)


@dataclass(frozen=True)
class Uniform(Chance):
    """Independent numbers between two bounds, in a shape."""

    shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        _refuse_shape(self.shape)

    def draw(self, rng: np.random.Generator) -> Vector:
        return rng.uniform(self.low, self.high, self.shape).astype(np.float32)


@dataclass(frozen=True)
class Codes(Uniform):
    """Numbers between two bounds that have a meaning each, found by the network: a user may turn them (InfoGAN)."""

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(Offer(f"code{number}", low=self.low, high=self.high) for number in range(self.shape[0]))

    def chosen(self, drawn: Vector, choices: Mapping[str, str]) -> Vector:
        found = drawn.copy()
        for number, offer in enumerate(self.offers):
            if offer.name in choices:
                found[number] = _number(offer, choices[offer.name])
        return found


@dataclass(frozen=True)
class Category(Chance):
    """One of so many, as a one-hot vector without a name for each (InfoGAN's categorical code)."""

    count: int

    def __post_init__(self) -> None:
        _refuse_shape((self.count,))

    def draw(self, rng: np.random.Generator) -> Vector:
        return _one_hot(int(rng.integers(self.count)), self.count)

    @property
    def offers(self) -> tuple[Offer, ...]:
        return (Offer("category", high=float(self.count - 1), is_whole=True),)

    def chosen(self, drawn: Vector, choices: Mapping[str, str]) -> Vector:
        if "category" not in choices:
            return drawn
        return _one_hot(int(_number(self.offers[0], choices["category"])), self.count)


@dataclass(frozen=True)
class NoisyLabels(Chance):
    """What a discriminator is told to call a real image and a made one: two numbers, each between its bounds.

    With the chance ``exchanged`` the two are exchanged.
    """

    real: tuple[float, float]
    made: tuple[float, float]
    exchanged: float

    def draw(self, rng: np.random.Generator) -> Vector:
        labels = np.array([rng.uniform(*self.real), rng.uniform(*self.made)], np.float32)
        return labels[::-1].copy() if rng.random() < self.exchanged else labels


@dataclass(frozen=True)
class Condition(Chance):
    """What a study says of an image in words and numbers: a class as one-hot, then attributes from -1 to 1.

    ``attributes`` maps a name to the two values that become -1 and 1.
    """

    classes: tuple[str, ...] = ()
    attributes: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return len(self.classes) + len(self.attributes)

    def draw(self, rng: np.random.Generator) -> Vector:
        drawn = np.zeros(self.size, np.float32)
        if self.classes:
            drawn[rng.integers(len(self.classes))] = 1
        drawn[len(self.classes) :] = rng.uniform(-1, 1, len(self.attributes))
        return drawn

    @property
    def offers(self) -> tuple[Offer, ...]:
        limits = {name: sorted(ends) for name, ends in self.attributes.items()}
        numbers = [Offer(name, low=low, high=high) for name, (low, high) in limits.items()]
        return (*([Offer("class", self.classes)] if self.classes else []), *numbers)

    def chosen(self, drawn: Vector, choices: Mapping[str, str]) -> Vector:
        """Put the user's class and attributes in place. Raises ChanceError for one that is not offered."""
        found = drawn.copy()
        if self.classes and "class" in choices:
            if choices["class"] not in self.classes:
                raise ChanceError(f"class {choices['class']!r}: there are {', '.join(self.classes)}")
            found[: len(self.classes)] = [choices["class"] == name for name in self.classes]
        numbers = [offer for offer in self.offers if not offer.words]
        for place, offer in enumerate(numbers, start=len(self.classes)):
            if offer.name in choices:
                low, high = self.attributes[offer.name]
                found[place] = 2 * (_number(offer, choices[offer.name]) - low) / (high - low) - 1
        return found

    def of(self, said: Mapping[str, str]) -> Vector:
        """Return the vector of an image that a table's row describes. Raises ChanceError where it does not."""
        missing = [offer.name for offer in self.offers if offer.name not in said]
        if missing:
            raise ChanceError(f"nothing is said of {', '.join(missing)}")
        return self.chosen(np.zeros(self.size, np.float32), said)


def _one_hot(place: int, count: int) -> Vector:
    vector = np.zeros(count, np.float32)
    vector[place] = 1
    return vector


def _refuse_shape(shape: tuple[int, ...]) -> None:
    if not shape or min(shape) < 1 or np.prod(shape, dtype=float) > _LARGEST:
        raise ValueError(f"expected a shape of at most {_LARGEST} numbers, found {shape}")


def _number(offer: Offer, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ChanceError(f"{offer.name} {text!r} is no number") from error
    if not offer.low <= value <= offer.high:
        raise ChanceError(f"{offer.name} {value:g}: expected {offer.text}")
    return value


def refuse_unknown(chances: Mapping[str, Chance], choices: Mapping[str, str]) -> None:
    """Raise ChanceError for a choice that none of these offers."""
    offered = {offer.name: offer.text for chance in chances.values() for offer in chance.offers}
    for name in choices:
        if name not in offered:
            there = "; ".join(f"{known}: {text}" for known, text in offered.items()) or "none"
            raise ChanceError(f"{name!r} cannot be chosen: there is {there}")
