"""Where the patient is in a CT."""

import numpy as np

from MedGANLogic.evaluation.metrics import Mask
from MedGANLogic.images import Image, ImageError, Orientation

#: What the body is taken to exceed, in HU: skin and fat do, air and foam do not.
BODY_ABOVE_HU = -300.0

# A table's shell, a sheet or a mask is thinner than twice this, arms and legs are thicker.
_SHELL_MM = 4.0
# Two legs, or a trunk and an arm beside it, are several bodies; a tube or a pillow's seam is smaller.
_SMALLEST_SHARE = 0.05


def body_mask(ct: Image) -> Mask:
    """Return the body in a CT (1, I, J, K) in HU as (I, J, K): table left out, lungs and gas filled in.

    Voxels above -300 HU are eroded by 4 mm in the axial plane, which cuts table and sheets off; the connected
    components with at least a twentieth of the largest one's voxels are kept (legs are separate bodies), grown back
    within the threshold, and their holes filled axial slice by slice. Raises ImageError where nothing is above
    -300 HU, or nothing of it is thicker than a table's shell.
    """
    import SimpleITK as sitk

    orientation = Orientation.nearest(ct.affine)
    upright = ct.with_orientation(orientation)
    tissue = sitk.GetImageFromArray((upright.voxels[0].T > BODY_ABOVE_HU).astype(np.uint8))
    radius = [max(1, round(_SHELL_MM / spacing)) for spacing in upright.grid.spacing_mm[:2]] + [0]
    # The volume is mirrored by its own edge value: a body cut by the field of view must not be eroded from there.
    core = sitk.BinaryErode(tissue, radius, sitk.sitkBall, 0, 1, True)
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(core), sortByObjectSize=True)
    sizes = np.bincount(sitk.GetArrayViewFromImage(parts).ravel())[1:]
    if len(sizes) == 0:
        raise ImageError(f"no body found: nothing above {BODY_ABOVE_HU:g} HU is thick enough; give a mask")
    kept = int((sizes >= _SMALLEST_SHARE * sizes[0]).sum())
    core = sitk.BinaryThreshold(parts, 1, kept, 1, 0)
    grown = sitk.And(sitk.BinaryDilate(core, [r + 1 for r in radius[:2]] + [0], sitk.sitkBall), tissue)
    slices = [sitk.BinaryFillhole(grown[:, :, k]) for k in range(grown.GetSize()[2])]
    filled = sitk.GetArrayFromImage(sitk.JoinSeries(slices)).T.astype(bool)
    return np.ascontiguousarray(orientation.undo(filled[None])[0])
