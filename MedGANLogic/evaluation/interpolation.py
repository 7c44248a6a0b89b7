"""What a finer image must beat: interpolation of the coarse one, over the same box. No torch."""

import numpy as np

from MedGANLogic.degradation import KSpaceCropped
from MedGANLogic.images import Grid, Image, Orientation, from_sitk, to_sitk
from MedGANLogic.passes import Factors, along_axes, slices_back, slices_first

#: Voxels by which an image is mirrored beyond its ends: a spline's coefficients have forgotten what lies farther away.
_REACH = 8


def spline(image: Image, grid: Grid) -> Image:
    """Return an image on a finer grid over the same box, by a cubic B-spline through its voxels, mirrored at its ends.

    SimpleITK's: its coefficients are such that the spline goes through every voxel (Unser 1999, doi:10.1109/79.799930).
    """
    import SimpleITK as sitk

    reach = [min(_REACH, length) for length in image.grid.shape]
    wider = image.grid.widened((reach[0], reach[1], reach[2]))
    reference = to_sitk(np.zeros(grid.shape, np.uint8), grid.affine)
    channels = []
    for channel in image.voxels:
        mirrored = np.pad(channel.astype(np.float32), [(more, more) for more in reach], mode="symmetric")
        moved = sitk.Resample(to_sitk(mirrored, wider.affine), reference, sitk.Transform(), sitk.sitkBSpline)
        channels.append(from_sitk(moved).astype(np.float32))
    return Image(np.stack(channels), grid.affine, image.unit)


def zero_filled(image: Image, grid: Grid, by: Factors, dimensions: int, plane: str) -> Image:
    """Return an image on the grid that is ``by`` times finer, with zeros for all of k-space that it lacks."""
    upright = image.with_orientation(Orientation.nearest(image.affine))
    scanner = KSpaceCropped("", along_axes(by, dimensions))
    voxels = [slices_back(scanner.undo(slices_first(one, plane), 3), plane) for one in upright.voxels]
    filled = Image(np.stack(voxels), upright.affine, image.unit)
    return filled.without_orientation(Orientation.nearest(image.affine), grid)
