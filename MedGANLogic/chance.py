"""What is drawn: the noise and conditions that a generator begins with, in training and in prediction. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.errors import MedGANError
from MedGANLogic.plain import Plain

Vector = NDArray[np.float32]

_LARGEST = 1 << 26


class ChanceError(MedGANError):
    """A choice that a model does not offer."""


class Chance(Plain):
    """Something that is drawn for every sample."""

    def draw(self, rng: np.random.Generator) -> Vector:
        """Return one draw, float32."""
        raise NotImplementedError

    def chosen(self, drawn: Vector, choices: Mapping[str, str]) -> Vector:  # noqa: ARG002 - most leave no choice
        """Return a draw in which what the user chose stands in place of what was drawn."""
        return drawn

    @property
    def choices(self) -> Mapping[str, str]:
        """What a user may choose, by name, and from what, in words."""
        return {}


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
    def choices(self) -> Mapping[str, str]:
        return {f"code{number}": f"{self.low:g} to {self.high:g}" for number in range(self.shape[0])}

    def chosen(self, drawn: Vector, choices: Mapping[str, str]) -> Vector:
        found = drawn.copy()
        for number, name in enumerate(self.choices):
            if name in choices:
                found[number] = _number(name, choices[name], self.low, self.high)
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
    def choices(self) -> Mapping[str, str]:
        return {"category": f"0 to {self.count - 1}"}

    def chosen(self, drawn: Vector, choices: Mapping[str, str]) -> Vector:
        if "category" not in choices:
            return drawn
        place = int(_number("category", choices["category"], 0, self.count - 1))
        return _one_hot(place, self.count)


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
    def choices(self) -> Mapping[str, str]:
        numbers = {name: f"{low:g} to {high:g}" for name, (low, high) in self.attributes.items()}
        return {**({"class": ", ".join(self.classes)} if self.classes else {}), **numbers}

    def chosen(self, drawn: Vector, choices: Mapping[str, str]) -> Vector:
        """Put the user's class and attributes in place. Raises ChanceError for one that is not offered."""
        found = drawn.copy()
        if self.classes and "class" in choices:
            if choices["class"] not in self.classes:
                raise ChanceError(f"class {choices['class']!r}: there are {', '.join(self.classes)}")
            found[: len(self.classes)] = [choices["class"] == name for name in self.classes]
        for place, (name, (low, high)) in enumerate(self.attributes.items(), start=len(self.classes)):
            if name in choices:
                found[place] = (
                    2 * (_number(name, choices[name], min(low, high), max(low, high)) - low) / (high - low) - 1
                )
        return found

    def of(self, said: Mapping[str, str]) -> Vector:
        """Return the vector of an image that a table's row describes. Raises ChanceError where it does not."""
        missing = [name for name in self.choices if name not in said]
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


def _number(name: str, text: Any, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ChanceError(f"{name} {text!r} is no number") from error
    if not low <= value <= high:
        raise ChanceError(f"{name} {value:g}: expected {low:g} to {high:g}")
    return value


def refuse_unknown(chances: Mapping[str, Chance], choices: Mapping[str, str]) -> None:
    """Raise ChanceError for a choice that none of these offers."""
    offered = {name: text for chance in chances.values() for name, text in chance.choices.items()}
    for name in choices:
        if name not in offered:
            there = "; ".join(f"{known}: {text}" for known, text in offered.items()) or "none"
            raise ChanceError(f"{name!r} cannot be chosen: there is {there}")
