"""What a voxel means: modality, unit, and the window that takes its values to a network and back.

Nothing here imports torch. Published intensity ranges are those of ``SYSTEMS.md`` §0; ours are marked there.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Units that an image may carry. ``none`` is said of MR, whose values have no unit.
UNITS = ("HU", "SUV", "none", "label")

#: Units that files are found in, and what to add to reach one of ``UNITS``.
FOREIGN_UNITS: Mapping[str, tuple[str, float]] = {"HU+1024": ("HU", -1024.0), "HU+1000": ("HU", -1000.0)}


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
    """How a domain finds the scale of one image."""

    @abstractmethod
    def scale(self, values: Array) -> Scale:
        """Return the scale of an image from all its voxels, outside of the body included."""

    @abstractmethod
    def body(self, values: Array) -> NDArray[np.bool_]:
        """Return True where a voxel is taken to lie in the body, by its value alone."""


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


WINDOWS: Mapping[str, type[Window]] = {window.__name__: window for window in (FixedWindow, PercentileWindow)}


@dataclass(frozen=True)
class Domain:
    """The meaning of one volume: DICOM modality code, unit, window, and the value of air or nothing."""

    modality: str
    unit: str
    window: Window
    background: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which ``from_json`` makes an equal domain."""
        window = {"name": type(self.window).__name__, **asdict(self.window)}  # type: ignore[call-overload]
        return {"modality": self.modality, "unit": self.unit, "window": window, "background": self.background}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Domain":
        """Make a domain from plain data. Raises ValueError for an unknown window, unit or field, and absurd numbers."""
        try:
            if set(data) != {"modality", "unit", "window", "background"}:
                raise ValueError("expected modality, unit, window and background")
            fields = {key: float(value) for key, value in data["window"].items() if key != "name"}
            window = WINDOWS[data["window"]["name"]](**fields)
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
PET = Domain("PT", "SUV", FixedWindow(0.0, 20.0, body_above=0.1), 0.0)
DOMAINS: Mapping[str, Domain] = {"mr": MR, "ct": CT, "pet": PET}
