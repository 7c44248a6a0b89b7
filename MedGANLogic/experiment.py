"""A whole experiment: cohort, recipe, run, bundle. What ``medgan train`` does, in one folder that can be resumed.

run.json          recipe, study, pace, SHA-256 of the cohort and of the model begun from: what a resumed run must have
cohort.zip        the packed cohort, where a table was given
checkpoint.pt     the last healthy state
best.pt           the networks with the lowest error on the validation subjects
log.jsonl         the flight recorder's records, validation errors, alarms
samples/          at every validation, what the networks made: .npy, (H, W) in [0, 1]; 'medgan curves' shows them
tensorboard/      the same, with sample images, where TensorBoard is installed
bundle/           the model
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from MedGANLogic import __version__, processes
from MedGANLogic.bundle import Bundle, describe, rounded, save
from MedGANLogic.catalogue import Card, Model, sha256
from MedGANLogic.check import QUANTILES, contrast
from MedGANLogic.cohort import PARTS, Case, packed_study, unpack
from MedGANLogic.recipe import ExponentialAverage, Networks, Recipe, build
from MedGANLogic.recipes import load
from MedGANLogic.recorder import OnAlarm, Record
from MedGANLogic.study import Study
from MedGANLogic.training import (
    CHECKPOINT,
    Pace,
    Progress,
    State,
    TrainingError,
    evaluating,
    fit,
    load_best,
    play_steps,
    resume,
    start,
)
from MedGANLogic.validation import Score, refuse_incomparable, validate

COHORT = "cohort.zip"
RUN = "run.json"
BUNDLE = "bundle"
LOG = "log.jsonl"
SAMPLES = "samples"

#: How often a run is validated.
_VALIDATIONS = 20

#: Steps that are timed, on a copy, to turn minutes into steps; the first of them are slower and do not count.
_TIMED, _UNTIMED = 12, 4


@dataclass(frozen=True)
class Experiment:
    """What is trained, on what, where, and what is done about an alarm. ``command`` is kept for the card."""

    recipe: str
    study: Study
    cohort: Path
    folder: Path
    device: torch.device
    command: str
    on_alarm: OnAlarm = OnAlarm.STOP
    workers: int = 0


def steps_of(recipe: str, study: Study) -> int:
    """Return how many steps a recipe asks for when the user does not say."""
    return sum(phase.steps for phase in build(load(recipe), study).phases)


def train(experiment: Experiment, pace: Pace | float, start_from: Bundle | None, resumed: bool) -> Iterator[Progress]:
    """Train to the end and leave a bundle, yielding after every step. ``pace`` in minutes is turned into steps first.

    A run that was killed before its first checkpoint begins again when it is resumed. Raises TrainingError for a
    folder that holds a run already, or none to resume, or another one, and for a cohort that was packed for another
    study; CohortError, StudyError and UnhealthyError as the parts do.
    """
    folder, study = experiment.folder, experiment.study
    _refuse_other_study(experiment)
    cases = unpack(experiment.cohort)
    if not any(case.part == "validation" for case in cases):
        raise TrainingError("no subject is kept for validation: give some the part 'validation' in the table")
    recipe = build(load(experiment.recipe), study)
    if start_from is not None:
        _begin_from(recipe, start_from)
    refuse_incomparable(recipe, study, [case for case in cases if case.part == "validation"])
    first = processes.number() == 0
    if first:
        pace = _agreed(experiment, cases, pace, start_from, resumed)
    processes.wait()
    pace = Pace(**json.loads((folder / RUN).read_text(encoding="utf-8"))["pace"])
    state = start(recipe, experiment.device)
    if resumed and (folder / CHECKPOINT).exists():
        resume(state, recipe, folder)
    processes.wait()
    records = _cut_log(folder / LOG, state.step) if first else []
    monitor = _Monitor(experiment, recipe, [case for case in cases if case.part == "validation"])
    training = fit(
        state,
        recipe,
        study,
        cases,
        pace,
        folder,
        monitor.score,
        experiment.on_alarm,
        records,
        experiment.workers,
    )
    for progress in training:
        if first and (progress.record or progress.alarms or progress.score is not None):
            _log(folder / LOG, _log_entry(progress))
            monitor.show(progress)
        yield progress
    if first:
        load_best(state, folder)
        _leave_bundle(experiment, recipe, state, cases, pace, monitor)


def _begin_from(recipe: Recipe, bundle: Bundle) -> None:
    """Give a recipe's networks the weights of a bundle's, and those of averages to what they follow."""
    followed = {act.into: act.of for ph in recipe.phases for pl in ph.players for act in pl.after
                if isinstance(act, ExponentialAverage)}  # fmt: skip
    for name, network in bundle.networks.items():
        for into in filter(None, (name, followed.get(name))):
            try:
                recipe.networks[into].load_state_dict(network.state_dict())
            except (KeyError, RuntimeError) as error:
                raise TrainingError(f"{bundle.card.name} does not fit {recipe.title}: {error}") from error


def _refuse_other_study(experiment: Experiment) -> None:
    """Raise TrainingError where the volumes of a packed cohort are not what the study says that they are."""
    study, packed = experiment.study, packed_study(experiment.cohort)
    changed = [f"role {role}" for role, domain in study.domains.items() if packed.domains.get(role) != domain]
    changed += ["spacing_mm"] if packed.spacing_mm != study.spacing_mm else []
    if changed:
        raise TrainingError(f"{experiment.cohort} was packed for another study ({', '.join(changed)}): pack it again")


def _agreed(
    experiment: Experiment, cases: Sequence[Case], pace: Pace | float, start_from: Bundle | None, resumed: bool
) -> Pace:
    """Return the pace, and make the folder's ``run.json`` say, or have said, what this run is."""
    description = {
        "recipe": experiment.recipe,
        "study": experiment.study.to_json(),
        "cohort_sha256": sha256(experiment.cohort),
        "begun_from_sha256": start_from and start_from.model.sha256,
    }
    # As it is read again: a label's colour is a tuple here and a list there.
    description = json.loads(json.dumps(description))
    described = experiment.folder / RUN
    if resumed:
        try:
            found = json.loads(described.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(f"{experiment.folder} holds no run to resume: {error}") from error
        if changed := [key for key, value in description.items() if found.get(key) != value]:
            raise TrainingError(f"{', '.join(changed)} changed since this run began: it cannot be resumed")
        return Pace(**found["pace"])
    if (experiment.folder / CHECKPOINT).exists() or described.exists():
        raise TrainingError(f"{experiment.folder} holds a run already: --resume it, or give another --out")
    (experiment.folder / SAMPLES).mkdir(exist_ok=True)
    if not isinstance(pace, Pace):
        pace = paced(_steps_within(60 * pace, experiment, cases))
    _write_whole(described, json.dumps({**description, "pace": asdict(pace), "command": experiment.command}, indent=1))
    return pace


def paced(steps: int) -> Pace:
    """Return the pace of so many steps: validated twenty times, saved as often or every 200 steps."""
    validate_every = max(1, steps // _VALIDATIONS)
    return Pace(steps, validate_every, save_every=min(200, validate_every))


def _steps_within(seconds: float, experiment: Experiment, cases: Sequence[Case]) -> int:
    """Return how many steps fit, validations included, timed on networks that are thrown away; at least one."""
    recipe = build(load(experiment.recipe), experiment.study)
    state = start(recipe, experiment.device)
    times = [_clock(experiment.device) for _ in play_steps(state, recipe, experiment.study, cases, _TIMED)]
    kept_apart = [case for case in cases if case.part == "validation"]
    with evaluating(state.networks):
        validate(state.networks, recipe, experiment.study, kept_apart)
    validating = _clock(experiment.device) - times[-1]
    per_step = (times[-1] - times[_UNTIMED - 1]) / (_TIMED - _UNTIMED)
    return max(1, round((seconds - _VALIDATIONS * validating) / per_step))


def _clock(device: torch.device) -> float:
    """Return the time at which all work that was given to a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _log_entry(progress: Progress) -> dict[str, Any]:
    entry: dict[str, Any] = {"step": progress.step}
    if progress.record is not None:
        entry |= progress.record.to_json()
    if progress.score is not None:
        entry["validation"] = progress.score
    if progress.alarms:
        entry["alarms"] = [{"name": alarm.name, "text": alarm.text} for alarm in progress.alarms]
    return entry if progress.rolled_back_to is None else {**entry, "rolled_back_to": progress.rolled_back_to}


def _log(path: Path, entry: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(entry) + "\n")


def _cut_log(path: Path, step: int) -> list[Record]:
    """Drop what was logged after the checkpoint: those steps are taken again. A line cut short is one of them.

    Return the records that are left. Where the run was rolled back, what it went back on stays in the log, but is no
    record of what the networks are now.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    _write_whole(path, "".join(kept))
    records: list[Record] = []
    for entry in map(json.loads, kept):
        if "rolled_back_to" in entry:
            records = [record for record in records if record.step <= entry["rolled_back_to"]]
        elif "losses" in entry:
            records.append(Record.from_json(entry))
    return records


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


class _Monitor:
    """Scores the networks on the validation subjects, and shows losses and samples in TensorBoard, if installed."""

    def __init__(self, experiment: Experiment, recipe: Recipe, cases: Sequence[Case]) -> None:
        self.experiment, self.recipe, self.cases = experiment, recipe, cases
        self.last: Score | None = None
        self.writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self.writer = SummaryWriter(experiment.folder / "tensorboard")

    def score(self, networks: Networks) -> float:
        self.last = validate(networks, self.recipe, self.experiment.study, self.cases)
        return self.last.value

    def show(self, progress: Progress) -> None:
        if self.last is not None and progress.score is not None:
            np.save(self.experiment.folder / SAMPLES / f"{progress.step:07d}.npy", self.last.picture.astype(np.float16))
        if self.writer is None:
            return
        if progress.record is not None:
            for name, value in progress.record.losses.items():
                self.writer.add_scalar(name, value, progress.step)
            for name, value in progress.record.gradients.items():
                self.writer.add_scalar(f"gradient norm/{name}", value, progress.step)
            self.writer.add_scalar("time/waiting for data", progress.record.waiting, progress.step)
        if self.last is not None and progress.score is not None:
            self.writer.add_scalar(f"validation/{self.last.measure}", progress.score, progress.step)
            self.writer.add_image("made", self.last.picture, progress.step, dataformats="HW")
        self.writer.flush()


def _leave_bundle(
    experiment: Experiment, recipe: Recipe, state: State, cases: Sequence[Case], pace: Pace, monitor: _Monitor
) -> Model:
    study = experiment.study
    used = {name for one in recipe.passes for name in one.networks}
    networks = {name: rounded(network.eval().cpu()) for name, network in state.networks.items() if name in used}
    validated = monitor.last.measure if monitor.last else "nothing"
    subjects = {part: sorted({case.subject for case in cases if case.part == part}) for part in PARTS}
    card = Card(
        name=str(study.about.get("name", experiment.folder.name)),
        title=str(study.about.get("title", f"{study.task} by {recipe.title}")),
        task=str(study.about.get("task", study.task)),
        inputs=study.inputs,
        targets=study.targets,
        spacing_mm=study.spacing_mm,
        plane=study.plane,
        networks=describe(networks, recipe.passes),
        passes=recipe.passes,
        validity=_validity(study, [case for case in cases if case.part == "train"]),
        training={
            "recipe": experiment.recipe,
            "system": recipe.title,
            "source": recipe.source,
            "study": study.to_json(),
            "subjects": {part: len(names) for part, names in subjects.items()},
            "test_subjects": subjects["test"],
            "cohort_sha256": sha256(experiment.cohort),
            "steps": pace.steps,
            "best_step": state.best_step,
            "validation": {"measure": validated, "value": round(state.best_score, 4)},
            "command": experiment.command,
            "versions": {"medgan": __version__, "torch": torch.__version__},
        },
        departures=recipe.departures,
        measured={},
        licence=str(study.about.get("licence", "not stated")),
        finer=study.finer_axes,
        strength=study.strength,
        chance=recipe.chance,
    )
    return save(card, networks, f"# {card.title}\n\nNot measured yet: `medgan measure`.\n", experiment.folder / BUNDLE)


def _validity(study: Study, cases: Sequence[Case]) -> dict[str, Any]:
    """Say what the training cohort was like, with room around it [assumed: half as much again]."""
    extents = np.array([case.grid.extent_mm for case in cases])
    spacings = np.array([case.grid.spacing_mm for case in cases])
    return {
        "anatomy": list(study.about.get("anatomy", [])),
        "spacing_mm": [[round(low / 2, 3), round(high * 1.6, 3)] for low, high in _limits(spacings)],
        "extent_mm": [[round(low / 2, 1), round(high * 1.5, 1)] for low, high in _limits(extents)],
        "contrast": {role: _contrast_limits(cases, role, study) for role in study.inputs},
    }


def _limits(values: NDArray[Any]) -> list[tuple[float, float]]:
    return [(float(low), float(high)) for low, high in zip(values.min(axis=0), values.max(axis=0), strict=True)]


def _contrast_limits(cases: Sequence[Case], role: str, study: Study) -> list[list[float]]:
    domain, source = study.inputs[role], study.source(role)
    having = [case for case in cases if source in case.volumes]
    seen = np.array([contrast(domain, case.in_unit(source, case.volumes[source])) for case in having])
    room = [max(0.5 * (high - low), 0.05) for low, high in _limits(seen)]
    limits = zip(_limits(seen), room, strict=True)
    found = [[round(max(low - more, -1.0), 3), round(min(high + more, 1.0), 3)] for (low, high), more in limits]
    assert len(found) == len(QUANTILES)
    return found
