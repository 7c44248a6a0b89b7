"""What a voxel means: modality, unit, and the window that takes its values to a network and back.

Nothing here imports torch. Published intensity ranges are those of ``SYSTEMS.md`` §0; ours are marked there.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Units that an image may carry. ``none`` is said of MR and of photographs, whose values have no unit.
UNITS = ("HU", "SUV", "none", "label")

#: Units that files are found in, and what to add to reach one of ``UNITS``.
FOREIGN_UNITS: Mapping[str, tuple[str, float]] = {"HU+1024": ("HU", -1024.0), "HU+1000": ("HU", -1000.0)}


#: The brightest that a colour may be.
HIGHEST_COLOUR = 255.0


def in_unit(unit: str) -> str:
    """Return `` in HU`` to say behind a figure; nothing for values that have no unit."""
    return "" if unit in ("none", "label") else f" in {unit}"


@dataclass(frozen=True)
class Scale:
    """The straight line between a unit and the network's range [-1, 1]; what lies beyond saturates going in."""

    low: float
    high: float

    def to_network(self, values: Array) -> NDArray[np.float32]:
        """Map values in the unit to float32 in [-1, 1]."""
        span = (self.high - self.low) / 2
        scaled = (np.asarray(values, np.float32) - np.float32(self.low)) / np.float32(span) - np.float32(1)
        return np.asarray(np.clip(scaled, -1, 1), np.float32)

    def to_unit(self, values: Array) -> NDArray[np.float32]:
        """Map a network's output back to the unit; never clipped, never min-max normalised."""
        span = (self.high - self.low) / 2
        return (np.asarray(values, np.float32) + np.float32(1)) * np.float32(span) + np.float32(self.low)


class Window(ABC):
    """How a domain finds the scale of one image.

    Values are (…), or (``components``, …) where a voxel has several.
    """

    #: Values that a voxel has.
    components: ClassVar[int] = 1
    #: The step in which a packed cohort stores values; None where an image's own noise says what will do.
    step: ClassVar[float | None] = None

    @abstractmethod
    def scale(self, values: Array) -> Scale:
        """Return the scale of an image from all its voxels, outside of the body included."""

    @abstractmethod
    def body(self, values: Array) -> NDArray[np.bool_]:
        """Return (…), True where a voxel is taken to lie in the body, by its value alone."""

    def volumes(self, role: str) -> tuple[str, ...]:
        """Return the names of the volumes that networks write for a target: one, or one for every score."""
        return (role,)

    def shown(self, values: Array, scale: Scale) -> NDArray[np.float32]:
        """Turn values in the unit into what networks should write for a target: (volumes, …) in their range."""
        shown = scale.to_network(values)
        return shown if self.components > 1 else shown[None]

    def input_volumes(self, role: str) -> tuple[str, ...]:
        """Return the names of the volumes that networks read for an input."""
        return self.volumes(role)

    def shown_as_input(self, values: Array, scale: Scale) -> NDArray[np.float32]:
        """Turn values in the unit into what networks read: (input volumes, …) in their range."""
        return self.shown(values, scale)

    def answer(self, written: Array, scale: Scale) -> Array:
        """Turn what networks wrote for a target, (volumes, …) in their range, into (components, …) in its unit."""
        return scale.to_unit(written)

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which ``from_json`` makes an equal window."""
        return {"name": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Window":
        """Make a window from its fields. Raises TypeError and ValueError for fields that do not fit."""
        return cls(**{name: float(value) for name, value in fields.items()})


@dataclass(frozen=True)
class FixedWindow(Window):
    """A window in the unit itself (HU, SUV): the same for every image."""

    low: float
    high: float
    body_above: float

    def __post_init__(self) -> None:
        if not (-math.inf < self.low < self.high < math.inf and math.isfinite(self.body_above)):
            raise ValueError(f"expected a window from low to high, found {self}")

    def scale(self, values: Array) -> Scale:  # noqa: ARG002 - a fixed window needs no look at the image
        return Scale(self.low, self.high)

    def body(self, values: Array) -> NDArray[np.bool_]:
        return np.asarray(values > self.body_above)


@dataclass(frozen=True)
class PercentileWindow(Window):
    """Percentiles of the values in the body, for MR, whose values have no unit.

    The body is what exceeds ``body_fraction`` of the 99th percentile of the positive values: air and its noise stay
    out, so that the field of view does not move the scale.
    """

    low: float = 0.5
    high: float = 99.5
    body_fraction: float = 0.05

    def __post_init__(self) -> None:
        if not (0 <= self.low < self.high <= 100 and 0 <= self.body_fraction < 1):
            raise ValueError(f"expected percentiles from 0 to 100 and a fraction of the body's values, found {self}")

    def scale(self, values: Array) -> Scale:
        inside = values[self.body(values)]
        if inside.size == 0:
            return Scale(0.0, 1.0)
        low, high = np.percentile(inside, [self.low, self.high])
        return Scale(float(low), float(max(high, low + 1e-6 * max(abs(low), 1.0))))

    def body(self, values: Array) -> NDArray[np.bool_]:
        positive = values[values > 0]
        if positive.size == 0:
            return np.zeros(values.shape, bool)
        return np.asarray(values > self.body_fraction * np.percentile(positive, 99))


@dataclass(frozen=True)
class Colours(Window):
    """Red, green and blue of a photograph on the scale of 8 bits, 0 to 255: the same window for every image.

    The body is what is not black: one of its colours exceeds ``body_above`` (JPEG leaves up to 8 in black [assumed]).
    """

    body_above: float = 10.0

    components: ClassVar[int] = 3
    # Whole numbers are kept as they are, and 16 bits to their fifteenth.
    step: ClassVar[float | None] = 1 / 128

    def __post_init__(self) -> None:
        if not 0 <= self.body_above < HIGHEST_COLOUR:
            raise ValueError(f"expected black from 0 to below {HIGHEST_COLOUR:g}, found {self}")

    def scale(self, values: Array) -> Scale:  # noqa: ARG002 - a fixed window needs no look at the image
        return Scale(0.0, HIGHEST_COLOUR)

    def body(self, values: Array) -> NDArray[np.bool_]:
        return np.asarray((values > self.body_above).any(axis=0))

    def volumes(self, role: str) -> tuple[str, ...]:
        return tuple(f"{role}: {colour}" for colour in ("red", "green", "blue"))


@dataclass(frozen=True)
class Label:
    """One value of a label map: its name, its colour (red, green, blue from 0 to 255), its SNOMED CT code if any."""

    value: int
    name: str
    colour: tuple[int, int, int]
    snomed: str = ""

    def __post_init__(self) -> None:
        if not (0 < self.value < 2**15 and self.name and len(self.colour) == 3):
            raise ValueError(f"expected a label with a value from 1 to 32767, a name and a colour, found {self}")
        if not all(0 <= part <= 255 for part in self.colour):
            raise ValueError(f"expected a colour of three numbers from 0 to 255, found {self.colour}")


@dataclass(frozen=True)
class Labels(Window):
    """The values of a label map; 0 is background and stands first in a network's scores, the labels after it."""

    labels: tuple[Label, ...]

    step: ClassVar[float | None] = 1.0

    def __post_init__(self) -> None:
        if not self.labels or len({label.value for label in self.labels}) != len(self.labels):
            raise ValueError("expected labels with different values")

    def scale(self, values: Array) -> Scale:  # noqa: ARG002 - scores are what they are
        return Scale(-1.0, 1.0)

    def body(self, values: Array) -> NDArray[np.bool_]:
        return np.asarray(values > 0)

    def volumes(self, role: str) -> tuple[str, ...]:
        return (f"{role}: background", *(f"{role}: {label.name}" for label in self.labels))

    def shown(self, values: Array, scale: Scale) -> NDArray[np.float32]:  # noqa: ARG002 - a label has no scale
        """One volume per label, background first: 1 where it is, 0 elsewhere."""
        known = np.array([0, *(label.value for label in self.labels)])
        return np.asarray(known.reshape(-1, *[1] * np.ndim(values)) == values, np.float32)

    def input_volumes(self, role: str) -> tuple[str, ...]:
        """One volume per label: where none of them is, there is background."""
        return self.volumes(role)[1:]

    def shown_as_input(self, values: Array, scale: Scale) -> NDArray[np.float32]:
        """One volume per label, in an image's range: 1 where it is, -1 elsewhere, as beyond an image."""
        return 2 * self.shown(values, scale)[1:] - 1

    def answer(self, written: Array, scale: Scale) -> Array:  # noqa: ARG002 - the highest score wins on any scale
        values = np.array([0, *(label.value for label in self.labels)], np.int16)
        return np.asarray(values[written.argmax(axis=0)][None])

    def probabilities(self, written: Array) -> NDArray[np.float32]:
        """Turn a network's scores into how likely each label is, (labels, …) from 0 to 1: their softmax."""
        raised = np.exp(written - written.max(axis=0), dtype=np.float32)
        return np.asarray(raised[1:] / raised.sum(axis=0))

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Labels":
        return cls(
            tuple(
                Label(
                    int(label["value"]),
                    str(label["name"]),
                    tuple(int(part) for part in label["colour"]),  # type: ignore[arg-type]
                    str(label.get("snomed", "")),
                )
                for label in fields["labels"]
            )
        )


WINDOWS: Mapping[str, type[Window]] = {
    window.__name__: window for window in (FixedWindow, PercentileWindow, Colours, Labels)
}


@dataclass(frozen=True)
class Domain:
    """The meaning of one volume: DICOM modality code, unit, window, and the value of air or nothing."""

    modality: str
    unit: str
    window: Window
    background: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which ``from_json`` makes an equal domain."""
        return {
            "modality": self.modality,
            "unit": self.unit,
            "window": self.window.to_json(),
            "background": self.background,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Domain":
        """Make a domain from plain data. Raises ValueError for an unknown window, unit or field, and absurd numbers."""
        try:
            if set(data) != {"modality", "unit", "window", "background"}:
                raise ValueError("expected modality, unit, window and background")
            fields = {key: value for key, value in data["window"].items() if key != "name"}
            window = WINDOWS[data["window"]["name"]].from_json(fields)
            domain = Domain(str(data["modality"]), str(data["unit"]), window, float(data["background"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"not a domain: {data!r} ({error})") from error
        if not math.isfinite(domain.background):
            raise ValueError(f"background is {domain.background}: expected a number")
        if domain.unit not in UNITS:
            raise ValueError(f"unknown unit {domain.unit!r}: expected one of {', '.join(UNITS)}")
        return domain


#: The default domain of a role in a cohort's table, by the name of its column.
MR = Domain("MR", "none", PercentileWindow(), 0.0)
CT = Domain("CT", "HU", FixedWindow(-1024.0, 3071.0, body_above=-300.0), -1000.0)
#: CT for what works on noise: water is 0 for a network, where bfloat16 is finest, and noise in air stays in the window.
CT_NEAR_WATER = Domain("CT", "HU", FixedWindow(-1600.0, 1600.0, body_above=-300.0), -1000.0)
PET = Domain("PT", "SUV", FixedWindow(0.0, 20.0, body_above=0.1), 0.0)
#: A photograph in colours, whatever it shows; Slicer's vector volumes hold such.
PHOTOGRAPH = Domain("XC", "none", Colours(), 0.0)
#: How unlike an image is to what a model knows, as a share of the window.
UNLIKENESS = Domain("OT", "none", FixedWindow(0.0, 1.0, body_above=0.0), 0.0)
DOMAINS: Mapping[str, Domain] = {
    "mr": MR,
    "ct": CT,
    "pet": PET,
    "low": CT_NEAR_WATER,
    "full": CT_NEAR_WATER,
    "photograph": PHOTOGRAPH,
    "anomaly": UNLIKENESS,
    "score": UNLIKENESS,
}
