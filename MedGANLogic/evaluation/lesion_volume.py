"""Whether lesions keep their volume: by one threshold for each, which the reference alone decides on. No torch.

A result that blurs or sharpens moves the place at which a lesion's edge is seen. The volume that a lesion has is that
within which it is nearer to its own middle value than to its surroundings', the half-maximum rule, and the same
threshold is applied to every image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.domain import Array
from MedGANLogic.evaluation.metrics import Mask, Undefined

#: [assumed] How far around a lesion its own edge is looked for, and its surroundings lie.
_EDGE_MM, _SURROUNDINGS_MM = 2.0, 4.0
#: [assumed] A lesion that differs from its surroundings by less than this many of their SDs is not told by a threshold.
_LEAST_CONTRAST = 2.0
#: [assumed] Smaller ones are one voxel's chance.
_FEWEST = 10


@dataclass(frozen=True)
class _Lesion:
    """One lesion's neighbourhood in a volume, the value of its edge in the reference, and whether it is bright."""

    place: tuple[slice, ...]
    near: Mask
    threshold: float
    bright: bool

    def voxels(self, image: Array) -> int:
        values = image[self.place][self.near]
        return int(np.count_nonzero(values > self.threshold if self.bright else values < self.threshold))


@dataclass(frozen=True)
class Volumes:
    """Lesions' volumes in voxels, one by one, in the reference and in a prediction."""

    reference: NDArray[np.int64]
    prediction: NDArray[np.int64]

    @property
    def error(self) -> float:
        """By how many per cent all of them together are too large."""
        return 100 * float(self.prediction.sum() / self.reference.sum() - 1)

    @property
    def mismatch(self) -> float:
        """How many per cent of their volume are wrong, too large and too small not cancelling."""
        return 100 * float(np.abs(self.prediction - self.reference).sum() / self.reference.sum())


def lesion_volumes(
    reference: Array, prediction: Array, lesions: Mask, spacing_mm: tuple[float, float, float]
) -> Volumes:
    """Return the volumes of what a mask (I, J, K) marks, lesion by lesion, those that a threshold tells.

    Its threshold lies halfway between the reference's medians in the lesion and 2 to 4 mm around it; voxels count
    within 2 mm of it. Raises Undefined where no lesion of 10 voxels stands out by two SDs of its surroundings.
    """
    found = _told(reference, lesions, spacing_mm)
    if not found:
        raise Undefined(f"no lesion of {_FEWEST} voxels stands out by {_LEAST_CONTRAST:g} SDs of its surroundings")
    volumes = [np.array([lesion.voxels(image) for lesion in found]) for image in (reference, prediction)]
    return Volumes(volumes[0], volumes[1])


def _told(reference: Array, lesions: Mask, spacing_mm: tuple[float, float, float]) -> list[_Lesion]:
    import SimpleITK as sitk

    touching = sitk.ConnectedComponentImageFilter()
    touching.SetFullyConnected(True)
    parts = sitk.GetArrayFromImage(touching.Execute(sitk.GetImageFromArray(lesions.astype(np.uint8))))
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(sitk.GetImageFromArray(parts))
    margin = [int(np.ceil(_SURROUNDINGS_MM / step)) + 1 for step in spacing_mm]
    found = []
    for label in shape.GetLabels():
        if shape.GetNumberOfPixels(label) < _FEWEST:
            continue
        box = shape.GetBoundingBox(label)[::-1]  # sizes, then starts, of axes I, J, K
        place = tuple(
            slice(max(0, start - more), start + size + more)
            for size, start, more in zip(box[:3], box[3:], margin, strict=True)
        )
        own, others = parts[place] == label, parts[place] > 0
        distance = _distance_mm(own, spacing_mm)
        around = (distance > _EDGE_MM) & (distance <= _SURROUNDINGS_MM) & ~others
        if not around.any():
            continue
        values = reference[place].astype(np.float64)
        inside, outside = np.median(values[own]), np.median(values[around])
        if abs(inside - outside) < _LEAST_CONTRAST * values[around].std():
            continue
        # What another lesion is nearer to is that one's.
        near = (distance <= _EDGE_MM) & (own | ~others)
        lesion = _Lesion(place, near, float(inside + outside) / 2, bool(inside > outside))
        if lesion.voxels(reference):
            found.append(lesion)
    return found


def _distance_mm(mask: Mask, spacing_mm: tuple[float, float, float]) -> Array:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(step) for step in spacing_mm[::-1]])
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return np.asarray(np.maximum(sitk.GetArrayFromImage(distance), 0))
