"""How far a prediction is from its reference inside a mask: pure functions of arrays, no torch.

Every function takes voxels (I, J, K) and reads those in the boolean mask alone: what lies outside changes nothing.
Where a number would mean nothing (an empty label, a volume too small) ``Undefined`` is raised and says why.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.domain import Array

Mask = NDArray[np.bool_]

#: Wang 2004: an 11-voxel Gaussian window of 1.5 voxels, K1 = 0.01, K2 = 0.03.
_RADIUS = 5
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03

#: Half of the 15 voxels of the Laplacian that HFEN is by; its Gaussian is as wide as that of SSIM.
_LAPLACIAN_REACH = 7

#: Wang 2003: the exponents of the five scales, finest first.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


class Undefined(ValueError):  # noqa: N818 - a finding about the images, not a fault
    """A metric that has no value for these images; the message says why."""


@dataclass(frozen=True)
class Tissue:
    """The reference voxels with ``low_hu`` <= HU < ``high_hu``."""

    name: str
    low_hu: float
    high_hu: float

    def within(self, reference_hu: Array, mask: Mask) -> Mask:
        """Return where the reference is of this tissue, in the mask."""
        return np.asarray(mask & (reference_hu >= self.low_hu) & (reference_hu < self.high_hu))


SOFT_TISSUE = Tissue("soft tissue", -30.0, 150.0)

#: Tissue by the HU of the reference. Between the classes lie voxels of mixed tissue: they count in none. Gas is air, in
#: airways too; the lung's vessels and walls are not lung.
TISSUES = (
    Tissue("air", -math.inf, -950.0),
    Tissue("lung", -950.0, -700.0),
    Tissue("fat", -150.0, -30.0),
    SOFT_TISSUE,
    Tissue("bone", 250.0, math.inf),
)


def mean_absolute_error(reference: Array, prediction: Array, mask: Mask) -> float:
    """Return mean |prediction - reference| in the mask, in the images' unit. Raises Undefined for an empty mask."""
    return float(np.abs(_differences(reference, prediction, mask)).mean())


def mean_error(reference: Array, prediction: Array, mask: Mask) -> float:
    """Return mean (prediction - reference) in the mask: above zero, the prediction is too high.

    In the images' unit. Raises Undefined for an empty mask.
    """
    return float(_differences(reference, prediction, mask).mean())


def root_mean_square_error(reference: Array, prediction: Array, mask: Mask) -> float:
    """Return the root of the mean squared difference in the mask, in the images' unit.

    Raises Undefined for an empty mask.
    """
    return float(np.sqrt(np.square(_differences(reference, prediction, mask)).mean()))


def peak_signal_to_noise_ratio(reference: Array, prediction: Array, mask: Mask, span: float) -> float:
    """Return 20 log10(span / RMSE) in dB; ``span`` is the width of the range, in the images' unit.

    Nothing is clipped to the range. Raises Undefined for an empty mask, a span of zero, and images that are equal.
    """
    _refuse_no_span(span)
    error = root_mean_square_error(reference, prediction, mask)
    if error == 0:
        raise Undefined("the images are equal in the mask: the ratio is infinite")
    return 20 * math.log10(span / error)


def structural_similarity(reference: Array, prediction: Array, mask: Mask, low: float, span: float) -> float:
    """Return the mean of the SSIM map over the mask: 1 for equal images.

    The range is [low, low + span], in the images' unit. SSIM is not defined for negative values, so the images are
    read from ``low`` upwards; nothing is clipped. The window is three-dimensional and counted in voxels; it sees
    ``low`` in both images outside of the mask (as in SynthRAD 2025) and a mirror beyond the volume's edge. A single
    slice therefore gives exactly the two-dimensional SSIM, and few slices need no other rule.
    Raises Undefined for an empty mask and a span of zero. Wang et al. 2004, doi:10.1109/TIP.2003.819861.
    """
    _refuse_empty(mask)
    _refuse_no_span(span)
    near = box_around(mask, [_RADIUS] * mask.ndim)
    inside = mask[near]
    similarity, _ = _similarity_maps(
        _from_low(reference[near], inside, low, span), _from_low(prediction[near], inside, low, span)
    )
    return float(similarity[inside].mean(dtype=np.float64))


def multi_scale_structural_similarity(
    reference: Array, prediction: Array, mask: Mask, low: float, span: float
) -> float:
    """Return MS-SSIM over the mask: contrast and structure at five scales, luminance at the coarsest.

    Range, window and mask as in ``structural_similarity``. From scale to scale an axis is halved by averaging two
    voxels as long as six remain (with fewer, the window's mirror image would fold over twice): thick slices keep
    their number while the slice plane coarsens. A voxel of a coarser scale is in the mask if half of it is.
    Raises Undefined as ``structural_similarity`` does, and where fewer than two axes have the 96 voxels that can be
    halved four times. Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216.
    """
    _refuse_empty(mask)
    _refuse_no_span(span)
    shortest = (_RADIUS + 1) * 2 ** (len(_SCALES) - 1)
    if sum(n >= shortest for n in mask.shape) < 2:
        raise Undefined(
            f"the volume is too small for {len(_SCALES)} scales: {'×'.join(map(str, mask.shape))} voxels, "
            f"at least {shortest} along two axes needed"
        )
    x, y = (_from_low(voxels, mask, low, span) for voxels in (reference, prediction))
    share = mask.astype(np.float32)
    result = 1.0
    for scale, exponent in enumerate(_SCALES):
        if scale:
            x, y, share = _halved(x), _halved(y), _halved(share)
        inside = share >= 0.5
        if not inside.any():
            raise Undefined(f"the mask is too thin: nothing of it is left at scale {scale + 1} of {len(_SCALES)}")
        similarity, contrast = _similarity_maps(x, y)
        last = scale == len(_SCALES) - 1
        mean = float((similarity if last else contrast)[inside].mean(dtype=np.float64))
        result *= max(mean, 0.0) ** exponent  # a negative mean has no real power; it counts as no similarity at all
    return result


def dice(reference: Mask, prediction: Mask) -> float:
    """Return 2 |A ∩ B| / (|A| + |B|): 0 where one is empty. Raises Undefined where both are."""
    total = int(reference.sum()) + int(prediction.sum())
    if total == 0:
        raise Undefined("neither image has this label")
    return 2 * int((reference & prediction).sum()) / total


def agreement(reference: Mask, prediction: Mask) -> float:
    """Return ``dice``, and 1 where both are empty: what is nowhere is found when nothing is."""
    try:
        return dice(reference, prediction)
    except Undefined:
        return 1.0


def hausdorff_distance_95(reference: Mask, prediction: Mask, spacing_mm: tuple[float, float, float]) -> float:
    """Return the 95th percentile of the distances from surface to surface in mm, the larger of both directions.

    Surfaces and empty labels as in ``average_symmetric_surface_distance``.
    """
    return max(float(np.percentile(way, 95)) for way in _surface_distances(reference, prediction, spacing_mm))


def average_symmetric_surface_distance(
    reference: Mask, prediction: Mask, spacing_mm: tuple[float, float, float]
) -> float:
    """Return the mean distance in mm over all surface voxels of both labels, each to the other's surface.

    A surface voxel has a face neighbour that is not of the label; the volume's edge is no surface, because there the
    field of view ends and not the organ (so a single slice has a two-dimensional outline). Distances run between
    voxel centres. Raises Undefined where a label is empty or fills the volume.
    """
    distances = np.concatenate(_surface_distances(reference, prediction, spacing_mm))
    return float(distances.mean())


def fine_detail(image: Array, mask: Mask) -> float:
    """Return the robust standard deviation of an image minus its 3×3 mean in the slices along K, over a mask.

    In the image's unit: noise and texture, which a network trained on the L1 error smooths away. 1.4826 times the
    median of the absolute values, so that edges hardly count. Raises Undefined for an empty mask.
    """
    _refuse_empty(mask)
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows, columns = image.shape[:2]
    mean = sum(padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)) / 9
    return float(1.4826 * np.median(np.abs(image - mean)[mask]))


def high_frequency_error(reference: Array, prediction: Array, mask: Mask) -> float:
    """Return HFEN: how far fine detail is off, as a share of the reference's; 0 for equal images, 1 for none of it.

    ‖LoG(prediction) - LoG(reference)‖₂ / ‖LoG(reference)‖₂ in the mask, LoG being the Laplacian of a Gaussian of 1.5
    voxels, cut at 15 of them (Ravishankar & Bresler 2011, doi:10.1109/TMI.2010.2090538), along all three axes, mirrored
    at the volume's ends: of a single slice it is theirs. Raises Undefined for an empty mask and a flat reference.
    """
    _refuse_empty(mask)
    near = box_around(mask, [_LAPLACIAN_REACH] * mask.ndim)
    inside = mask[near]
    wanted, found = (_laplacian(np.asarray(image[near], np.float64))[inside] for image in (reference, prediction))
    size = float(np.linalg.norm(wanted))
    # A constant leaves what rounding leaves.
    if size <= 1e-9 * float(np.linalg.norm(np.asarray(reference[mask], np.float64))):
        raise Undefined("the reference has no detail in the mask")
    return float(np.linalg.norm(found - wanted)) / size


def _laplacian(values: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.arange(-_LAPLACIAN_REACH, _LAPLACIAN_REACH + 1)
    smooth = np.exp(-(places**2) / (2 * _SIGMA**2))
    smooth /= smooth.sum()
    # Without its mean a constant would not give 0.
    curved = smooth * (places**2 - _SIGMA**2) / _SIGMA**4
    curved -= curved.mean()
    total = np.zeros_like(values)
    for across in range(values.ndim):
        part = values
        for axis in range(values.ndim):
            part = _convolved(part, curved if axis == across else smooth, axis)
        total += part
    return total


def _convolved(values: NDArray[np.float64], weights: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    reach, count = len(weights) // 2, values.shape[axis]
    padding = [(reach, reach) if other == axis else (0, 0) for other in range(values.ndim)]
    padded = np.moveaxis(np.pad(values, padding, mode="symmetric"), axis, 0)
    total = sum(weight * padded[start : start + count] for start, weight in enumerate(weights))
    return np.moveaxis(np.asarray(total), 0, axis)


def _differences(reference: Array, prediction: Array, mask: Mask) -> NDArray[np.float64]:
    _refuse_empty(mask)
    return np.asarray(prediction[mask], np.float64) - np.asarray(reference[mask], np.float64)


def _refuse_empty(mask: Mask) -> None:
    if not mask.any():
        raise Undefined("no voxel in the mask")


def _refuse_no_span(span: float) -> None:
    if not span > 0:
        raise Undefined("the reference has one value in the mask: its range is zero")


def box_around(mask: Mask, margin: Sequence[int]) -> tuple[slice, ...]:
    """Return the smallest box that holds a mask and a margin in voxels along each axis, cut at the volume's edge."""
    box = []
    for axis, more in enumerate(margin):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(max(0, int(hit[0]) - more), int(hit[-1]) + 1 + more))
    return tuple(box)


def _from_low(voxels: Array, mask: Mask, low: float, span: float) -> NDArray[np.float32]:
    """Return values in spans above ``low``, and zero outside of the mask."""
    return np.where(mask, (np.asarray(voxels, np.float32) - np.float32(low)) / np.float32(span), np.float32(0))


def _similarity_maps(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[Array, Array]:
    """Return the SSIM map and its contrast-structure factor, of values with a span of one."""
    # MONAI's compute_ssim_and_cs gives the same numbers (a test holds us to it), but its window is dense: 1331 instead
    # of 33 products a voxel took 28 times as long on a CPU, minutes for a whole CT.
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x = _windowed(x * x) - mean_x * mean_x
    variance_y = _windowed(y * y) - mean_y * mean_y
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = np.float32(_K1**2), np.float32(_K2**2)
    contrast = (2 * covariance + c2) / (variance_x + variance_y + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return luminance * contrast, contrast


def _windowed(values: Array) -> Array:
    """Return the Gaussian-weighted mean around each voxel, axis by axis; the volume is mirrored at its edge."""
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    for axis, count in enumerate(values.shape):
        padding = [(_RADIUS, _RADIUS) if other == axis else (0, 0) for other in range(values.ndim)]
        padded = np.moveaxis(np.pad(values, padding, mode="symmetric"), axis, 0)
        total = weights[_RADIUS].astype(np.float32) * padded[_RADIUS : _RADIUS + count]
        # Both sides weigh the same: one product for two, in one array that is used again.
        pair = np.empty_like(total)
        for start, weight in enumerate(weights[:_RADIUS].astype(np.float32)):
            np.add(padded[start : start + count], padded[2 * _RADIUS - start :][:count], out=pair)
            pair *= weight
            total += pair
        values = np.moveaxis(total, 0, axis)
    return values


def _halved(values: Array) -> Array:
    """Average pairs of voxels along every axis that keeps six; an odd last voxel is dropped."""
    for axis, count in enumerate(values.shape):
        if count // 2 > _RADIUS:
            moved = np.moveaxis(values, axis, 0)
            even = count // 2 * 2
            values = np.moveaxis((moved[0:even:2] + moved[1:even:2]) / 2, 0, axis)
    return values


def _surface_distances(
    reference: Mask, prediction: Mask, spacing_mm: tuple[float, float, float]
) -> tuple[Array, Array]:
    """Return the distances in mm from each surface voxel to the other surface, both ways."""
    for name, label in (("reference", reference), ("prediction", prediction)):
        if not label.any():
            raise Undefined(f"the {name} lacks this label: there is no distance to it")
    surfaces = [_surface(reference), _surface(prediction)]
    for name, surface in zip(("reference", "prediction"), surfaces, strict=True):
        if not surface.any():
            raise Undefined(f"the label fills the {name}: it has no surface")
    near = box_around(surfaces[0] | surfaces[1], [0] * reference.ndim)
    first, second = (surface[near] for surface in surfaces)
    return distance_to(second, spacing_mm)[first], distance_to(first, spacing_mm)[second]


def _surface(label: Mask) -> Mask:
    padded = np.pad(label, 1, mode="edge")
    inner = label.copy()
    for axis in range(label.ndim):
        for start in (0, 2):
            window = [slice(1, -1)] * label.ndim
            window[axis] = slice(start, start + label.shape[axis])
            inner &= padded[tuple(window)]
    return label & ~inner


def distance_to(surface: Mask, spacing_mm: tuple[float, float, float]) -> Array:
    """Return the distance in mm from each voxel's centre to the nearest of a surface, or of a region: 0 within."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(surface.T.astype(np.uint8))  # SimpleITK's arrays are KJI
    image.SetSpacing([float(s) for s in spacing_mm])
    signed = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    # A surface voxel touches what is not surface, so that its own distance is zero already: only -0.0 is put right.
    return np.asarray(np.maximum(sitk.GetArrayFromImage(signed).T, 0))
