"""How models of one kind of task are compared: where voxels count, what stands beside them, which numbers are shown."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from MedGANLogic.cohort import Case, Row
from MedGANLogic.domain import Domain, Labels
from MedGANLogic.errors import MedGANError
from MedGANLogic.evaluation.baselines import LookUp, Smoother, Threshold, non_local_means, total_variation
from MedGANLogic.evaluation.consistency import coarse_part, consistency
from MedGANLogic.evaluation.interpolation import spline, zero_filled
from MedGANLogic.evaluation.metrics import SOFT_TISSUE, Mask, Undefined, fine_detail
from MedGANLogic.evaluation.report import (
    EDGES,
    FLAT,
    INPUT,
    LABELS,
    LESIONS,
    LESIONS_IN_WORDS,
    METRICS,
    WHOLE,
    Report,
    compare,
    consistency_row,
    detail_row,
    lesion_volume_rows,
)
from MedGANLogic.evaluation.report import Row as ReportRow
from MedGANLogic.images import Grid, Image, Orientation, read, without_surroundings
from MedGANLogic.study import Study

#: Images by role.
Inputs = Mapping[str, Image]
Predictor = Callable[[Inputs], Image]
#: A metric and the region that it is of, as reports name them.
Number = tuple[str, str]


@dataclass(frozen=True)
class Drawn:
    """What people drew, as measuring alone reads it: the columns of a table that hold label maps.

    ``lesions`` are marked for measuring uptake, or volumes on a finer grid, in those cases that have any; ``observers``
    drew the target once more.
    """

    lesions: str | None = None
    observers: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return (*((self.lesions,) if self.lesions else ()), *self.observers)


NOTHING_DRAWN = Drawn()


@dataclass(frozen=True)
class Protocol(ABC):
    """How the models of a study are compared, on the input's grid (or the card's finer one), as a user translates.

    Raises MedGANError for lesions where what is made is no uptake, and for observers where it is no label map.
    """

    study: Study
    drawn: Drawn = NOTHING_DRAWN

    def __post_init__(self) -> None:
        if self.drawn.lesions and not self.measures_lesions:
            raise MedGANError(f"lesions are measured in SUV: {self.study.task} is in {self.target.unit!r}")
        if self.drawn.observers and self.target.unit != "label":
            raise MedGANError(f"observers draw labels: {self.study.task} is in {self.target.unit!r}")

    @property
    def measures_lesions(self) -> bool:
        """Whether anything is measured of what is drawn of lesions."""
        return self.target.unit == "SUV"

    @property
    def by_one_way(self) -> "dict[str, Protocol]":
        """This protocol, by nothing; where inputs are made in several ways, it by each, by that way's name."""
        studies = self.study.by_one_way
        if len(studies) == 1:
            return {"": self}
        return {
            ", ".join(str(way) for made in one.made.values() for way in made.degraded): replace(self, study=one)
            for one in studies
        }

    def given(self, row: Row) -> dict[str, Image]:
        """Return what a network is given of a subject, by role, as it lies in the files."""
        return {role: read(row.files[role], domain.unit) for role, domain in self.study.inputs.items()}

    def grid(self, first: Image) -> Grid:
        """Return the grid on which results are compared: the first input's."""
        return first.grid

    def fitted_on(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows that baselines are fitted on, of those that lack nothing."""
        return rows

    def of_input(self, given: Inputs, predicted: Image) -> tuple[ReportRow, ...]:  # noqa: ARG002
        """Measure a prediction against the input that it was made of."""
        return ()

    @property
    @abstractmethod
    def words(self) -> str:
        """What a reader must know to compare the numbers."""

    @property
    @abstractmethod
    def shown(self) -> tuple[Number, ...]:
        """What the tables show of a comparison."""

    @property
    @abstractmethod
    def listed(self) -> tuple[Number, ...]:
        """What is listed of every case; the first says which case is the worst."""

    @abstractmethod
    def baselines(self, trained: Sequence[Case]) -> dict[str, Predictor]:
        """Return what a network must beat, fitted on training cases, by name."""

    @abstractmethod
    def counted(self, given: Inputs, truth: Image, seen: Mask) -> Mask:
        """Return where voxels count, of those that the reference's field of view holds."""

    def compare(self, truth: Image, predicted: Image, mask: Mask, lesions: Image | None = None) -> Report:
        """Measure a prediction where voxels count, and what is drawn of lesions there."""
        return compare(truth, predicted, _as_image(mask, truth), lesions=lesions)

    def further(self, given: Inputs, predicted: Image) -> dict[str, Image]:  # noqa: ARG002
        """Return what else a user can have of a prediction, by name."""
        return {}

    def remark(self, given: Inputs, truth: Image, predicted: Image, mask: Mask) -> str:  # noqa: ARG002
        """Say of one case what no number says; nothing where there is nothing to say."""
        return ""

    def detail(self, truth: Image, image: Image, mask: Mask) -> float | None:
        """Return an image's noise and texture in HU where the truth is soft tissue; None for what has no HU."""
        if truth.unit != "HU":
            return None
        orientation = Orientation.nearest(truth.affine)
        upright = [orientation.apply(of)[0] for of in (image.voxels, truth.voxels, mask[None])]
        return fine_detail(upright[0], SOFT_TISSUE.within(upright[1], upright[2]))

    def worse(self, report: Report) -> float:
        """Return a number that grows as a case gets worse; nothing is worse where it is undefined."""
        metric, region = self.listed[0]
        value = report.value(metric, region)
        return -math.inf if value is None else METRICS[metric](value)

    @property
    def target(self) -> Domain:
        """The first target's domain."""
        return next(iter(self.study.targets.values()))


class Translation(Protocol):
    """One modality's values from another's."""

    @property
    def words(self) -> str:
        said = (
            "Whole volumes as a user translates them, on the input's grid; the reference is resampled to it (linear). "
            "A voxel counts inside the bodies that both images show (MR above 5 % of its 99th percentile, CT above "
            "-300 HU, PET above 0.1 SUV, tables removed, holes filled) and inside the reference's field of view. "
            "Mean ± SD over cases."
        )
        return " ".join((said, *LESIONS_IN_WORDS)) if self.drawn.lesions else said

    @property
    def shown(self) -> tuple[Number, ...]:
        whole = tuple((metric, WHOLE) for metric in ("MAE", "bias", "PSNR", "SSIM"))
        tissues = ("fat", "soft tissue", "bone") if self.target.unit == "HU" else ()
        return whole + tuple((metric, tissue) for tissue in tissues for metric in ("MAE", "bias")) + self._of_lesions

    @property
    def listed(self) -> tuple[Number, ...]:
        return (("MAE", WHOLE), *self._of_lesions)

    @property
    def _of_lesions(self) -> tuple[Number, ...]:
        metrics = ("SUVmean error", "SUVmax error", "SUVpeak error", "AUC") if self.drawn.lesions else ()
        return tuple((metric, LESIONS) for metric in metrics)

    def baselines(self, trained: Sequence[Case]) -> dict[str, Predictor]:
        role = next(iter(self.study.inputs))
        constant = partial(LookUp.fit, self.study, trained, steps=1)
        fitted = {"intensity look-up": LookUp.fit(self.study, trained)}
        if self.target.unit == "SUV":
            # Uptake is skewed: the median of a body is well below its mean, and the harder to beat by MAE.
            fitted |= {"mean SUV": constant(middle=np.mean), "median SUV": constant()}
        else:
            fitted |= {"constant": constant()}
        return {name: partial(_of_first, role, look_up.predict) for name, look_up in fitted.items()}

    def counted(self, given: Inputs, truth: Image, seen: Mask) -> Mask:
        role, source = next(iter(self.study.inputs.items()))
        return np.asarray(seen & _body(given[role], source) & _body(truth, self.target))


class Restoration(Protocol):
    """The first input, only better: less noise, or finer."""

    words = (
        "Whole volumes as a user translates them, on their own grid. A voxel counts in the reference's body (above "
        "-300 HU, tables removed, holes filled). Tissues are those of the reference under a Gaussian of 5 mm, so that "
        "noise does not choose them. The NPS distance is 0 for the reference's own noise and 1 for none. Smoothings "
        "are as strong, for the image's own noise, as was best on other subjects. Mean ± SD over cases."
    )

    @property
    def shown(self) -> tuple[Number, ...]:
        whole = tuple((metric, WHOLE) for metric in ("PSNR", "SSIM", "MAE"))
        if self.target.unit != "HU":
            return whole
        return (*whole, ("bias", "soft tissue"), ("bias", "lung"), ("NPS distance", FLAT), ("edge width", EDGES))

    @property
    def listed(self) -> tuple[Number, ...]:
        texture = (("NPS distance", FLAT),) if self.target.unit == "HU" else ()
        return (("PSNR", WHOLE), *texture)

    def baselines(self, trained: Sequence[Case]) -> dict[str, Predictor]:
        role = next(iter(self.study.inputs))
        found: dict[str, Predictor] = {"input": partial(_of_first, role, lambda image: image)}
        if self.target.unit != "HU":
            return found
        smoothings = {"total variation": total_variation, "non-local means": non_local_means}
        return found | {
            name: partial(_of_first, role, Smoother.fit(smoothing, self.study, trained).predict)
            for name, smoothing in smoothings.items()
        }

    def counted(self, given: Inputs, truth: Image, seen: Mask) -> Mask:  # noqa: ARG002
        return np.asarray(seen & _body(truth, self.target))

    def compare(self, truth: Image, predicted: Image, mask: Mask, lesions: Image | None = None) -> Report:
        tissues = coarse_part(truth, mask) if truth.unit == "HU" else None
        return compare(truth, predicted, _as_image(mask, truth), tissues, lesions)

    def remark(self, given: Inputs, truth: Image, predicted: Image, mask: Mask) -> str:
        """Say whether what was taken away looks like the noise that was added."""
        image = given[next(iter(self.study.inputs))]
        if truth.unit != "HU":
            return ""
        added = image.voxels - truth.voxels
        try:
            return consistency(image, predicted, lambda of: replace(of, voxels=of.voxels + added), mask).verdict
        except Undefined as undefined:
            return str(undefined)


class Magnification(Protocol):
    """A finer grid: the table's volumes are made coarser, as the study says, and compared with what is made of that."""

    @property
    def words(self) -> str:
        ways = "; ".join(str(way) for made in self.study.made.values() for way in made.degraded)
        said = [
            f"The subjects' volumes are made coarser ({ways}), translated as a user's would be, on their own grid, and "
            "compared with what they were, on theirs. A voxel counts in the reference's body (MR above 5 % of its 99th "
            "percentile, CT above -300 HU, tables removed, holes filled). HFEN is the error of fine detail, as a share "
            "of it. Consistency: the result is made coarser in the same way, and its distance from the input, in the "
            "input's body, is given as RMS in per cent of the input's range there; 1 % is a PSNR of 40 dB. Held to its "
            "scanner: as for a user who says (--like) how the input was made coarser. Mean ± SD over cases."
        ]
        if self.drawn.lesions:
            said.append(
                "Lesions' volumes: by one threshold for each, halfway between the reference's medians in it and 2 to 4 "
                "mm around it, within 2 mm of what is drawn; the error is of all together, the mismatch adds up what "
                "each is too large or too small by."
            )
        return " ".join(said)

    @property
    def measures_lesions(self) -> bool:
        return True

    @property
    def shown(self) -> tuple[Number, ...]:
        of_ct: tuple[Number, ...] = ()
        if self.target.unit == "HU":
            of_ct = (("bias", "soft tissue"), ("NPS distance", FLAT), ("edge width", EDGES))
        whole = tuple((metric, WHOLE) for metric in ("PSNR", "SSIM", "HFEN"))
        return (*whole, *of_ct, ("consistency", INPUT), *self._of_lesions)

    @property
    def listed(self) -> tuple[Number, ...]:
        return (("PSNR", WHOLE), ("consistency", INPUT), *self._of_lesions)

    @property
    def _of_lesions(self) -> tuple[Number, ...]:
        return (("volume error", LESIONS), ("volume mismatch", LESIONS)) if self.drawn.lesions else ()

    def given(self, row: Row) -> dict[str, Image]:
        return {role: self._seen(role, row) for role in self.study.inputs}

    def _seen(self, role: str, row: Row) -> Image:
        image = read(row.files[self.study.source(role)], self.study.inputs[role].unit)
        return self._again(role, image) if role in self.study.made else image

    def _again(self, role: str, image: Image) -> Image:
        """Return an image as the scanner that makes a role's gives it."""
        (way,) = self.study.made[role].degraded
        return way.of_image(image, self.study.dimensions, self.study.plane)

    def grid(self, first: Image) -> Grid:
        return first.grid.finer(Orientation.nearest(first.affine).undo_order(self.study.finer_axes))

    def fitted_on(self, rows: Sequence[Row]) -> Sequence[Row]:  # noqa: ARG002 - an interpolation is not fitted
        return ()

    def baselines(self, trained: Sequence[Case]) -> dict[str, Predictor]:  # noqa: ARG002
        role, study = next(iter(self.study.inputs)), self.study
        if max(study.factors) == 1:
            return {"input": partial(_of_first, role, lambda image: image)}
        found: dict[str, Callable[[Image], Image]] = {
            "cubic B-spline": lambda image: spline(image, self.grid(image)),
            "linear": lambda image: image.on_grid(self.grid(image), outside=self.target.background),
        }
        if self.target.unit == "none":
            found["zero-filled"] = lambda image: zero_filled(
                image, self.grid(image), study.finer, study.dimensions, study.plane
            )
        return {name: partial(_of_first, role, predict) for name, predict in found.items()}

    def counted(self, given: Inputs, truth: Image, seen: Mask) -> Mask:  # noqa: ARG002
        return np.asarray(seen & _body(truth, self.target))

    def compare(self, truth: Image, predicted: Image, mask: Mask, lesions: Image | None = None) -> Report:
        tissues = coarse_part(truth, mask) if truth.unit == "HU" else None
        report = compare(truth, predicted, _as_image(mask, truth), tissues)
        further = lesion_volume_rows(truth, predicted, lesions) if lesions else ()
        return replace(report, rows=(*report.rows, detail_row(truth, predicted, mask), *further))

    def further(self, given: Inputs, predicted: Image) -> dict[str, Image]:
        role = next(iter(self.study.made))
        (way,) = self.study.made[role].degraded
        return {"held to its scanner": way.held(predicted, given[role], self.study.dimensions, self.study.plane)}

    def of_input(self, given: Inputs, predicted: Image) -> tuple[ReportRow, ...]:
        role = next(iter(self.study.made))
        mask = _body(given[role], self.study.inputs[role])
        return (consistency_row(given[role], predicted, partial(self._again, role), mask),)


#: Thresholds for tumours in FDG: as tried on the soft-tissue sarcomas of TCIA (Lee 2017,
#: doi:10.1186/s40658-017-0189-0), and that of the guidelines of EANM (Boellaard 2015, doi:10.1007/s00259-014-2961-x).
_FIXED_SUV = 2.5
_SHARE_OF_HIGHEST = 0.41


class Segmentation(Protocol):
    """Labels."""

    @property
    def words(self) -> str:
        said = [
            "Whole volumes as a user segments them, on the input's grid; the reference is brought there by nearest "
            "neighbour, and every voxel inside its field of view counts. HD95 in mm, of photographs in pixels. "
            "Mean ± SD over cases."
        ]
        if self._uptake:
            said.append(
                "SUV thresholds mark all that is above them in the image, wherever it is; the fitted one had the "
                "highest mean Dice on other subjects, and SUVmax is the whole image's."
            )
        if self.drawn.observers:
            said.append(f"Drawn by people as the reference was: {', '.join(self.drawn.observers)}.")
        return " ".join(said)

    @property
    def shown(self) -> tuple[Number, ...]:
        return tuple((metric, region) for region in self._regions for metric in ("Dice", "HD95"))

    @property
    def listed(self) -> tuple[Number, ...]:
        return tuple(("Dice", region) for region in self._regions)

    def baselines(self, trained: Sequence[Case]) -> dict[str, Predictor]:
        if not self._uptake:
            return {}
        (label,) = self.study.labels.labels
        share = Threshold.share_of_highest(_SHARE_OF_HIGHEST, label.value)
        thresholds = {
            "SUV threshold, fitted": Threshold.fit(self._uptake, self.study, trained),
            f"SUV above {_FIXED_SUV:g}": Threshold.fixed(_FIXED_SUV, label.value),
            f"above {100 * _SHARE_OF_HIGHEST:g} % of SUVmax": share,
        }
        return {name: partial(_of_placed, self._uptake, threshold.predict) for name, threshold in thresholds.items()}

    def counted(self, given: Inputs, truth: Image, seen: Mask) -> Mask:  # noqa: ARG002
        return seen

    @property
    def _uptake(self) -> str:
        """The input in SUV that a threshold could mark the only label in; empty where there is none."""
        if len(self.study.labels.labels) > 1:
            return ""
        return next((role for role, domain in self.study.inputs.items() if domain.unit == "SUV"), "")

    @property
    def _regions(self) -> list[str]:
        labels = [f"label {label.value}" for label in self.study.labels.labels]
        return labels if len(labels) == 1 else [LABELS, *labels]


def protocol_of(study: Study) -> type[Protocol] | None:
    """Return how models of a study are compared; None where nothing says what is right, as for images of chance."""
    if study.inputs and any(made.degraded for made in study.made.values()):
        return Magnification
    if not study.inputs or study.made:
        return None
    if isinstance(next(iter(study.targets.values())).window, Labels):
        return Segmentation
    return Restoration if study.improved else Translation


def _of_first(role: str, predict: Callable[[Image], Image], given: Inputs) -> Image:
    return predict(given[role])


def _of_placed(role: str, predict: Callable[[Image], Image], given: Inputs) -> Image:
    """Return what is predicted of an input on the first one's grid."""
    image, grid = given[role], next(iter(given.values())).grid
    return predict(image.on_grid(grid, outside=0.0))


def _body(image: Image, domain: Domain) -> Mask:
    orientation = Orientation.nearest(image.affine)
    _, body = without_surroundings(image.with_orientation(orientation), domain)
    return np.asarray(orientation.undo(body[None])[0], bool)


def _as_image(mask: Mask, place: Image) -> Image:
    return Image(mask[None].astype(np.uint8), place.affine, "label")
