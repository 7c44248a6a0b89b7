"""Small smooth motion between two images that look alike."""

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.domain import Domain
from MedGANLogic.images import Grid, Image, from_sitk, to_sitk

#: [assumed] Demons: smoothness of the motion, and steps. What is smooth over 3 mm moves a bone in its muscles; over
#: 5 mm the muscles, where nothing pulls, hold it back; under 3 mm the motion folds. Chosen on subjects that are not
#: tested, by the mutual information of MR and moved CT, which the registration never sees (rigid .50, .27; 5 mm and 60
#: steps .67, .37; 3 mm and 200 steps .71, .42).
_SMOOTH_MM = 3.0
_ITERATIONS = 100
#: [assumed] Values beyond these drive nothing: a network's blur of bone and air would be taken for motion.
_DRIVING_HU = (-200.0, 600.0)
#: [assumed] How far from outside of the grid something may move in.
_AROUND_MM = 15.0


def registered(image: Image, believed: Image, grid: Grid, domain: Domain) -> tuple[Image, NDArray[np.bool_]]:
    """Move a CT to where another shows the same, and resample it once onto a grid (linear).

    Returns the image and where the grid, so moved, lies inside of it. Fast symmetric-forces demons (Vercauteren et al.
    2009, doi:10.1016/j.neuroimage.2008.10.040; SimpleITK's). Where ``believed`` has no voxel nothing pulls.
    """
    import SimpleITK as sitk

    x, y, z = grid.spacing_mm
    wide = grid.widened((round(_AROUND_MM / x), round(_AROUND_MM / y), round(_AROUND_MM / z)))
    moving = image.on_grid(wide, outside=domain.background).voxels[0]
    known = Image(np.ones((1, *believed.grid.shape), np.float32), believed.affine, "none").on_grid(wide, outside=0.0)
    fixed = np.where(known.voxels[0] > 0.5, believed.on_grid(wide, outside=domain.background).voxels[0], moving)
    pair = [to_sitk(np.clip(volume, *_DRIVING_HU).astype(np.float32), wide.affine) for volume in (fixed, moving)]
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(_ITERATIONS)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations([_SMOOTH_MM / spacing for spacing in wide.spacing_mm])
    field = demons.Execute(*pair)
    motion = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    frame = to_sitk(np.zeros(grid.shape, np.uint8), grid.affine)

    def moved(voxels: NDArray[np.float32], outside: float) -> NDArray[np.float32]:
        source = to_sitk(voxels, image.affine)
        return np.asarray(from_sitk(sitk.Resample(source, frame, motion, sitk.sitkLinear, outside)), np.float32)

    voxels = moved(image.voxels[0].astype(np.float32), domain.background)
    seen = moved(np.ones(image.grid.shape, np.float32), 0.0) > 0.999
    return Image(voxels[None], grid.affine, image.unit, image.facts), seen
