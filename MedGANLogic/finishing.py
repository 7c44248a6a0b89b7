"""What is done to a label map after a network has written it: declared by a study, kept in a model's card. No torch.

It works on the grid that the user gets, where a part is a part and a hole a hole, and says what it changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.domain import Array, Labels
from MedGANLogic.images import from_sitk, to_sitk
from MedGANLogic.plain import Plain

Mask = NDArray[np.bool_]


class Finish(Plain):
    """One step on a label map."""

    #: What happens to the voxels that it changes.
    changes: ClassVar[str]

    def finished(self, values: Array, labels: Labels) -> tuple[Array, dict[str, int]]:
        """Return a label map's values (I, J, K) after the step, and how many voxels of each label it changed."""
        raise NotImplementedError


@dataclass(frozen=True)
class LargestComponent(Finish):
    """Of every label its largest connected part stays, all else of it becomes background.

    Voxels are connected where they share a corner. Of parts as large as one another the first stays.
    """

    changes: ClassVar[str] = "removed"

    def finished(self, values: Array, labels: Labels) -> tuple[Array, dict[str, int]]:
        kept, changed = values.copy(), {}
        for label in labels.labels:
            mask = values == label.value
            small = mask & ~_by_itk(mask, _largest)
            kept[small], changed[label.name] = 0, int(small.sum())
        return kept, changed


@dataclass(frozen=True)
class HolesFilled(Finish):
    """Background that one label encloses becomes that label; what lies in it of other labels stays.

    Enclosed is what no path of voxels that share a face leads out of; in a single slice, within the slice.
    """

    changes: ClassVar[str] = "filled"

    def finished(self, values: Array, labels: Labels) -> tuple[Array, dict[str, int]]:
        filled, changed = values.copy(), {}
        for label in labels.labels:
            holes = _by_itk(values == label.value, _filled) & (filled == 0)
            filled[holes], changed[label.name] = label.value, int(holes.sum())
        return filled, changed


def finish(values: Array, labels: Labels, steps: Sequence[Finish]) -> tuple[Array, list[dict[str, Any]]]:
    """Take all steps on a label map's values (I, J, K), one after another; return it and what each of them changed."""
    said = []
    for step in steps:
        values, changed = step.finished(values, labels)
        said.append({**step.to_json(), step.changes: changed})
    return values, said


def _by_itk(mask: Mask, work: Callable[[Any], Any]) -> Mask:
    """Let ITK work on a mask; where that is one slice thick, on the slice, so that its edge is no way out."""
    if 1 not in mask.shape:
        return np.asarray(from_sitk(work(to_sitk(mask.astype(np.uint8), np.eye(4)))) > 0)
    import SimpleITK as sitk

    through = mask.shape.index(1)
    worked = work(sitk.GetImageFromArray(np.asarray(mask.take(0, axis=through)).astype(np.uint8)))
    return np.expand_dims(sitk.GetArrayFromImage(worked) > 0, through)


def _largest(image: Any) -> Any:
    import SimpleITK as sitk

    parts = sitk.RelabelComponent(sitk.ConnectedComponent(image, True), sortByObjectSize=True)
    return parts == 1


def _filled(image: Any) -> Any:
    import SimpleITK as sitk

    return sitk.BinaryFillhole(image, False)
