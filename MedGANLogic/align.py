"""Pairs of two examinations: move the target to where a first model sees it.

A limb is never laid down twice in the same way. A model trained on such pairs as they are predicts, from the input
alone, what the target would look like without that motion (blurred, but where the input has it); registering the
true target to this prediction compares like with like, which MR against CT does not.
"""

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.bundle import Bundle
from MedGANLogic.cohort import Case, Row, as_it_lies, prepare
from MedGANLogic.images import Grid, Image
from MedGANLogic.inference.cases import predict_case
from MedGANLogic.registration import registered
from MedGANLogic.study import Study


def aligned(row: Row, study: Study, bundle: Bundle) -> Case:
    """Prepare a subject with its target moved smoothly onto the bundle's prediction from its input.

    For a study with one target. Subjects of the part ``test`` are prepared as they are: their truth must not depend
    on a model.
    """
    if row.part == "test":
        return prepare(row, study)
    believed = predict_case(bundle.card.passes, bundle.networks, study, prepare(row, study))

    def place(role: str, image: Image, grid: Grid) -> tuple[Image, NDArray[np.bool_]]:
        if role in study.targets:
            return registered(image, believed, grid, study.targets[role])
        return as_it_lies(image, grid, study.inputs[role])

    return prepare(row, study, place)
