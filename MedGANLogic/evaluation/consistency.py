"""Whether a result still agrees with the image that it was made from: it is degraded again and compared. No torch.

Where the degradation draws noise (low dose), what was taken away must look like noise. Where it draws nothing (a
coarser grid), the input must come out again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.domain import Array
from MedGANLogic.evaluation.metrics import TISSUES, Mask, Undefined
from MedGANLogic.images import Image, ImageError, Orientation, from_sitk, to_sitk

Degradation = Callable[[Image], Image]

#: [assumed] SD in mm of the Gaussian that leaves the coarse part of a difference, in axial slices: noise of a CT has
#: next to nothing there (0.6 of 25 HU), structure has.
_COARSE_MM = 5.0

#: [assumed] What counts as within noise: a coarse part no more than 1.25 times, its largest value no more than 1.5
#: times what noise of that strength would have, and a mean within 1 HU of its. Measured on six slices of a chest under
#: noise of 25 HU: results without noise, or with grain of their own, came to 0.92 … 1.02 and 0.88 … 1.12; with a nodule
#: of 12 mm and 15 HU to 1.19 and 2.94, of 20 mm and 10 HU to 1.43 and 3.23; a median of 3×3 voxels to 1.68 and 2.09.
_COARSE_TIMES, _LARGEST_TIMES, _MEAN_HU = 1.25, 1.5, 1.0

#: [assumed] Fewer voxels of a tissue say nothing.
_FEWEST = 1000


@dataclass(frozen=True)
class Removed:
    """What was taken away in one tissue, beside the noise that the degradation puts there.

    ``deviation_hu`` and ``noise_hu`` are the SDs of both: the first may be larger where a result has also lost the
    noise of its full dose, or has grain of its own. ``coarse`` and ``largest`` therefore are ratios at equal SD: of
    the coarse parts' SDs, and of their largest distances from the mean. ``mean_hu`` is how much more was taken away on
    average than the degradation puts there: noise of few photons has a mean of its own.
    """

    tissue: str
    voxels: int
    deviation_hu: float
    noise_hu: float
    coarse: float
    largest: float
    mean_hu: float

    @property
    def findings(self) -> tuple[str, ...]:
        """What does not look like noise, in words; nothing where all does."""
        said = []
        if self.coarse > _COARSE_TIMES:
            said.append(f"{self.tissue}: the coarse part is {self.coarse:.2f} times that of noise")
        if self.largest > _LARGEST_TIMES:
            said.append(f"{self.tissue}: in one place it is {self.largest:.2f} times the largest of noise")
        if abs(self.mean_hu) > _MEAN_HU:
            said.append(f"{self.tissue}: {self.mean_hu:+.1f} HU on average")
        return tuple(said)


@dataclass(frozen=True)
class Consistency:
    """What was taken away from an image, tissue by tissue."""

    tissues: tuple[Removed, ...]

    @property
    def verdict(self) -> str:
        """``within noise``, or what was taken away beside noise."""
        findings = [finding for removed in self.tissues for finding in removed.findings]
        return f"not within noise: {'; '.join(findings)}" if findings else "within noise"


def consistency(given: Image, result: Image, degrade: Degradation, mask: Mask) -> Consistency:
    """Compare what was taken away, ``given - result``, with what degrading the result puts there, in a mask (I, J, K).

    All are CT (1, I, J, K) in HU on one grid. Structure that was added or taken away shows in the coarse part of the
    difference, where noise has next to nothing. Tissues are those of the result's coarse part, so that its grain does
    not choose them. Raises ImageError for another grid or unit, Undefined where no tissue has 1000 voxels, and where
    the degradation adds no noise.
    """
    again = degrade(result)
    for name, image in (("input", given), ("result", result), ("result, degraded again,", again)):
        if image.unit != "HU" or not given.grid.matches(image.grid):
            raise ImageError(f"the {name} must be in HU on the input's grid: found {image.unit}, {image.grid.shape}")
    removed = np.where(mask, _difference(given, result), 0)
    noise = np.where(mask, _difference(again, result), 0)
    coarse_removed, coarse_noise = _coarse(removed, given), _coarse(noise, given)
    coarse_result = coarse_part(result, mask)
    rows = []
    for tissue in TISSUES:
        there = tissue.within(coarse_result, mask)
        if np.count_nonzero(there) >= _FEWEST:
            pairs = (removed[there], noise[there]), (coarse_removed[there], coarse_noise[there])
            rows.append(_removed(tissue.name, *pairs))
    if not rows:
        raise Undefined(f"no tissue has {_FEWEST} voxels in the mask")
    return Consistency(tuple(rows))


def coarse_part(image: Image, mask: Mask) -> NDArray[np.float32]:
    """Return an image (I, J, K) under a Gaussian of 5 mm (SD) in axial slices, of what lies in the mask alone.

    It tells tissues apart where noise would. Outside of the mask it is 0.
    """
    total, weight = (_coarse(values, image) for values in (np.where(mask, image.voxels[0], 0), mask))
    return np.asarray(np.divide(total, weight, out=np.zeros_like(total), where=mask))


def consistency_error(given: Image, result: Image, degrade: Degradation, mask: Mask) -> float:
    """Return how far the result, degraded again, is from the input: RMS in per cent of the input's range, in the mask.

    For degradations that draw nothing, as a coarser grid. ``mask`` (I, J, K) is on the input's grid. Raises ImageError
    where the degraded result is in another unit or on another grid than the input, and Undefined for an empty mask and
    an input of one value.
    """
    again = degrade(result)
    if again.unit != given.unit or not given.grid.matches(again.grid):
        raise ImageError(f"the result, degraded again, has {again.grid.shape} voxels in {again.unit}: not the input's")
    if not mask.any():
        raise Undefined("no voxel in the mask")
    span = float(np.ptp(given.voxels[0][mask]))
    if span == 0:
        raise Undefined("the input has one value in the mask")
    return 100 * float(np.sqrt(np.square(_difference(given, again)[mask], dtype=np.float64).mean())) / span


def _removed(tissue: str, fine: tuple[Array, Array], coarse: tuple[Array, Array]) -> Removed:
    """Return a tissue's numbers from its values of what was taken away and of noise, both whole and coarse."""
    deviation, noise = (float(values.std(dtype=np.float64)) for values in fine)
    if noise == 0:
        raise Undefined("the degradation adds no noise: consistency_error is for such a one")
    scale = noise / deviation if deviation else 1.0
    size = [float(values.std(dtype=np.float64)) for values in coarse]
    largest = [float(np.abs(values - values.mean(dtype=np.float64)).max()) for values in coarse]
    return Removed(
        tissue,
        len(fine[0]),
        deviation,
        noise,
        size[0] / size[1] * scale,
        largest[0] / largest[1] * scale,
        float(fine[0].mean(dtype=np.float64) - fine[1].mean(dtype=np.float64)),
    )


def _difference(one: Image, other: Image) -> NDArray[np.float32]:
    return np.asarray(one.voxels[0].astype(np.float32) - other.voxels[0].astype(np.float32))


def _coarse(values: Array, place: Image) -> Array:
    """Return values (I, J, K) of an image's grid under the Gaussian in axial slices, with nothing beyond the volume."""
    import SimpleITK as sitk

    across = Orientation.nearest(place.affine).axes[:2]
    reach = [int(4 * _COARSE_MM / step) if axis in across else 0 for axis, step in enumerate(place.grid.spacing_mm)]
    smooth = sitk.ConstantPad(to_sitk(values.astype(np.float32), place.affine), reach, reach)
    for axis in across:
        smooth = sitk.RecursiveGaussian(smooth, sigma=_COARSE_MM, direction=axis)
    return from_sitk(sitk.Crop(smooth, reach, reach))
