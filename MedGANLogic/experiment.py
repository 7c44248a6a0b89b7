"""A whole experiment: cohort, recipe, run, bundle. What ``medgan train`` does, in one folder that can be resumed.

run.json          recipe, study, pace, SHA-256 of the cohort and of the model begun from: what a resumed run must have;
                  there once a first step has been taken
cohort.zip        the packed cohort, where a table was given
checkpoint.pt     the last healthy state
best.pt           the networks with the lowest error on the validation subjects, and this error and its step
log.jsonl         the flight recorder's records, validation errors, alarms
samples/          at every validation, what the networks made: .npy, (H, W) in [0, 1], of colours (H, W, 3); 'medgan
                  curves' shows them
tensorboard/      the same, with sample images, where TensorBoard is installed
bundle/           the model
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from MedGANLogic import __version__, processes
from MedGANLogic.bundle import Bundle, describe, rounded, save
from MedGANLogic.catalogue import Card, Model, sha256
from MedGANLogic.check import QUANTILES, contrast
from MedGANLogic.cohort import PARTS, Case, fold, packed_study, unpack
from MedGANLogic.domain import Labels
from MedGANLogic.feeds import Pool
from MedGANLogic.images import Grid
from MedGANLogic.parts.features.frozen import FrozenFeatures
from MedGANLogic.recipe import ExponentialAverage, Networks, Recipe, build, rehearse
from MedGANLogic.recipes import load
from MedGANLogic.recorder import OnAlarm, Record
from MedGANLogic.study import Study
from MedGANLogic.training import (
    Pace,
    Progress,
    Run,
    State,
    TrainingError,
    Validate,
    evaluating,
    fit,
    load_best,
    resume,
    start,
)
from MedGANLogic.validation import Score, measure_of, refuse_incomparable, validate

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
    """What is trained, on what, where, and what is done about an alarm. ``command`` is kept for the card.

    ``tested`` are the subjects of a fold: all others train, and no one is kept for validation. None stands for the
    parts that the cohort says.
    """

    recipe: str
    study: Study
    cohort: Path
    folder: Path
    device: torch.device
    command: str
    on_alarm: OnAlarm = OnAlarm.STOP
    workers: int = 0
    tested: Sequence[str] | None = None


def refuse_early(recipe: str, study: Study, folder: Path, resumed: bool) -> None:
    """Raise what can be known before a cohort is packed, having written nothing.

    TrainingError for a folder that holds a run already, or none to resume; MedGANError for a recipe that there is not;
    StudyError for a study that it does not take, and BundleError for networks that no bundle may hold.
    """
    rehearse(load(recipe), study)
    with torch.device("meta"):
        made = build(load(recipe), study)
    describe(made.networks, made.passes)
    _refuse_folder(folder, resumed)


def _refuse_folder(folder: Path, resumed: bool) -> None:
    if resumed:
        _run_in(folder)
    elif (folder / RUN).exists():
        raise TrainingError(f"{folder} holds a run already: --resume it, or give another --out")


def train(
    experiment: Experiment, pace: Pace | float | None, start_from: Bundle | None, resumed: bool
) -> Iterator[Progress]:
    """Train to the end and leave a bundle, yielding after every step.

    ``pace`` in minutes is turned into steps first; None stands for the recipe's own steps, or for those that a resumed
    run began with. Whatever can be refused is refused before anything is written: TrainingError as by ``refuse_early``,
    for another run than the one to resume, and for a cohort that was packed for another study; CohortError, StudyError
    and ProcessesError as the parts do. UnhealthyError ends a run that an alarm stops. Where the cohort keeps no subject
    for validation, the last networks are the model; else the best of the last phase.
    """
    folder, study = experiment.folder, experiment.study
    _refuse_folder(folder, resumed)
    _refuse_other_study(experiment)
    cases = unpack(experiment.cohort)
    if experiment.tested is not None:
        cases = fold(cases, experiment.tested)
    parts = {part: [case for case in cases if case.part == part] for part in PARTS}
    recipe = build(load(experiment.recipe), study)
    if start_from is not None:
        _begin_from(recipe, start_from)
    pool, monitor = Pool(study, parts["train"]), _Monitor(experiment, recipe, parts["validation"])
    if monitor.cases:
        refuse_incomparable(recipe, study, monitor.cases)
    description = _description(experiment, recipe, start_from)
    if resumed:
        pace = _pace_before(folder, description, pace)
    elif pace is None:
        pace = paced(sum(phase.steps for phase in recipe.phases))
    elif not isinstance(pace, Pace):
        pace = paced(_steps_within(60 * pace, experiment, pool, monitor))
    run = Run(recipe, pool, pace, folder, monitor.validate, experiment.on_alarm, experiment.workers)
    state = start(recipe, experiment.device)
    if resumed:
        resume(state, recipe, folder)
    processes.wait()
    first = processes.number() == 0
    records = _cleared(folder, state.step) if first else []
    for progress in fit(run, state, records):
        if first and not (folder / RUN).exists():
            told = {**description, "pace": asdict(pace), "command": experiment.command}
            _write_whole(folder / RUN, json.dumps(told, indent=1))
        if first and (progress.record or progress.alarms or progress.score is not None):
            _log(folder / LOG, _log_entry(progress, monitor))
            monitor.show(progress)
        yield progress
    if first:
        if monitor.cases:
            load_best(state, folder)
        _leave_bundle(experiment, run, state, parts, monitor.measure)


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


def _description(experiment: Experiment, recipe: Recipe, start_from: Bundle | None) -> dict[str, Any]:
    """Return what must be the same for a run to be resumed."""
    description = {
        "recipe": experiment.recipe,
        "study": experiment.study.to_json(),
        "cohort_sha256": sha256(experiment.cohort),
        "tested": experiment.tested,
        "begun_from_sha256": start_from and start_from.model.sha256,
        **_features_of(recipe),
    }
    # As it is read again: a label's colour is a tuple here and a list there.
    read: dict[str, Any] = json.loads(json.dumps(description))
    return read


def _features_of(recipe: Recipe) -> dict[str, str]:
    """Return the SHA-256 of the weights that a recipe compares images by; nothing where it has none."""
    frozen = [network for network in recipe.networks.values() if isinstance(network, FrozenFeatures)]
    return {"features_sha256": frozen[0].sha256} if frozen else {}


def _run_in(folder: Path) -> dict[str, Any]:
    """Return what a folder says of its run. Raises TrainingError where it holds none."""
    try:
        found: dict[str, Any] = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} holds no run to resume: {error}") from error
    return found


def _pace_before(folder: Path, description: Mapping[str, Any], asked: Pace | float | None) -> Pace:
    """Return the pace that a run began with. Raises TrainingError where it is another run, or asked for another."""
    found = _run_in(folder)
    if changed := [key for key, value in description.items() if found.get(key) != value]:
        raise TrainingError(f"{', '.join(changed)} changed since this run began: it cannot be resumed")
    pace = Pace(**found["pace"])
    if asked not in (None, pace):
        raise TrainingError(
            f"{folder} holds a run of {pace.steps} steps: resume it without another --steps or --minutes, or begin "
            "one in another --out, with --from this one's bundle"
        )
    return pace


def paced(steps: int) -> Pace:
    """Return the pace of so many steps: validated twenty times, saved as often or every 200 steps."""
    validate_every = max(1, steps // _VALIDATIONS)
    return Pace(steps, validate_every, save_every=min(200, validate_every))


def _steps_within(seconds: float, experiment: Experiment, pool: Pool, monitor: "_Monitor") -> int:
    """Return how many steps fit, validations included, timed on networks that are thrown away; one a phase at least.

    What a phase needs until its pace is steady is counted once.
    """
    recipe = build(load(experiment.recipe), experiment.study)
    asked = sum(phase.steps for phase in recipe.phases)
    pace, per_step = Pace(_TIMED + 1, _TIMED + 1, _TIMED + 1), 0.0
    for phase in recipe.phases:
        alone = replace(recipe, phases=(phase,))
        state, began = start(alone, experiment.device), _clock(experiment.device)
        with TemporaryDirectory() as folder:
            steps = fit(Run(alone, pool, pace, Path(folder), monitor.validate), state)
            times = [_clock(experiment.device) for _ in islice(steps, _TIMED)]
        seconds -= times[_UNTIMED - 1] - began
        per_step += phase.steps / asked * (times[-1] - times[_UNTIMED - 1]) / (_TIMED - _UNTIMED)
    began = _clock(experiment.device)
    with evaluating(state.networks):
        if monitor.validate:
            monitor.validate(state.networks)
    seconds -= _VALIDATIONS * (_clock(experiment.device) - began)
    return max(len(recipe.phases), round(seconds / per_step))


def _clock(device: torch.device) -> float:
    """Return the time at which all work that was given to a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _log_entry(progress: Progress, monitor: "_Monitor") -> dict[str, Any]:
    entry: dict[str, Any] = {"step": progress.step, "phase": progress.phase}
    if progress.record is not None:
        entry |= progress.record.to_json()
    if progress.score is not None:
        entry |= {"validation": progress.score, "measure": monitor.measure}
    if progress.alarms:
        entry["alarms"] = [{"name": alarm.name, "text": alarm.text} for alarm in progress.alarms]
    return entry if progress.rolled_back_to is None else {**entry, "rolled_back_to": progress.rolled_back_to}


def _log(path: Path, entry: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(entry) + "\n")


def _cleared(folder: Path, step: int) -> list[Record]:
    """Drop what was logged after the checkpoint, and what a killed process left half-written.

    Those steps are taken again; a line cut short is one of them. Return the records that are left. Where the run was
    rolled back, what it went back on stays in the log, but is no record of what the networks are now.
    """
    for partial in folder.glob(".*.partial-*"):
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
    path = folder / LOG
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
        self.measure = measure_of(experiment.study, cases) if cases else ""
        self.last: Score | None = None

    @cached_property
    def writer(self) -> Any:
        """The writer of TensorBoard's events; None where it is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        return SummaryWriter(self.experiment.folder / "tensorboard")

    @property
    def validate(self) -> Validate | None:
        """What scores networks; None where no subject is kept for it."""
        return self._score if self.cases else None

    def _score(self, networks: Networks) -> float:
        self.last = validate(networks, self.recipe, self.experiment.study, self.cases)
        return self.last.value

    def show(self, progress: Progress) -> None:
        if self.last and progress.score is not None:
            samples = self.experiment.folder / SAMPLES
            samples.mkdir(exist_ok=True)
            np.save(samples / f"{progress.step:07d}.npy", self.last.picture.astype(np.float16))
        if self.writer is None:
            return
        if progress.record is not None:
            for name, value in progress.record.losses.items():
                self.writer.add_scalar(name, value, progress.step)
            for name, value in progress.record.gradients.items():
                self.writer.add_scalar(f"gradient norm/{name}", value, progress.step)
            self.writer.add_scalar("time/waiting for data", progress.record.waiting, progress.step)
        if self.last and progress.score is not None:
            self.writer.add_scalar(f"validation/{self.measure}", progress.score, progress.step)
            layout = "HWC" if self.last.picture.ndim == 3 else "HW"
            self.writer.add_image("made", self.last.picture, progress.step, dataformats=layout)
        self.writer.flush()


def _leave_bundle(
    experiment: Experiment, run: Run, state: State, parts: Mapping[str, Sequence[Case]], measure: str
) -> Model:
    study, recipe = experiment.study, run.recipe
    used = {name for one in recipe.passes for name in one.networks}
    networks = {name: rounded(network.eval().cpu()) for name, network in state.networks.items() if name in used}
    subjects = {part: sorted({case.subject for case in cases}) for part, cases in parts.items()}
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
        validity=_validity(study, parts["train"]),
        training={
            "recipe": experiment.recipe,
            "system": recipe.title,
            "source": recipe.source,
            "study": study.to_json(),
            "subjects": {part: len(names) for part, names in subjects.items()},
            "test_subjects": subjects["test"],
            "cohort_sha256": sha256(experiment.cohort),
            **_features_of(recipe),
            "steps": run.pace.steps,
            "best_step": state.best_step if measure else run.pace.steps,
            "validation": {"measure": measure, "value": round(state.best_score, 4)} if measure else None,
            "command": experiment.command,
            "versions": {"medgan": __version__, "torch": torch.__version__},
        },
        departures=_departures(experiment, run.pace),
        measured={},
        licence=str(study.about.get("licence", "not stated")),
        finer=study.finer_axes,
        strength=study.strength,
        chance=recipe.chance,
        finish=study.finish,
    )
    return save(card, networks, f"# {card.title}\n\nNot measured yet: `medgan measure`.\n", experiment.folder / BUNDLE)


def _departures(experiment: Experiment, pace: Pace) -> tuple[str, ...]:
    """Return the recipe's departures from the paper, with the number of steps that were taken."""
    study = experiment.study
    with torch.device("meta"):
        return load(experiment.recipe)(replace(study, changes={**study.changes, "steps": pace.steps})).departures


def _validity(study: Study, cases: Sequence[Case]) -> dict[str, Any]:
    """Say what the training cohort's images were like, with room around it [assumed: half as much again].

    Of label maps that go in nothing is said: they are what they are.
    """
    images = [role for role, domain in study.inputs.items() if not isinstance(domain.window, Labels)]
    shown = images or list(study.targets)
    grids = [_seen(study, case, role) for case in cases for role in shown if study.source(role) in case.volumes]
    extents = np.array([grid.extent_mm for grid in grids])
    spacings = np.array([grid.spacing_mm for grid in grids])
    return {
        "anatomy": list(study.about.get("anatomy", [])),
        "spacing_mm": [[round(low / 2, 3), round(high * 1.6, 3)] for low, high in _limits(spacings)],
        "extent_mm": [[round(low / 2, 1), round(high * 1.5, 1)] for low, high in _limits(extents)],
        "contrast": {role: _contrast_limits(cases, role, study) for role in images},
    }


def _seen(study: Study, case: Case, role: str) -> Grid:
    """Return the grid that a user's image would have that is like a case's: its file's, coarser where it is made so.

    Of a cohort that does not say what its files were like, the grid that they were brought to.
    """
    grid = case.scanned.get(study.source(role), case.grid)
    coarser = study.finer_axes if role in study.made else (1, 1, 1)
    return Grid(
        tuple(max(1, length // times) for length, times in zip(grid.shape, coarser, strict=True)),  # type: ignore[arg-type]
        grid.affine @ np.diag([*coarser, 1]),
    )


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
