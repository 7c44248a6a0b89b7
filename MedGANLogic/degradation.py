"""How a volume follows from another, so that pairs make themselves. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from MedGANLogic.domain import Array
from MedGANLogic.plain import Plain


class Made(Plain):
    """A role that no file holds."""


@dataclass(frozen=True)
class Predicted(Made):
    """Only a network makes it: nothing is learnt from it, and nothing compared with it."""


class Degraded(Made):
    """Made of another role's volume by what a poorer scanner would have done to it."""

    of: str
    by: int

    def apply(self, values: Array, dimensions: int) -> Array:
        """Return the degraded (S, H, W) values; each edge is ``by`` times shorter (not along S with 2 dimensions)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Averaged(Degraded):
    """The mean over boxes of ``by`` voxels along every axis of the slice, or of the volume."""

    of: str
    by: int

    def __post_init__(self) -> None:
        if not 2 <= self.by <= 16:
            raise ValueError(f"by is {self.by}: expected 2 to 16")

    def apply(self, values: Array, dimensions: int) -> Array:
        factors = (1 if dimensions == 2 else self.by, self.by, self.by)
        lengths = [length // factor for length, factor in zip(values.shape, factors, strict=True)]
        whole = values[tuple(slice(0, n * factor) for n, factor in zip(lengths, factors, strict=True))]
        split = [number for pair in zip(lengths, factors, strict=True) for number in pair]
        return np.asarray(whole.reshape(split).mean(axis=(1, 3, 5), dtype=np.float32))


MadeBy = Mapping[str, Made]
