"""What a network must beat: predictors that need no network."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.cohort import Case
from MedGANLogic.domain import Domain
from MedGANLogic.images import Image, Orientation, without_surroundings
from MedGANLogic.study import Study

#: Steps of the look-up over the network's range [-1, 1] of the input.
_STEPS = 64


@dataclass(frozen=True)
class LookUp:
    """The target's median for each level of the input in its window; one level is the constant predictor.

    Fitted on the body of training cases. It predicts on the image's own grid, background outside of the body.
    """

    source: Domain
    target: Domain
    values: NDArray[np.float32]

    @staticmethod
    def fit(study: Study, cases: Iterable[Case], steps: int = _STEPS) -> "LookUp":
        """Fit the predictor for a study's first input and target. A level that no case has takes its neighbour's."""
        (role, source), (wanted, target) = next(iter(study.inputs.items())), next(iter(study.targets.items()))
        levels, truths = [], []
        for case in cases:
            inside = case.valid & case.body
            scaled = case.scale(role, source).to_network(case.in_unit(role, case.volumes[role][inside]))
            levels.append(_level(scaled, steps))
            truths.append(case.in_unit(wanted, case.volumes[wanted][inside]))
        level, truth = np.concatenate(levels), np.concatenate(truths)
        found = [step for step in range(steps) if (level == step).any()]
        medians = [float(np.median(truth[level == step])) for step in found]
        return LookUp(source, target, np.interp(np.arange(steps), found, medians).astype(np.float32))

    def predict(self, image: Image) -> Image:
        """Return the prediction for an image, on its grid, in the target's unit."""
        orientation = Orientation.nearest(image.affine)
        upright, body = without_surroundings(image.with_orientation(orientation), self.source)
        scaled = self.source.window.scale(upright.voxels).to_network(upright.voxels)
        predicted = np.where(body, self.values[_level(scaled, len(self.values))], np.float32(self.target.background))
        answer = replace(upright, voxels=predicted, unit=self.target.unit, facts={})
        return answer.without_orientation(orientation, image.grid)


def _level(scaled: NDArray[np.float32], steps: int) -> NDArray[np.int64]:
    return np.clip((scaled + 1) / 2 * steps, 0, steps - 1).astype(np.int64)
