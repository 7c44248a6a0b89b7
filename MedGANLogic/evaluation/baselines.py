"""What a network must beat: predictors that need no network."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.cohort import Case
from MedGANLogic.domain import CT, Array, Domain
from MedGANLogic.errors import MedGANError
from MedGANLogic.evaluation.metrics import SOFT_TISSUE, agreement, fine_detail
from MedGANLogic.images import Image, Orientation, without_surroundings
from MedGANLogic.study import Study

#: One number for many: their median, or their mean.
Middle = Callable[[Array], Any]

#: Steps of the look-up over the network's range [-1, 1] of the input.
_STEPS = 64


@dataclass(frozen=True)
class LookUp:
    """The target's median (or mean) for each level of the input in its window; one level is the constant predictor.

    Fitted on the body of training cases. It predicts on the image's own grid, background outside of the body.
    """

    source: Domain
    target: Domain
    values: NDArray[np.float32]

    @staticmethod
    def fit(study: Study, cases: Iterable[Case], steps: int = _STEPS, middle: Middle = np.median) -> "LookUp":
        """Fit the predictor for a study's first input and target. A level that no case has takes its neighbour's.

        The median has the lowest mean absolute error that a constant can have; the mean has no bias.
        """
        (role, source), (wanted, target) = next(iter(study.inputs.items())), next(iter(study.targets.items()))
        levels, truths = [], []
        for case in cases:
            inside = case.valid & case.body
            scaled = case.scale(role, source).to_network(case.in_unit(role, case.volumes[role][inside]))
            levels.append(_level(scaled, steps))
            truths.append(case.in_unit(wanted, case.volumes[wanted][inside]))
        level, truth = np.concatenate(levels), np.concatenate(truths)
        found = [step for step in range(steps) if (level == step).any()]
        middles = [float(middle(truth[level == step])) for step in found]
        return LookUp(source, target, np.interp(np.arange(steps), found, middles).astype(np.float32))

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


#: Thresholds that are tried on training cases, in SUV [assumed].
_TRIED_SUV = tuple(float(suv) for suv in np.arange(0.5, 10.25, 0.25))


@dataclass(frozen=True)
class Threshold:
    """A segmentation without a network: what of a PET is above a threshold, wherever it is.

    ``of`` returns the threshold of an image from all its voxels, in SUV. ``label`` is the value that is written.
    """

    of: Callable[[Array], float]
    label: int

    @staticmethod
    def fit(role: str, study: Study, cases: Iterable[Case]) -> "Threshold":
        """Choose the threshold, one for all images, with the highest mean Dice over training cases."""
        (wanted,), (label,) = study.targets, study.labels.labels
        found = np.zeros(len(_TRIED_SUV))
        for case in cases:
            pet = case.in_unit(role, case.volumes[role][case.valid])
            truth = case.volumes[wanted][case.valid] == label.value
            found += [agreement(truth, pet > suv) for suv in _TRIED_SUV]
        return Threshold.fixed(_TRIED_SUV[int(found.argmax())], label.value)

    @staticmethod
    def fixed(suv: float, label: int) -> "Threshold":
        """Return the threshold that is the same for every image."""
        return Threshold(lambda _: suv, label)

    @staticmethod
    def share_of_highest(share: float, label: int) -> "Threshold":
        """Return the threshold at a share of an image's highest voxel."""
        return Threshold(lambda pet: share * float(pet.max()), label)

    def predict(self, pet: Image) -> Image:
        """Return the label map of a PET, on its grid."""
        marked = self.label * (pet.voxels > self.of(pet.voxels))
        return replace(pet, voxels=marked.astype(np.int16), unit="label", facts={})


#: One slice (H, W) in HU, how much noise it has in HU, and how strongly to smooth for that noise; the smoothed slice.
Smoothing = Callable[[NDArray[np.float64], float, float], NDArray[np.float64]]

#: Slices of each training case on which a smoothing is tuned, spread over it [assumed].
_TUNED_ON = 2
#: Factors that are tried on the noise, half an octave apart [assumed].
_FACTORS = tuple(float(factor) for factor in 2.0 ** np.arange(-2, 2.25, 0.5))


@dataclass(frozen=True)
class Smoother:
    """A denoiser without a network: a smoothing of every axial slice, as strong as the image's own noise asks for.

    The noise is measured in the image's soft tissue; ``factor`` is how much smoothing goes with it.
    """

    smoothing: Smoothing
    factor: float

    @staticmethod
    def fit(smoothing: Smoothing, study: Study, cases: Iterable[Case]) -> "Smoother":
        """Choose the factor with the lowest mean squared error in the body over training cases, each case the same."""
        role, wanted = next(iter(study.inputs)), next(iter(study.targets))
        errors = np.zeros(len(_FACTORS))
        for case in cases:
            given, truth = (case.in_unit(name, case.volumes[name]).astype(np.float64) for name in (role, wanted))
            noise = _noise(given)
            inside = case.valid & case.body
            for k in np.linspace(0, given.shape[2] - 1, _TUNED_ON + 2).astype(int)[1:-1]:
                mask = inside[..., k]
                if mask.any():
                    smoothed = (smoothing(given[..., k], noise, factor) for factor in _FACTORS)
                    errors += [float(((one - truth[..., k])[mask] ** 2).mean()) for one in smoothed]
        return Smoother(smoothing, _FACTORS[int(errors.argmin())])

    def predict(self, image: Image) -> Image:
        """Return the image, each of its axial slices smoothed; as it is where it has no noise."""
        orientation = Orientation.nearest(image.affine)
        upright = image.with_orientation(orientation)
        voxels = upright.voxels[0].astype(np.float64)
        if not (noise := _noise(voxels)):
            return image
        slices = [self.smoothing(voxels[..., k], noise, self.factor) for k in range(voxels.shape[2])]
        answer = replace(upright, voxels=np.stack(slices, axis=-1)[None].astype(np.float32))
        return answer.without_orientation(orientation, image.grid)


def total_variation(slice_: NDArray[np.float64], noise: float, factor: float) -> NDArray[np.float64]:
    """Smooth a slice by total variation (Chambolle 2004, doi:10.1023/B:JMIV.0000011325.36760.1e), by scikit-image."""
    smoothed: NDArray[np.float64] = _restoration().denoise_tv_chambolle(slice_, weight=factor * noise)
    return smoothed


def non_local_means(slice_: NDArray[np.float64], noise: float, factor: float) -> NDArray[np.float64]:
    """Smooth a slice by non-local means (Buades 2005, doi:10.1109/CVPR.2005.38), by scikit-image: 5² in 13²."""
    strength = factor * noise
    smoothed: NDArray[np.float64] = _restoration().denoise_nl_means(
        slice_, patch_size=5, patch_distance=6, h=strength, fast_mode=True
    )
    return smoothed


def _restoration() -> Any:
    try:
        from skimage import restoration
    except ImportError as error:
        raise MedGANError("the baselines of denoising need scikit-image: pip install 'medgan[baselines]'") from error
    return restoration


def _noise(voxels: Array) -> float:
    """Return the noise of a CT (I, J, K) in its soft tissue in HU; anywhere in its body where it has none."""
    inside = CT.window.body(voxels)
    found = SOFT_TISSUE.within(voxels, inside)
    return fine_detail(voxels, found if found.any() else inside)
