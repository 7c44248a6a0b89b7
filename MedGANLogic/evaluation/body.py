"""Where the patient is in a CT."""

import numpy as np

from MedGANLogic.evaluation.metrics import Mask
from MedGANLogic.images import Image, ImageError, Orientation, solid

#: What the body is taken to exceed, in HU: skin and fat do, air and foam do not.
BODY_ABOVE_HU = -300.0


def body_mask(ct: Image) -> Mask:
    """Return the body in a CT (1, I, J, K) in HU as (I, J, K): above -300 HU, cleaned as ``images.solid`` says.

    Raises ImageError where nothing is above -300 HU, or nothing of it is thicker than a table's shell.
    """
    orientation = Orientation.nearest(ct.affine)
    upright = ct.with_orientation(orientation)
    body = solid(upright.voxels[0] > BODY_ABOVE_HU, upright.grid.spacing_mm)
    if not body.any():
        raise ImageError(f"no body found: nothing above {BODY_ABOVE_HU:g} HU is thick enough; give a mask")
    return np.ascontiguousarray(orientation.undo(body[None])[0])
