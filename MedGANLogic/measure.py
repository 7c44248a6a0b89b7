"""Measure a model on its cohort's test subjects, beside baselines, and write its card.

The images are read and translated as a user's would be, on their own grid. Nothing of a test subject has been seen:
training, choice of the best step, baselines and contrast limits come from other subjects.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from MedGANLogic.bundle import Bundle, save
from MedGANLogic.catalogue import RESEARCH_USE
from MedGANLogic.cohort import Row, as_it_lies, prepare, read_table
from MedGANLogic.domain import Domain
from MedGANLogic.errors import MedGANError
from MedGANLogic.evaluation import (
    Report,
    Summary,
    axial_cuts,
    compare,
    model_table,
    summarize,
    translation_panels,
    write_sheet,
)
from MedGANLogic.evaluation.baselines import LookUp
from MedGANLogic.evaluation.metrics import TISSUES, fine_detail
from MedGANLogic.images import Image, Orientation, read, without_surroundings
from MedGANLogic.inference.predict import Progress
from MedGANLogic.inference.translate import translate
from MedGANLogic.registration import registered
from MedGANLogic.study import Study

Predictor = Callable[[Image], Image]

#: What the tables show of a comparison in HU: metric and region.
_COLUMNS = (
    ("MAE", "mask"),
    ("bias", "mask"),
    ("PSNR", "mask"),
    ("SSIM", "mask"),
    ("MAE", "fat"),
    ("bias", "fat"),
    ("MAE", "soft tissue"),
    ("bias", "soft tissue"),
    ("MAE", "bone"),
    ("bias", "bone"),
)

_THIS = "this model"
_REFERENCE = "reference"
_SOFT = next(tissue for tissue in TISSUES if tissue.name == "soft tissue")

_PROTOCOL = (
    "Whole volumes as a user translates them, on the input's grid; the reference is resampled to it (linear). "
    "A voxel counts inside the bodies that both images show (input above 5 % of its 99th percentile, CT above -300 HU, "
    "tables removed, holes filled) and inside the reference's field of view. Mean ± SD over subjects."
)
_AS_GIVEN = "Reference as given: rigidly aligned, of another examination; some millimetres of posture remain"
_REGISTERED = (
    "Reference moved smoothly (demons, 3 mm) onto the prediction of {name} (sha256 {sha256}), which never saw these "
    "subjects: what is left when posture is taken out. It favours predictions that resemble that model's"
)


@dataclass(frozen=True)
class _Table:
    """One reference's comparison: a summary for every predictor, and every subject's report."""

    short: str
    reference: str
    reports: Mapping[str, Mapping[str, Report]]

    @property
    def summaries(self) -> dict[str, Summary]:
        return {name: summarize(reports) for name, reports in self.reports.items()}


def measure(
    bundle: Bundle,
    others: Mapping[str, Bundle],
    table: Path,
    aligner: Bundle | None,
    command: str,
    progress: Progress,
) -> str:
    """Measure a bundle and others beside it; write the card into the bundle's folder and return its text.

    ``aligner`` makes the second table: the reference registered to its prediction. Raises MedGANError for a cohort
    without test subjects, or one that does not name the test subjects that the bundle was trained without.
    """
    study = Study.from_json(bundle.card.training["study"])
    rows = read_table(table, study.columns)
    tested = [row for row in rows if row.part == "test"]
    if sorted({row.subject for row in tested}) != list(bundle.card.training["test_subjects"]) or not tested:
        raise MedGANError(f"{table}'s test subjects are not those that {bundle.card.name} was trained without")
    trained = [prepare(row, study) for row in rows if row.part == "train"]
    predictors: dict[str, Predictor] = {_THIS: _translator(bundle)}
    predictors |= {name: _translator(other) for name, other in others.items()}
    predictors["intensity look-up"] = LookUp.fit(study, trained).predict
    predictors["constant"] = LookUp.fit(study, trained, steps=1).predict
    given: dict[str, dict[str, Report]] = {name: {} for name in predictors}
    moved: dict[str, dict[str, Report]] = {name: {} for name in predictors}
    details: dict[str, list[float]] = {name: [] for name in (_REFERENCE, *predictors)}
    pictures: dict[str, tuple[Image, Image, Image]] = {}
    for done, row in enumerate(tested, start=1):
        source, truth, mask = _pair(row, study)
        predicted = {name: predict(source) for name, predict in predictors.items()}
        pictures[row.subject] = source, predicted[_THIS], truth
        for name, image in predicted.items():
            given[name][row.subject] = compare(truth, image, mask)
        for name, image in {_REFERENCE: truth, **predicted}.items():
            details[name].append(_detail(image, truth, mask))
        if aligner is not None:
            truth, mask = _registered(row, study, source, aligner)
            for name, image in predicted.items():
                moved[name][row.subject] = compare(truth, image, mask)
        progress(done, len(tested))
    tables = [_Table("pairs as given", _AS_GIVEN, given)]
    if aligner is not None:
        said = _REGISTERED.format(name=aligner.card.training["system"], sha256=aligner.model.sha256[:12])
        tables.append(_Table("posture taken out", said, moved))
    return _written(bundle, tables, details, pictures, command)


def _translator(bundle: Bundle) -> Predictor:
    return lambda image: translate(bundle, image).image


def _pair(row: Row, study: Study) -> tuple[Image, Image, Image]:
    """Return input, reference on its grid, and where they may be compared."""
    (role, source), (wanted, target) = next(iter(study.inputs.items())), next(iter(study.targets.items()))
    image = read(row.files[role], source.unit)
    truth, seen = as_it_lies(read(row.files[wanted], target.unit), image.grid, target)
    return image, truth, _comparable(image, source, truth, target, seen)


def _registered(row: Row, study: Study, image: Image, aligner: Bundle) -> tuple[Image, Image]:
    """Return the reference registered to the aligner's prediction, and where it may be compared."""
    source, (wanted, target) = next(iter(study.inputs.values())), next(iter(study.targets.items()))
    believed = translate(aligner, image).image
    truth, seen = registered(read(row.files[wanted], target.unit), believed, image.grid, target)
    return truth, _comparable(image, source, truth, target, seen)


def _comparable(image: Image, source: Domain, truth: Image, target: Domain, seen: Any) -> Image:
    both = seen & _body(image, source) & _body(truth, target)
    return Image(both[None].astype(np.uint8), image.affine, "label")


def _body(image: Image, domain: Domain) -> Any:
    orientation = Orientation.nearest(image.affine)
    _, body = without_surroundings(image.with_orientation(orientation), domain)
    return orientation.undo(body[None])[0]


def _detail(image: Image, truth: Image, mask: Image) -> float:
    """Return the fine detail of an image where the truth is soft tissue, in axial slices."""
    orientation = Orientation.nearest(truth.affine)
    upright = [of.with_orientation(orientation).voxels[0] for of in (image, truth, mask)]
    return fine_detail(upright[0], _SOFT.within(upright[1], upright[2] > 0))


def _written(
    bundle: Bundle,
    tables: Sequence[_Table],
    details: Mapping[str, Sequence[float]],
    pictures: Mapping[str, tuple[Image, Image, Image]],
    command: str,
) -> str:
    main = tables[0].reports[_THIS]
    errors = {subject: report.value("MAE", "mask") or 0.0 for subject, report in main.items()}
    worst = max(errors, key=lambda subject: errors[subject])
    measured = {
        "summary": "; ".join(f"{table.short}: {_in_short(table.summaries[_THIS])}" for table in tables)
        + f"; {len(main)} subjects never seen",
        "protocol": _PROTOCOL,
        "command": command,
        "subjects": sorted(main),
        "worst_subject": worst,
        "weights_sha256": bundle.weights_sha256,
        "fine_detail_hu": {name: round(float(np.mean(values)), 2) for name, values in details.items()},
        "tables": [
            {
                "reference": table.reference,
                "models": {name: summary.to_json() for name, summary in table.summaries.items()},
                "mae_by_subject": {
                    name: {subject: report.value("MAE", "mask") for subject, report in reports.items()}
                    for name, reports in table.reports.items()
                },
            }
            for table in tables
        ],
    }
    card = replace(bundle.card, measured=measured)
    text = _readme(bundle, tables, details, worst, command)
    save(card, bundle.networks, text, bundle.model.folder, {"docs/worst.png": _sheet(worst, *pictures[worst])})
    return text


def _in_short(summary: Summary) -> str:
    return f"MAE {summary.cell('MAE', 'mask')} HU in the body, {summary.cell('MAE', 'bone')} HU in bone"


def _sheet(subject: str, source: Image, predicted: Image, truth: Image) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sheet.png")
        panels = translation_panels(source, predicted, truth)
        write_sheet(path, f"Worst test subject: {subject}", panels, axial_cuts(source.grid, 3), RESEARCH_USE)
        return path.read_bytes()


def _readme(
    bundle: Bundle, tables: Sequence[_Table], details: Mapping[str, Sequence[float]], worst: str, command: str
) -> str:
    card = bundle.card
    about = card.training["study"].get("about", {})
    training = card.training
    counts = training["subjects"]
    lines = [
        f"# {card.title}",
        "",
        f"**{RESEARCH_USE}** Every output is synthetic: it shows what such an input usually goes with, not a scan.",
        "",
        f"- Task: {card.task}; unit out: {', '.join(d.unit for d in card.targets.values())}",
        f"- System: {training['system']} ({training['source']}), recipe `{training['recipe']}`",
        f"- Valid for: {', '.join(card.validity['anatomy'])}; {about.get('sequence', 'sequence not stated')}",
        f"- Spacing (left–right, front–back, head–foot): {_ranges(card.validity['spacing_mm'])} mm",
        f"- Field of view: {_ranges(card.validity['extent_mm'])} mm",
        f"- Data: {about.get('data', 'not stated')}",
        f"- Data licence: {about.get('data_licence', 'not stated')}",
        f"- Attribution: {about.get('attribution', 'not stated')}",
        f"- Licence of the weights: {card.licence}",
        f"- Trained on {counts['train']} subjects, best of {training['steps']} steps (step {training['best_step']}) "
        f"chosen on {counts['validation']}, measured on {counts['test']} never seen; seed {training['study']['seed']}",
        f"- Weights: {sum(p.numel() for n in bundle.networks.values() for p in n.parameters()):,} parameters, float16, "
        f"sha256 `{bundle.weights_sha256}`",
        f"- Trained by `{training['command']}`, measured by `{command}`",
        "",
        "## Measured errors",
        "",
        _PROTOCOL,
        "",
    ]
    for table in tables:
        lines += [f"### {table.reference}", "", model_table(table.summaries, _COLUMNS), ""]
        subjects = sorted(next(iter(table.reports.values())))
        lines += ["MAE (HU) of every subject:", "", "| |" + "|".join(subjects) + "|", "|---|" + "---:|" * len(subjects)]
        for name, reports in table.reports.items():
            cells = [f"{reports[subject].value('MAE', 'mask'):.1f}" for subject in subjects]
            lines.append(f"|{name}|" + "|".join(cells) + "|")
        lines.append("")
    textures = ", ".join(f"{name} {np.mean(values):.1f}" for name, values in details.items())
    lines += [
        "### Fine detail",
        "",
        "Noise and texture in soft tissue (robust SD of the image minus its 3×3 mean in the slice, HU, mean over "
        f"subjects): {textures}. An L1 network smooths them away; an adversary is there to bring them back.",
        "",
        f"The worst subject is {worst}:",
        "",
        "![worst test subject](docs/worst.png)",
        "",
        "## Departures from the paper",
        "",
        *(f"- {departure}" for departure in card.departures),
        "",
    ]
    return "\n".join(lines)


def _ranges(limits: Sequence[Sequence[float]]) -> str:
    return ", ".join(f"{low:g}–{high:g}" for low, high in limits)
