"""Measure a model on subjects that it never saw, beside baselines, and write its card.

The images are read and translated as a user's would be, on their own grid. Nothing of a test subject has been seen:
training, choice of the best step, baselines and contrast limits come from other subjects.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from MedGANLogic.bundle import Bundle, save
from MedGANLogic.catalogue import RESEARCH_USE
from MedGANLogic.cohort import Row, as_it_lies, prepare, read_table
from MedGANLogic.errors import MedGANError
from MedGANLogic.evaluation import Report, axial_cuts, translation_panels, write_sheet
from MedGANLogic.evaluation.metrics import Mask
from MedGANLogic.evaluation.protocols import NOTHING_DRAWN, Drawn, Inputs, Predictor, Protocol, protocol_of
from MedGANLogic.evaluation.readme import THIS, Table, readme
from MedGANLogic.images import Grid, Image, read
from MedGANLogic.inference.predict import Progress
from MedGANLogic.inference.translate import strength_of, translate
from MedGANLogic.registration import registered
from MedGANLogic.study import Study

_REFERENCE = "reference"

_AS_GIVEN = "Reference as given"
_REGISTERED = (
    "Reference moved smoothly (demons, 3 mm) onto the prediction of {name} (sha256 {sha256}), which never saw these "
    "subjects: what is left when posture is taken out. It favours predictions that resemble that model's"
)


@dataclass(frozen=True)
class Folds:
    """Networks trained alike, each without some subjects: a subject is measured by the one that never saw it.

    At the card's own strength, and at further ``strengths`` beside it.
    """

    bundles: Sequence[Bundle]
    strengths: Sequence[float] = ()

    @property
    def subjects(self) -> tuple[str, ...]:
        """Whom some network was trained without, in order."""
        return tuple(sorted({subject for bundle in self.bundles for subject in tested_by(bundle)}))

    def predictors(self, name: str, subject: str) -> dict[str, Predictor]:
        """Return what the network that never saw a subject predicts, by name and strength.

        Raises MedGANError where there is no such network, and ImageError for a strength that has no sense for it.
        """
        bundle = self._without(subject)
        shares = {f"{name}, strength {share:g}": strength_of(bundle.card, share) for share in self.strengths}
        if not shares:
            return {name: lambda given: translate(bundle, given).image}
        answers = _Strengths(bundle)
        return {
            named: partial(answers, share) for named, share in {name: strength_of(bundle.card, None), **shares}.items()
        }

    def _without(self, subject: str) -> Bundle:
        for bundle in self.bundles:
            if subject in tested_by(bundle):
                return bundle
        names = ", ".join(bundle.card.name for bundle in self.bundles)
        raise MedGANError(f"{names}: not trained without {subject}, so {subject} cannot be measured")


class _Strengths:
    """A network's answers to one case at several strengths, for which it works once."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.given: Inputs | None = None

    def __call__(self, share: float, given: Inputs) -> Image:
        first = next(iter(given.values()))
        if self.given is not given:
            self.given, self.whole = given, translate(self.bundle, given, strength=1.0).image
        if not self.whole.grid.matches(first.grid):
            return translate(self.bundle, given, strength=share).image
        before = first.voxels.astype(np.float32)
        return replace(self.whole, voxels=before + np.float32(share) * (self.whole.voxels - before))


def tested_by(bundle: Bundle) -> Sequence[str]:
    """Return the subjects that a bundle was trained without."""
    tested: Sequence[str] = bundle.card.training["test_subjects"]
    return tested


@dataclass
class _Found:
    """What was found so far, by predictor and case."""

    given: dict[str, dict[str, Report]] = field(default_factory=dict)
    moved: dict[str, dict[str, Report]] = field(default_factory=dict)
    details: dict[str, list[float]] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, tuple[Image, Image, Image]] = field(default_factory=dict)


def said_anew(bundle: Bundle, about: Mapping[str, Any]) -> Bundle:
    """Return a bundle with other words about it, such as what its adversary buys, known since it was measured."""
    training = bundle.card.training
    study = {**training["study"], "about": dict(about)}
    card = replace(bundle.card, training={**training, "study": study})
    return replace(bundle, model=replace(bundle.model, card=card))


def measure(
    bundle: Bundle,
    folds: Folds,
    others: Mapping[str, Folds],
    table: Path,
    aligner: Bundle | None,
    command: str,
    progress: Progress,
    drawn: Drawn = NOTHING_DRAWN,
) -> str:
    """Measure a model and others beside it; write the card into the bundle's folder and return its text.

    ``folds`` are the networks whose numbers the card gets: the bundle itself, or its like trained without some
    subjects each. ``aligner`` makes the second table: the reference registered to its prediction. ``drawn`` names
    further columns of the table. Raises MedGANError for what has no reference, such as images made of chance, for a
    test case that lacks a file (a map of lesions only where all lack it), and where no network was trained without a
    subject.
    """
    study = Study.from_json(bundle.card.training["study"])
    kind = protocol_of(study)
    if kind is None:
        raise MedGANError(f"{bundle.card.name} ({study.task}): no reference says what is right, so nothing is measured")
    protocol = kind(study, drawn)
    rows = read_table(table, (*study.measured_columns, *drawn.columns))
    if missing := set(folds.subjects) - {row.subject for row in rows}:
        raise MedGANError(f"{table} lacks {', '.join(sorted(missing))}, whom {bundle.card.name} was trained without")
    if not folds.subjects:
        raise MedGANError(f"{bundle.card.name} was trained on all subjects: give --folds, trained without some each")
    named = {THIS: folds, **others}
    # What cannot be predicted is refused here, before any image is read.
    predictors_of = {
        subject: {
            name: predict for group, one in named.items() for name, predict in one.predictors(group, subject).items()
        }
        for subject in folds.subjects
    }
    names, tested = _names(rows), [row for row in rows if row.subject in folds.subjects]
    for row in tested:
        if lacks := [role for role in (*study.measured_columns, *drawn.observers) if role not in row.files]:
            raise MedGANError(f"{table}: {names[id(row)]} has no {' and no '.join(lacks)}, and cannot be measured")
    if drawn.lesions and not any(drawn.lesions in row.files for row in tested):
        raise MedGANError(f"{table}: no test case has a {drawn.lesions}, so no lesion can be measured")
    found, baselines = _Found(), _Baselines(protocol, rows)
    for done, row in enumerate(tested, start=1):
        fold = next(tuple(tested_by(one)) for one in folds.bundles if row.subject in tested_by(one))
        predictors = {**predictors_of[row.subject], **baselines.without(fold)}
        for way, alone in protocol.by_one_way.items():
            name = f"{names[id(row)]}, {way}" if way else names[id(row)]
            _measure_row(alone, row, name, predictors, aligner, found)
        progress(done, len(tested))
    tables = [Table("as given", _AS_GIVEN, found.given)]
    if aligner is not None:
        said = _REGISTERED.format(name=aligner.card.training["system"], sha256=aligner.model.sha256[:12])
        tables.append(Table("posture taken out", said, found.moved))
    return _written(bundle, folds, protocol, tables, found, command)


class _Baselines:
    """Baselines fitted without the subjects of a fold, on all others that lack nothing."""

    def __init__(self, protocol: Protocol, rows: Sequence[Row]) -> None:
        self.protocol = protocol
        needed = protocol.study.measured_columns
        whole = [
            replace(row, files={role: row.files[role] for role in needed})
            for row in rows
            if row.files.keys() >= {*needed}
        ]
        self.whole = protocol.fitted_on(whole)
        self.known: dict[tuple[str, ...], dict[str, Predictor]] = {}

    def without(self, subjects: tuple[str, ...]) -> dict[str, Predictor]:
        if subjects not in self.known:
            cases = [prepare(row, self.protocol.study) for row in self.whole if row.subject not in subjects]
            self.known = {subjects: self.protocol.baselines(cases)}
        return self.known[subjects]


def _names(rows: Sequence[Row]) -> dict[int, str]:
    """Name every row: by its subject, and by its first file where the subject has others."""
    subjects = [row.subject for row in rows]
    return {
        id(row): row.subject
        if subjects.count(row.subject) == 1
        else f"{row.subject} {next(iter(row.files.values())).name.removesuffix('.nii.gz')}"
        for row in rows
    }


def _measure_row(
    protocol: Protocol,
    row: Row,
    name: str,
    predictors: Mapping[str, Predictor],
    aligner: Bundle | None,
    found: _Found,
) -> None:
    study = protocol.study
    given = protocol.given(row)
    wanted, target = next(iter(study.targets.items()))
    first, reference = next(iter(given.values())), read(row.files[wanted], target.unit)
    predicted = {}
    for kind, predict in predictors.items():
        predicted[kind] = predict(given)
        if kind == THIS:
            predicted |= {f"{THIS}, {said}": image for said, image in protocol.further(given, predicted[THIS]).items()}
    grid = protocol.grid(first)
    predicted |= {column: _labels(row.files[column], grid) for column in protocol.drawn.observers}
    truth, seen = as_it_lies(reference, grid, target)
    mask = protocol.counted(given, truth, seen)
    marked = row.files.get(protocol.drawn.lesions or "")
    lesions = _labels(marked, grid) if marked else None
    found.pictures[name] = first.on_grid(grid, outside=0, nearest=True), predicted[THIS], truth
    for kind, image in predicted.items():
        report = protocol.compare(truth, image, mask, lesions)
        rows = (*report.rows, *protocol.of_input(given, image))
        found.given.setdefault(kind, {})[name] = replace(report, rows=rows)
    for kind, image in {_REFERENCE: truth, **predicted}.items():
        detail = protocol.detail(truth, image, mask)
        if detail is not None:
            found.details.setdefault(kind, []).append(detail)
    if remark := protocol.remark(given, truth, predicted[THIS], mask):
        found.remarks[name] = remark
    if aligner is not None:
        truth, mask = _registered(protocol, given, reference, aligner)
        for kind, image in predicted.items():
            found.moved.setdefault(kind, {})[name] = protocol.compare(truth, image, mask)


def _labels(file: Path, grid: Grid) -> Image:
    """Read a label map and bring it onto a grid."""
    return read(file, "label").on_grid(grid, outside=0, nearest=True)


def _registered(protocol: Protocol, given: Inputs, reference: Image, aligner: Bundle) -> tuple[Image, Mask]:
    """Return the reference registered to the aligner's prediction, and where it may be compared."""
    first = next(iter(given.values()))
    truth, seen = registered(reference, translate(aligner, given).image, first.grid, protocol.target)
    return truth, protocol.counted(given, truth, seen)


def _written(
    bundle: Bundle, folds: Folds, protocol: Protocol, tables: Sequence[Table], found: _Found, command: str
) -> str:
    main = tables[0].reports[THIS]
    worst = max(main, key=lambda case: protocol.worse(main[case]))
    measured = {
        "summary": "; ".join(table.in_short(protocol) for table in tables)
        + f"; {len(folds.subjects)} subjects never seen",
        "protocol": protocol.words,
        "command": command,
        "subjects": list(folds.subjects),
        "worst_case": worst,
        "weights_sha256": bundle.weights_sha256,
        "folds": [{"weights_sha256": one.weights_sha256, "tested": list(tested_by(one))} for one in folds.bundles],
        "fine_detail_hu": {name: round(float(np.mean(values)), 2) for name, values in found.details.items()},
        "remarks": found.remarks,
        "tables": [_as_data(table, protocol) for table in tables],
    }
    alike = [
        f"`{one.weights_sha256[:12]}` on {', '.join(tested_by(one))}" for one in folds.bundles if one is not bundle
    ]
    text = readme(bundle, protocol, tables, found.details, found.remarks, alike, worst, command)
    card = replace(bundle.card, measured=measured)
    save(card, bundle.networks, text, bundle.model.folder, {"docs/worst.png": _sheet(worst, *found.pictures[worst])})
    return text


def _as_data(table: Table, protocol: Protocol) -> dict[str, Any]:
    return {
        "reference": table.reference,
        "models": {name: summary.to_json() for name, summary in table.summaries.items()},
        "by_case": {
            name: {
                case: {f"{metric}, {region}": report.value(metric, region) for metric, region in protocol.listed}
                for case, report in reports.items()
            }
            for name, reports in table.reports.items()
        },
    }


def _sheet(case: str, source: Image, predicted: Image, truth: Image) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sheet.png")
        panels = translation_panels(source, predicted, truth)
        write_sheet(path, f"Worst case: {case}", panels, axial_cuts(source.grid, 3), RESEARCH_USE)
        return path.read_bytes()
