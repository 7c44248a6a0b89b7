"""How a volume follows from another, so that pairs make themselves. No torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.domain import Array
from MedGANLogic.images import Image, Orientation
from MedGANLogic.passes import PLANES, Blend, Factors, Step, Volume, along_axes, slices_back, slices_first
from MedGANLogic.plain import Plain

#: What is left of a profile's largest amplitude below this share is not brought back: it is all noise [assumed].
_LEAST = 0.02


class Made(Plain):
    """A role that no file holds."""

    @property
    def degraded(self) -> tuple["Degraded", ...]:
        """What it may be made by, of another role; nothing where it is not made of one."""
        return ()


@dataclass(frozen=True)
class Predicted(Made):
    """Only a network makes it: nothing is learnt from it, and nothing compared with it."""


class Degraded(Made):
    """Made of another role's volume by what a poorer scanner would have done to it.

    ``by``: fine voxels for a coarse one, along every axis that a network sees (in 2D those of a slice), or [through the
    slices, down, across]. A scanner works along each axis by itself, on the whole of it: what it does is a matrix whose
    rows weigh fine voxels and add up to 1, so that units and a constant are kept.
    """

    of: str
    by: Factors

    def __post_init__(self) -> None:
        if max(along_axes(self.by, 3)) == 1:
            raise ValueError(f"by is {self.by}: expected 2 to 16 along some axis")

    def __str__(self) -> str:
        """The way in words: ``KSpaceCropped 2``, ``SliceProfile 4×1×1, thickness 1.2``."""
        by = self.by if isinstance(self.by, int) else "×".join(map(str, self.by))
        said = {name: value for name, value in self.to_json().items() if name not in ("kind", "of", "by")}
        return ", ".join([f"{type(self).__name__} {by}", *(f"{name} {value:g}" for name, value in said.items())])

    @property
    def degraded(self) -> tuple["Degraded", ...]:
        return (self,)

    @property
    def finer(self) -> Factors:
        """How many voxels the other role has for one of this."""
        return self.by

    def matrix(self, count: int, factor: int) -> NDArray[np.float64]:
        """Return the weights (count, count·factor) of fine voxels in coarse ones, which lie over the same length."""
        raise NotImplementedError

    def apply(self, values: Array, dimensions: int) -> Volume:
        """Return the degraded values of a whole volume (…, S, H, W).

        A coarse voxel lies where its ``by`` fine ones lie: its centre is theirs. Those at the end that fill no coarse
        one are left out.
        """
        coarse = np.asarray(values, np.float32)
        for axis, factor in enumerate(along_axes(self.by, dimensions), start=-3):
            if factor > 1:
                count = coarse.shape[axis] // factor
                whole = np.take(coarse, range(count * factor), axis)
                coarse = _along(_weights(self, count, factor), whole, axis)
        return np.ascontiguousarray(coarse)

    def undo(self, coarse: Array, dimensions: int) -> Volume:
        """Return the least (S, H, W) values that ``apply`` makes these of: by the pseudo-inverse of each matrix.

        Of boxes their mean, repeated; of cropped k-space the rest filled with zeros. What a wide profile has all but
        taken away is not brought back.
        """
        fine = np.asarray(coarse, np.float32)
        for axis, factor in enumerate(along_axes(self.by, dimensions)):
            if factor > 1:
                fine = _along(_inverse(self, fine.shape[axis], factor), fine, axis)
        return np.ascontiguousarray(fine)

    def of_image(self, image: Image, dimensions: int, plane: str) -> Image:
        """Return the degraded image: its box, but for voxels at the end that fill no coarse one; axes as they were."""
        orientation = Orientation.nearest(image.affine)
        upright = image.with_orientation(orientation)
        through, *across = along_axes(self.finer, dimensions)
        times = np.insert(across, PLANES[plane], through)
        grid = upright.grid.coarser((int(times[0]), int(times[1]), int(times[2])))
        voxels = np.stack(
            [slices_back(self.apply(slices_first(one, plane), dimensions), plane) for one in upright.voxels]
        )
        return replace(image, voxels=voxels, affine=grid.affine).with_orientation(orientation.inverse)

    def nearest(self, estimate: Volume, coarse: Volume, dimensions: int) -> Volume:
        """Return the (S, H, W) values nearest to an estimate that ``apply`` makes the coarse ones of.

        x + A⁺(y - Ax), with A this way and A⁺ its pseudo-inverse (Bahat & Michaeli 2020, arXiv:1912.01839, §3
        [paper?]). What is not finite of y asks for nothing.
        """
        lacking = np.asarray(coarse - self.apply(estimate, dimensions), np.float32)
        return np.asarray(estimate + self.undo(np.where(np.isfinite(lacking), lacking, 0), dimensions), np.float32)

    def held(self, image: Image, coarse: Image, dimensions: int, plane: str) -> Image:
        """Return the image nearest to one that this way makes ``coarse`` of, which lies in the same box, as it lies."""
        orientation = Orientation.nearest(image.affine)
        upright, given = image.with_orientation(orientation), coarse.with_orientation(orientation)
        voxels = [
            slices_back(self.nearest(slices_first(one, plane), slices_first(y, plane), dimensions), plane)
            for one, y in zip(upright.voxels, given.voxels, strict=True)
        ]
        return replace(upright, voxels=np.stack(voxels)).with_orientation(orientation.inverse)


def _along(matrix: Volume, values: Volume, axis: int) -> Volume:
    return np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)


@lru_cache(maxsize=16)
def _weights(way: Degraded, count: int, factor: int) -> Volume:
    return way.matrix(count, factor).astype(np.float32)


@lru_cache(maxsize=16)
def _inverse(way: Degraded, count: int, factor: int) -> Volume:
    return np.linalg.pinv(way.matrix(count, factor), rcond=_LEAST).astype(np.float32)


@dataclass(frozen=True)
class Averaged(Degraded):
    """The mean over boxes of ``by`` voxels: detectors, or slices, that are as thick as they lie apart."""

    of: str
    by: Factors

    def matrix(self, count: int, factor: int) -> NDArray[np.float64]:
        return np.repeat(np.eye(count), factor, axis=1) / factor


@dataclass(frozen=True)
class KSpaceCropped(Degraded):
    """What an MR scanner gives that stops at a lower spatial frequency: 1/``by`` of every axis of k-space, no filter.

    Of the whole volume, mirrored at its ends (a discrete cosine transform): nothing of one end shows at the other, as
    it would where a slab ends inside of the body. Edges ring, as they do in such scans.
    """

    of: str
    by: Factors

    def matrix(self, count: int, factor: int) -> NDArray[np.float64]:
        frequency = np.pi * np.arange(1, count)
        coarse, fine = (
            np.cos(np.outer((np.arange(length) + 0.5) / length, frequency)) for length in (count, count * factor)
        )
        return np.asarray((1 + 2 * coarse @ fine.T) / (count * factor))


@dataclass(frozen=True)
class ZeroFilled(Degraded):
    """What such a scanner gives that fills what it did not measure of k-space with zeros: it rings on the fine grid.

    Frequencies of the whole volume below 1/``by`` of the highest stay as they are (a Fourier transform, so that one end
    shows at the other), those above are 0.
    """

    of: str
    by: Factors

    @property
    def finer(self) -> Factors:
        return 1

    def apply(self, values: Array, dimensions: int) -> Volume:
        """Return the degraded values of a whole volume (S, H, W), as many."""
        filled = np.asarray(values, np.float64)
        for axis, factor in enumerate(along_axes(self.by, dimensions)):
            if factor > 1:
                count = filled.shape[axis]
                lowest = np.fft.rfft(filled, axis=axis).take(range(-(-count // (2 * factor))), axis)
                filled = np.fft.irfft(lowest, count, axis)
        return np.ascontiguousarray(filled, np.float32)

    def undo(self, coarse: Array, dimensions: int) -> Volume:
        """Return the least values that ``apply`` makes these of: what is left of them when they are filled again."""
        return self.apply(coarse, dimensions)


@dataclass(frozen=True)
class SliceProfile(Degraded):
    """A Gaussian profile, of which slices are samples: a slice's own sensitivity, or a detector's blur.

    ``thickness``: its full width at half maximum over the distance of the slices; above 1 slices overlap.
    """

    of: str
    by: Factors
    thickness: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.2 <= self.thickness <= 4:
            raise ValueError(f"thickness is {self.thickness}: expected .2 to 4 of the distance between slices")

    def matrix(self, count: int, factor: int) -> NDArray[np.float64]:
        deviation = self.thickness * factor / math.sqrt(8 * math.log(2))
        length = count * factor
        centre, place = ((np.arange(n) + 0.5) * step for n, step in ((count, factor), (length, 1)))
        # What lies beyond the ends is their mirror image.
        seen = np.stack([place, -place, 2 * length - place])[:, None]
        weights = np.exp(-0.5 * ((seen - centre[:, None]) / deviation) ** 2).sum(axis=0)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))


#: What a user may say of a scanner.
LIKE: Mapping[str, str] = {
    "box": "means over boxes",
    "k-space": "MR, cropped in k-space",
    "profile": "a Gaussian profile",
}


def way_like(name: str, by: tuple[int, int, int], thickness: float = 1.0) -> Degraded:
    """Return what the scanner of a name does, by so many times along R, A and S, as axial slices lie first.

    ``thickness`` is a profile's. Raises ValueError for what no such scanner does.
    """
    x, y, z = by
    if name == "profile":
        return SliceProfile("scan", (z, x, y), thickness)
    return {"box": Averaged, "k-space": KSpaceCropped}[name]("scan", (z, x, y))


@dataclass(frozen=True)
class Mixed(Made):
    """By one of several ways, drawn anew for every patch; each is measured by itself.

    So a network meets more than one scanner. All are of one role, and by the same factors.
    """

    ways: tuple[Degraded, ...]

    def __post_init__(self) -> None:
        if len({(way.of, way.finer) for way in self.ways}) != 1:
            raise ValueError("ways: expected one or more, all of the same role and by the same factors")

    @property
    def degraded(self) -> tuple[Degraded, ...]:
        return self.ways


@dataclass(frozen=True)
class Consistent(Blend):
    """What a scanner would make the input of again: the estimate read first, and all that the input lacks of it.

    ``way`` knows no window: its rows add up to 1.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    way: Degraded
    dimensions: int

    def blended(self, volumes: Mapping[str, Volume]) -> tuple[Volume, ...]:
        estimate, given = (volumes[name] for name in self.reads)
        return (self.way.nearest(estimate, given, self.dimensions),)


def held_to(passes: Sequence[Step], way: Degraded, dimensions: int, given: str, target: str) -> tuple[Step, ...]:
    """Return passes whose ``target`` is brought to agree with the volume ``given``, as ``Consistent`` does."""
    estimate = f"{target}, estimated"

    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(estimate if name == target else name for name in names)

    before = [replace(one, reads=renamed(one.reads), writes=renamed(one.writes)) for one in passes]  # type: ignore[type-var]
    return (*before, Consistent((estimate, given), (target,), way, dimensions))
