"""How sharp a CT is: the width of its edges, and the modulation transfer from a phantom's disc. No torch.

Both put many voxels of an edge into one finely sampled profile, by their distance from it along its normal: that is
finer than the voxels are, and noise averages out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.domain import Array
from MedGANLogic.evaluation.metrics import Mask, Undefined
from MedGANLogic.images import Image, Orientation

Vector = NDArray[np.float64]

#: [assumed] An edge is worth measuring where the HU rise by this much from one side to the other: body to air, lung to
#: chest wall, the outside of thick bone. 60 HU/mm is how steep such a rise is under a blur of 2.7 mm (SD).
RISE_HU = 400.0
_STEEP_HU_PER_MM = 60.0

#: [assumed] The two sides are read from 4 to 6 mm away from the edge; their SD may be a tenth of the rise.
_SIDE_MM = (4.0, 6.0)
_SIDE_SHARE = 0.1

#: [assumed] The HU of the next slices at an edge may differ by this share of the rise: the surface stands upright, and
#: a thick slice does not blur it.
_LEAN_SHARE = 0.2

#: [assumed] Fewer places make no smooth profile; of more steep places than so many, every n-th is looked at.
_FEWEST, _ENOUGH = 100, 100_000

#: Steps of a profile per voxel.
_FINER = 8


@dataclass(frozen=True)
class Edges:
    """Places of strong edges: voxels (n, 3), the step (n, 2) to the next voxel uphill, its mm along the normal (n,)."""

    voxels: NDArray[np.int64]
    uphill: NDArray[np.int64]
    along_mm: Vector

    def chosen(self, kept: Mask | slice) -> "Edges":
        """Return some of them."""
        return Edges(self.voxels[kept], self.uphill[kept], self.along_mm[kept])


@dataclass(frozen=True)
class Modulation:
    """How much of a contrast an image keeps at each spatial frequency: 1 at frequency 0."""

    frequency_per_mm: Vector
    transfer: Vector

    def falls_to(self, share: float) -> float:
        """Return the frequency in 1/mm at which the transfer first falls to a share: 0.5 for f50, 0.1 for f10.

        Raises Undefined where it never does.
        """
        below = np.flatnonzero(self.transfer <= share)
        if len(below) == 0:
            raise Undefined(f"the transfer stays above {share:g} up to {self.frequency_per_mm[-1]:.2f} per mm")
        after = int(below[0])
        pair = slice(after - 1, after + 1)
        return float(np.interp(share, self.transfer[pair][::-1], self.frequency_per_mm[pair][::-1]))


def strong_edges(reference_hu: Array, mask: Mask, spacing_mm: tuple[float, float, float]) -> Edges:
    """Find where a CT (I, J, K) has strong, upright, lonely edges in its axial slices (across K), inside the mask.

    The slope in the slice is a maximum along the axis that it is nearest to, the HU rise by ``RISE_HU`` or more, both
    sides are even, and the next slices look alike there. What lies up to 6 mm away is read outside of the mask too:
    the skin is the mask's edge. Raises Undefined for voxels of more than 2 mm and fewer than 100 places.
    """
    coarsest = max(spacing_mm[:2])
    if coarsest > _SIDE_MM[1] - _SIDE_MM[0]:
        raise Undefined(f"voxels of {coarsest:.3g} mm are too large: an edge's width needs at most 2 mm in the slice")
    found = [_steepest(reference_hu[:, :, k], mask[:, :, k], k, spacing_mm) for k in range(reference_hu.shape[2])]
    steep = Edges(*(np.concatenate(part) for part in zip(*found, strict=True)))
    looked_at = steep.chosen(np.s_[:: 1 + len(steep.voxels) // _ENOUGH])
    edges = looked_at.chosen(_clean(reference_hu, looked_at))
    if len(edges.voxels) < _FEWEST:
        raise Undefined(
            f"the reference has {len(edges.voxels)} places with a clean edge of {RISE_HU:g} HU in the mask: "
            f"at least {_FEWEST} needed"
        )
    return edges


def edge_width(image_hu: Array, edges: Edges) -> float:
    """Return over how many mm an image's HU rise from 10 to 90 % at the edges: 2.563 σ for a Gaussian blur.

    Each place's profile along the normal is read from its own sides and moved to its own middle, so that an edge that
    lies elsewhere is not a wide one; the width is that of the median of all, made to rise. On a disc of 1000 HU in
    voxels of 0.7 mm, under noise of up to 60 HU, it was right to 7 % for a blur of 0.35 to 1.5 mm, and up to 9 % short
    for 2 mm, whose sides are not far enough away (the median of single widths was up to a third too large). Raises
    Undefined where less than half of the places have half of ``RISE_HU``, and for a profile wider than 8 mm.
    """
    distance, values, low, high = _profiles(image_hu, edges)
    rises = high - low >= RISE_HU / 2
    if rises.sum() < len(rises) / 2:
        raise Undefined(f"the image has an edge at {rises.mean():.0%} of the reference's: at least half needed")
    share = (values[rises] - low[rises, None]) / (high - low)[rises, None]
    distance = distance[rises]
    middle = np.array([_crossing(*profile, level=0.5) for profile in zip(distance, share, strict=True)])
    centred = distance - middle[:, None]
    near = np.abs(centred) <= _SIDE_MM[0]
    profile = _typical(centred[near], share[near], float(edges.along_mm.min()) / _FINER)
    return _crossing(*profile, level=0.9) - _crossing(*profile, level=0.1)


def modulation_transfer(image: Image, centre_mm: tuple[float, float], radius_mm: float) -> Modulation:
    """Return the modulation transfer of a CT (1, I, J, K) from a disc of known place, up to one over the spacing.

    ``centre_mm`` is the disc's axis in RAS (right, anterior), ``radius_mm`` its radius; it stands upright through all
    slices, and up to half of its radius from its edge there is nothing else. Its edge is averaged over all angles and
    slices by distance from the axis, in steps of an eighth of a voxel; its derivative is Fourier-transformed. Source:
    the circular edge of Richard et al. 2012, doi:10.1118/1.4725171 [paper?]. Raises Undefined where the disc does not
    lie in the image or has no contrast.
    """
    edge, step_mm = _disc_edge(image, centre_mm, radius_mm)
    line = np.diff(edge) * _window(len(edge) - 1)
    if abs(line.sum()) < 1e-6:
        raise Undefined("the disc has no contrast")
    spectrum = np.abs(np.fft.rfft(line, 8 * len(line)))
    frequency = np.fft.rfftfreq(8 * len(line), step_mm)
    transfer = spectrum / spectrum[0]
    shown = frequency * step_mm * _FINER <= 1
    return Modulation(np.asarray(frequency[shown], np.float64), np.asarray(transfer[shown], np.float64))


def _steepest(
    plane: Array, mask: Mask, k: int, spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Vector]:
    """Return voxels, uphill steps and mm along the normal, as in ``Edges``, of a slice's steepest places."""
    slopes = [np.gradient(_smoothed(plane, 1 - axis), spacing_mm[axis], axis=axis) for axis in (0, 1)]
    steepness = np.hypot(*slopes)
    places = np.argwhere(mask & (steepness >= _STEEP_HU_PER_MM))
    slope = np.stack([of[tuple(places.T)] for of in slopes], axis=1)
    axis = np.abs(slope).argmax(axis=1)
    uphill = np.where(axis[:, None] == [0, 1], np.sign(slope), 0).astype(np.int64)
    here = steepness[tuple(places.T)]
    cosine = np.abs(slope).max(axis=1) / here
    along = np.asarray(spacing_mm)[axis] * cosine
    reach = np.ceil(_SIDE_MM[1] / along)[:, None].astype(np.int64) * np.abs(uphill)
    inside = ((places >= reach) & (places + reach < plane.shape)).all(axis=1)
    places, uphill, here, along = places[inside], uphill[inside], here[inside], along[inside]
    top = (here >= steepness[tuple((places - uphill).T)]) & (here > steepness[tuple((places + uphill).T)])
    voxels = np.column_stack([places, np.full(len(places), k)])
    return voxels[top], uphill[top], along[top]


def _smoothed(plane: Array, axis: int) -> Array:
    """Return a slice under weights of 1, 2, 1 along an axis: the other axis's slope is then Sobel's."""
    plane = np.moveaxis(plane.astype(np.float64), axis, 0)
    padded = np.pad(plane, ((1, 1), (0, 0)), mode="edge")
    return np.moveaxis((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4, 0, axis)


def _clean(reference_hu: Array, edges: Edges) -> Mask:
    """Return which edges rise enough, have even sides, and stand upright."""
    distance, values, low, high = _profiles(reference_hu, edges)
    rise = high - low
    spread = np.maximum(*(_side(distance, values, sign)[1] for sign in (-1, 1)))
    i, j, k = edges.voxels.T
    last = reference_hu.shape[2] - 1
    above, below = (reference_hu[i, j, np.clip(k + step, 0, last)].astype(float) for step in (1, -1))
    return np.asarray(
        (rise >= RISE_HU) & (spread <= _SIDE_SHARE * rise) & (np.abs(above - below) <= _LEAN_SHARE * rise)
    )


def _profiles(image_hu: Array, edges: Edges) -> tuple[Vector, Vector, Vector, Vector]:
    """Return distances along the normal in mm and HU there, (n, steps) both, and the HU (n,) of both sides.

    Voxels beyond the sides, and those outside of the volume, are repeated: nothing reads them.
    """
    reach = int(np.ceil(_SIDE_MM[1] / edges.along_mm.min(initial=_SIDE_MM[1])))
    steps = np.arange(-reach, reach + 1)
    places = edges.voxels[:, None, :2] + steps[:, None] * edges.uphill[:, None]
    i, j = np.moveaxis(np.clip(places, 0, np.array(image_hu.shape[:2]) - 1), -1, 0)
    values = image_hu[i, j, edges.voxels[:, 2:]].astype(np.float64)
    distance = steps * edges.along_mm[:, None]
    low, high = (_side(distance, values, sign)[0] for sign in (-1, 1))
    return distance, values, low, high


def _side(distance: Vector, values: Vector, sign: int) -> tuple[Vector, Vector]:
    """Return mean and SD of the values on one side of each edge."""
    there = (sign * distance >= _SIDE_MM[0]) & (sign * distance <= _SIDE_MM[1])
    count = there.sum(axis=1)
    mean = np.where(there, values, 0).sum(axis=1) / count
    variance = np.where(there, np.square(values - mean[:, None]), 0).sum(axis=1) / count
    return mean, np.sqrt(variance)


def _typical(distance: Vector, share: Vector, step_mm: float) -> tuple[Vector, Vector]:
    """Return the profile that rises and is nearest to the median share in every step of distance that has any."""
    place = np.rint(distance / step_mm).astype(int)
    order = np.argsort(place, kind="stable")
    places, starts, counts = np.unique(place[order], return_index=True, return_counts=True)
    medians = np.array([np.median(part) for part in np.split(share[order], starts[1:])])
    return places * step_mm, _rising(medians, counts)


def _rising(values: Vector, weights: NDArray[np.int64]) -> Vector:
    """Return the values that never fall and are nearest in weighted squares: neighbours that fall become their mean."""
    levels: list[tuple[float, int, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        levels.append((value, weight, 1))
        while len(levels) > 1 and levels[-2][0] > levels[-1][0]:
            (one, ones, first), (other, others, second) = levels.pop(), levels.pop()
            levels.append(((one * ones + other * others) / (ones + others), ones + others, first + second))
    means, _, lengths = zip(*levels, strict=True)
    return np.repeat(means, lengths)


def _crossing(distance: Vector, share: Vector, level: float) -> float:
    """Return where a profile that rises from 0 to 1 crosses a level upwards, nearest to distance 0."""
    before = np.flatnonzero((share[:-1] < level) & (share[1:] >= level))
    if len(before) == 0:
        raise Undefined(f"the image's edges are wider than {2 * _SIDE_MM[0]:g} mm")
    first = before[np.abs(distance[before]).argmin()]
    return float(np.interp(level, share[first : first + 2], distance[first : first + 2]))


def _disc_edge(image: Image, centre_mm: tuple[float, float], radius_mm: float) -> tuple[Vector, float]:
    """Return the HU across a disc's edge, from half of its radius inside to as far outside, and their step in mm."""
    upright = Orientation.nearest(image.affine).apply_to_grid(image.grid)
    steps = round(radius_mm * _FINER / min(upright.spacing_mm[:2]))
    distance = _from_axis(image, centre_mm) / radius_mm - 0.5
    near = (distance >= 0) & (distance < 1)
    place = (distance[near] * steps).astype(int)
    count = np.bincount(place, minlength=steps)
    there = count > 0
    if there.mean() < 0.5:
        raise Undefined(f"no disc of {radius_mm:g} mm around {centre_mm}: half of its distances have no voxel")
    # A disc that lies like its voxels has the same distances again and again, and others not at all.
    found, values = (np.bincount(place, of[near], steps)[there] / count[there] for of in (distance, image.voxels[0]))
    return np.interp(np.linspace(0, 1, steps), found, values), radius_mm / (steps - 1)


def _window(length: int) -> Vector:
    """Return a window that is flat over the inner half and falls to nothing as a cosine."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(2 - 2 * np.abs(np.linspace(-1, 1, length)), 0, 1)))


def _from_axis(image: Image, centre_mm: tuple[float, float]) -> Vector:
    """Return every voxel's distance in mm (I, J, K) from an upright line."""
    indices = np.indices(image.grid.shape, np.float32)
    right, anterior = (np.tensordot(row[:3], indices, 1) + row[3] for row in image.affine[:2])
    return np.asarray(np.hypot(right - centre_mm[0], anterior - centre_mm[1]), np.float64)
