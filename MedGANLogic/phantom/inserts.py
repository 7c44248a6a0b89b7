"""A cylinder of water with inserts, seen by CT: what noise, sharpness and visibility are measured on.

Every insert is said with its exact place, size and contrast. In the plane (R, A) around the middle:

- a plain disc for noise-power spectra
- on the next ring a dense disc, whose edge gives the modulation transfer, and groups of bars
- on the outer ring rods of six contrasts and six diameters

The rest runs through all slices. Rods begin at the middle and run upwards: below it the same places are blank, so
that an observer finds signal and its absence at the same distance from the axis, and as many of each as there are
slices. Where the blur mixes both, within ``CLEAR_MM`` of the middle, slices are neither.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.errors import MedGANError
from MedGANLogic.images import Grid, Image
from MedGANLogic.phantom.imaging import BODY_NOISE_HU, CT_BLUR_SD_MM, blurred, centred_grid, ct_scan, points_of, stream
from MedGANLogic.phantom.shapes import Reals

_AIR_HU = -1000.0
_DENSE_HU = 900.0
CLEAR_MM = 3 * CT_BLUR_SD_MM


class Insert(Protocol):
    """What stands in the cylinder."""

    @property
    def centre_mm(self) -> tuple[float, float]:
        """The place (R, A) of its axis, which runs along S."""

    @property
    def reach_mm(self) -> float:
        """How far from the axis it reaches at most."""

    @property
    def contrast_hu(self) -> float:
        """What it adds to its surroundings."""

    def holds(self, points: Reals) -> NDArray[np.bool_]:
        """Say which of (3, N) RAS points in mm lie within."""


@dataclass(frozen=True)
class Disc:
    """A round rod along S, from ``from_mm`` upwards."""

    centre_mm: tuple[float, float]
    radius_mm: float
    contrast_hu: float
    from_mm: float = -np.inf

    @property
    def reach_mm(self) -> float:
        """Its radius."""
        return self.radius_mm

    def holds(self, points: Reals) -> NDArray[np.bool_]:
        """Say which of (3, N) RAS points in mm lie within."""
        right, ahead = self.centre_mm
        inside = (points[0] - right) ** 2 + (points[1] - ahead) ** 2 < self.radius_mm**2
        return np.asarray(inside & (points[2] >= self.from_mm))


@dataclass(frozen=True)
class Bars:
    """Four bars along A, side by side along R, as wide as the three gaps between them: line pairs of a frequency."""

    centre_mm: tuple[float, float]
    frequency_per_mm: float
    length_mm: float
    contrast_hu: float

    @property
    def width_mm(self) -> float:
        """The extent of all four along R."""
        return 3.5 / self.frequency_per_mm

    @property
    def reach_mm(self) -> float:
        """Half of the diagonal."""
        return float(np.hypot(self.width_mm, self.length_mm)) / 2

    def holds(self, points: Reals) -> NDArray[np.bool_]:
        """Say which of (3, N) RAS points in mm lie within a bar."""
        along = points[0] - self.centre_mm[0] + self.width_mm / 2
        bar = (along >= 0) & (along < self.width_mm) & (along * self.frequency_per_mm % 1 < 0.5)
        return np.asarray(bar & (np.abs(points[1] - self.centre_mm[1]) < self.length_mm / 2))


@dataclass(frozen=True)
class Inserts:
    """The cylinder's CT (HU, float32) and where in it what lies."""

    ct: Image
    body: Disc
    uniform: Disc
    edge: Disc
    bars: tuple[Bars, ...]
    rods: tuple[Disc, ...]

    def to_json(self) -> dict[str, Any]:
        """Return where what lies, as plain data: mm in RAS, HU; what has no ``from_mm`` runs through all slices."""
        return {
            "clear_mm": CLEAR_MM,
            "body": _plain(self.body),
            "uniform": _plain(self.uniform),
            "edge": _plain(self.edge),
            "bars": [_plain(group) for group in self.bars],
            "rods": [_plain(rod) for rod in self.rods],
        }


def _plain(insert: Disc | Bars) -> dict[str, Any]:
    return {name: value for name, value in asdict(insert).items() if value != -np.inf}


def _around(radius_mm: float, turn: float) -> tuple[float, float]:
    """Return the place (R, A) on a ring, clockwise from the front as a share of a turn."""
    return float(radius_mm * np.sin(2 * np.pi * turn)), float(radius_mm * np.cos(2 * np.pi * turn))


BODY = Disc((0.0, 0.0), 100.0, -_AIR_HU)
UNIFORM = Disc((0.0, 0.0), 28.0, 0.0)
EDGE = Disc(_around(48.0, 0.0), 12.0, _DENSE_HU)
BARS = tuple(
    Bars(_around(48.0, (1 + number) / 8), frequency, 12.0, _DENSE_HU)
    for number, frequency in enumerate((0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8))
)
CONTRASTS_HU = (-20.0, -10.0, -5.0, 5.0, 10.0, 20.0)
DIAMETERS_MM = (15.0, 10.0, 7.0, 5.0, 3.0, 2.0)


def _rods() -> tuple[Disc, ...]:
    """Return the rods, side by side on the ring; on either side half of their width is water, at least 2.5 mm."""
    pairs = list(itertools.product(CONTRASTS_HU, DIAMETERS_MM))
    shares = np.array([max(2 * diameter, diameter + 5) for _, diameter in pairs])
    turns = (np.cumsum(shares) - shares / 2) / shares.sum()
    return tuple(
        Disc(_around(86.0, turn), diameter / 2, contrast, from_mm=0.0)
        for (contrast, diameter), turn in zip(pairs, turns, strict=True)
    )


RODS = _rods()

DEFAULT_GRID = centred_grid((416, 416, 24), (0.5, 0.5, 2.5))


def inserts(seed: int, noise_hu: float = BODY_NOISE_HU, grid: Grid = DEFAULT_GRID) -> Inserts:
    """Image the cylinder; a seed (0 or above) draws the noise alone, and with ``noise_hu`` 0 there is none.

    The same arguments give the same bytes. Raises MedGANError for a negative seed or noise.
    """
    if noise_hu < 0:
        raise MedGANError(f"the noise is {noise_hu} HU: expected 0 or above")
    hu = _with_contrasts(np.full(grid.shape, _AIR_HU), (BODY, EDGE, *BARS, *RODS), grid)
    scan = ct_scan(hu, grid, noise_hu, stream(seed, 2))
    facts = {"modality": "CT", "notes": f"synthetic: inserts phantom, seed {seed}"}
    return Inserts(Image(scan[None], grid.affine, "HU", facts), BODY, UNIFORM, EDGE, BARS, RODS)


def with_rods(ct: Image, rods: Sequence[Disc]) -> Image:
    """Return a CT (HU) with rods added to what is there, as sharp as the phantoms' CT: for a head, or a patient."""
    added = _with_contrasts(np.zeros(ct.grid.shape), rods, ct.grid)
    voxels = ct.voxels + blurred(added, ct.grid, CT_BLUR_SD_MM).astype(np.float32)
    notes = f"{ct.facts.get('notes', '')}; synthetic: {len(rods)} rods added".removeprefix("; ")
    return replace(ct, voxels=voxels, facts={**ct.facts, "notes": notes})


#: Thirty-two points of a voxel, in voxels from its centre.
_SUBVOXELS = tuple(itertools.product((-0.375, -0.125, 0.125, 0.375), (-0.375, -0.125, 0.125, 0.375), (-0.25, 0.25)))


def _with_contrasts(hu: Reals, inserts: Iterable[Insert], grid: Grid) -> Reals:
    """Return HU to which each insert has added its contrast times its share of each voxel."""
    points, flat = points_of(grid), hu.ravel()
    offsets = (grid.affine[:3, :3] @ np.array(_SUBVOXELS).T).T[..., None]
    margin = float(np.abs(offsets).sum(axis=1).max())
    for insert in inserts:
        right, ahead = insert.centre_mm
        near = np.flatnonzero(np.hypot(points[0] - right, points[1] - ahead) < insert.reach_mm + margin)
        held = np.zeros(near.size)
        for offset in offsets:
            held += insert.holds(points[:, near] + offset)
        flat[near] += insert.contrast_hu * held / len(offsets)
    return flat.reshape(grid.shape)
