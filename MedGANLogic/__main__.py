"""The command line: ``medgan VERB``, or ``python -m MedGANLogic VERB``.

Exit codes: 0 done, 2 the user's fault (said in one sentence), 1 ours or the machine's, 130 cancelled. Torch is only
imported by the verbs that need it, so that ``--help`` and ``models`` answer at once.
"""

import argparse
import contextlib
import io
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from MedGANLogic import __version__, catalogue
from MedGANLogic.catalogue import RESEARCH_USE, Model
from MedGANLogic.degradation import LIKE, Degraded, way_like
from MedGANLogic.domain import in_unit
from MedGANLogic.errors import MedGANError

#: What an option says of a name.
Said = TypeVar("Said")


class Reporter:
    """Tells how far a piece of work is: a bar with time left on a terminal, and lines of JSON in an events file."""

    def __init__(self, what: str, options: argparse.Namespace) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=what, total=None, disable=None, unit="", leave=False, dynamic_ncols=True, delay=0.5)
        self._options = options
        self._began = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        left = (time.monotonic() - self._began) / max(done, 1) * (total - done)
        _event(self._options, event="progress", done=done, total=total, seconds_left=round(left, 1))

    def say(self, text: str) -> None:
        """Show a few words behind the bar."""
        self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A Western Windows pipe has no arrow; a question mark is better than no answer.
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except MedGANError as error:
        return _failed(options, str(error), 2)
    except BrokenPipeError:
        # Whoever read has gone (``| head``): nobody is left to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _failed(options, str(error), 1)
    except KeyboardInterrupt:
        return _failed(options, "cancelled; nothing half-written is left", 130)
    return code


def _failed(options: argparse.Namespace, text: str, code: int) -> int:
    # A full disk may be what failed: the one that hears of it may be on another.
    with contextlib.suppress(OSError):
        _event(options, event="error", text=text, code=code)
    with contextlib.suppress(OSError):
        print(f"medgan: {text}", file=sys.stderr)
    return code


def _event(options: argparse.Namespace, **event: Any) -> None:
    """Append one event to the events file, if the user gave one."""
    if getattr(options, "events", None):
        with Path(options.events).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")


def _models(options: argparse.Namespace) -> int:
    models = catalogue.models()
    if options.json:
        print(json.dumps([{**model.card.to_json(), "sha256": model.sha256} for model in models], indent=2))
        return 0
    for model in models:
        print(_model_text(model))
    if not models:
        print("No models. Train one with 'medgan train', or name folders of bundles in MEDGAN_BUNDLES.")
    print(f"\n{RESEARCH_USE}")
    return 0


def _model_text(model: Model) -> str:
    from MedGANLogic.presenters.models import facts

    lines = [f"{model.card.name}   {model.card.title}"]
    return "\n".join([*lines, *(f"  {heading.lower():<11}{text}" for heading, text in facts(model))])


def _recipes(options: argparse.Namespace) -> int:
    from MedGANLogic import recipes

    if options.json:
        print(json.dumps([recipes.described(name) for name in options.names or recipes.names()], indent=2))
        return 0
    for entry in [] if options.names else recipes.titles():
        print(f"{entry['name']:<18} {entry['title']}  [{entry['source']}]\n{'':<18} {entry['about']}")
    for name in options.names:
        print(_recipe_text(recipes.described(name)))
    if options.names:
        print("\n" + "\n".join(f"{mark:<24}{meaning}" for mark, meaning in recipes.MARKS.items()))
    else:
        print("\n'medgan recipes NAME' says what a system needs, its settings, and where it departs from its paper.")
    return 0


def _recipe_text(entry: dict[str, Any]) -> str:
    def roles(side: str) -> str:
        return ", ".join(f"{role} ({modality})" for role, modality in entry["example"][side].items())

    values = ", ".join(f"{setting} {value:g}" for setting, value in entry["settings"]["values"].items())
    lines = [
        ("source", entry["source"]),
        ("task", f"{entry['task']}, for example {roles('inputs') or 'nothing'} to {roles('targets')}"),
        ("needs", ", ".join(entry["needs"])),
        ("settings", values),
        ("", entry["settings"]["marks"]),
        *(("" if number else "departures", f"- {said}") for number, said in enumerate(entry["departures"])),
    ]
    return "\n".join([f"{entry['name']}   {entry['title']}", *(f"  {heading:<12}{text}" for heading, text in lines)])


def _devices(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from MedGANLogic.inference.devices import devices, why_no_gpu

    found, reason = devices(), why_no_gpu()
    said = {"devices": [asdict(device) for device in found], "why_no_gpu": reason}
    _event(options, event="result", **said)
    if options.json:
        print(json.dumps(said, indent=2))
        return 0
    for device in found:
        print(f"{device.name:<8} {device.text}")
    if reason:
        print(f"no GPU: {reason}")
    return 0


def _preflight(options: argparse.Namespace) -> int:
    from MedGANLogic.check import Level
    from MedGANLogic.preflight import Machine, preflight

    findings = preflight(Machine.this())
    if options.json:
        print(json.dumps([finding.to_json() for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{finding.level.name.lower()}: {finding.text}")
    return 1 if any(finding.level is Level.ERROR for finding in findings) else 0


def _check(options: argparse.Namespace) -> int:
    from MedGANLogic.check import Level, absent, check, gathered
    from MedGANLogic.images import read, read_as_said

    card = catalogue.find(options.model).card
    first = next(iter(card.inputs), "")
    files = {first: options.input, **_each_once(options.further)}
    if unknown := files.keys() - card.inputs.keys():
        found = ", ".join(sorted(unknown)) or options.input
        raise MedGANError(f"{card.name} reads {', '.join(card.inputs) or 'no image'}: found {found}")
    said = options.input_unit
    images = {
        role: read_as_said(file, said) if said and role == first else read(file, card.inputs[role].unit)
        for role, file in files.items()
    }
    found = {role: check(card, role, image) for role, image in images.items()}
    findings = gathered(found | absent(card, files))
    if options.json:
        print(json.dumps([finding.to_json() for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{finding.level.name.lower()}: {finding.text}")
        print("nothing speaks against it" if not findings else "", end="\n" if not findings else "")
    return 2 if any(finding.level is Level.ERROR for finding in findings) else 0


def _verify(options: argparse.Namespace) -> int:
    from MedGANLogic.bundle import verify

    model = verify(Path(options.bundle))
    known = catalogue.SHIPPED.get(model.card.name) == model.sha256
    origin = "the model that was shipped" if known else "whole; not one of the models shipped"
    print(f"{model.card.name}: {origin}, sha256 {model.sha256}")
    return 0


def _translate(options: argparse.Namespace) -> int:
    from MedGANLogic.bundle import open_bundle

    source, output = Path(options.input), Path(options.output)
    bundle = open_bundle(catalogue.find(options.model))
    files = _images_in(source) if source.is_dir() and not options.dicom else []
    if not files:
        provenance = _translate_one(options, bundle, source, output)
        if options.json:
            print(json.dumps(provenance, indent=2))
        return 0
    output.mkdir(parents=True, exist_ok=True)
    done, failed = [], 0
    for number, (file, name) in enumerate(_outputs_of(files).items(), start=1):
        print(f"[{number}/{len(files)}] {file.name}", file=sys.stderr)
        try:
            done.append(_translate_one(options, bundle, file, output / name))
        except MedGANError as error:
            failed += 1
            _failed(options, f"{file.name}: {error}", 2)
    if options.json:
        print(json.dumps(done, indent=2))
    if failed:
        raise MedGANError(f"{failed} of {len(files)} files could not be translated; the others are in {output}")
    return 0


def _images_in(folder: Path) -> list[Path]:
    """Return a folder's images by name; none where it is a DICOM series. Hidden files are left alone."""
    from MedGANLogic.images import LOSSY, PICTURES, SUFFIXES

    names = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [path for path in names if path.name.lower().endswith((*SUFFIXES, *PICTURES, *LOSSY))]


def _outputs_of(files: Sequence[Path]) -> dict[Path, str]:
    """Return what each file's result is called: as the file, but for what is not written. Raises for two alike."""
    from MedGANLogic.images import LOSSY

    names = {file: f"{file.stem}.png" if file.suffix.lower() in LOSSY else file.name for file in files}
    if twice := [name for name in names.values() if list(names.values()).count(name) > 1]:
        raise MedGANError(f"two files would lead to {twice[0]}: give one of them another name")
    return names


def _translate_one(options: argparse.Namespace, bundle: Any, source: Path, output: Path) -> dict[str, Any]:
    """Translate one file, unless the same was asked before and is there: so that a folder's run can be taken up."""
    from MedGANLogic.inference.translate import Request, finished, translate_file, translate_series

    request = Request(
        str(source),
        _each_once(options.further),
        options.mask,
        options.input_unit,
        options.strength,
        options.force,
        options.probabilities,
        _held_to(options, bundle.card),
    )
    before = finished(output, request.fingerprint(bundle))
    if before is not None:
        print(f"{output}: done before", file=sys.stderr)
        _event(options, event="result", output=str(output), provenance=before)
        return before
    reporter = Reporter(source.name, options)
    run = translate_series if options.dicom else translate_file
    try:
        provenance = run(bundle, request, str(output), options.device, reporter)
    finally:
        reporter.close()
    for finding in provenance["findings"]:
        print(f"{finding['level']}: {finding['text']}", file=sys.stderr)
    _told(options, output, provenance)
    return provenance


def _held_to(options: argparse.Namespace, card: catalogue.Card) -> Degraded | None:
    """Return the scanner that a model's result is held to, by ``--like`` and ``--thickness``; None for none."""
    if options.like and max(card.finer) == 1:
        raise MedGANError(f"{card.name} makes no finer image: there is nothing that --like could hold to a scanner")
    return _way_by(options, card.finer) if options.like else None


def _dicom(options: argparse.Namespace) -> int:
    from MedGANLogic import dicom
    from MedGANLogic.images import read

    model, output = catalogue.find(options.model), Path(options.output)
    source = dicom.open_series(options.source)
    dicom.refuse_place(output, source)
    targets = model.card.targets
    role = options.target or next(iter(targets))
    if role not in targets:
        raise MedGANError(f"{model.card.name} makes no {role}: there is {', '.join(targets)}")
    dicom.write(read(options.input, targets[role].unit), targets[role], model, source, output)
    _event(options, event="result", output=str(output))
    return 0


def _sample(options: argparse.Namespace) -> int:
    from MedGANLogic.bundle import open_bundle
    from MedGANLogic.inference.translate import sample_file

    reporter = Reporter("drawing", options)
    try:
        provenance = sample_file(
            open_bundle(catalogue.find(options.model)),
            options.output,
            options.seed,
            options.n,
            _each_once(options.choices),
            options.device,
            reporter,
        )
    finally:
        reporter.close()
    _told(options, Path(options.output), provenance)
    if options.json:
        print(json.dumps(provenance, indent=2))
    return 0


def _told(options: argparse.Namespace, output: Path, provenance: dict[str, Any]) -> None:
    """Tell a person, and a program that listens, what was written."""
    _event(options, event="result", output=str(output), provenance=provenance)
    for written in [] if options.json else [provenance, *provenance.get("further", ())]:
        shape = "×".join(map(str, written["shape"]))
        unit = in_unit(written["unit"])
        print(f"{written['output']}: {shape} voxels{unit}, {written['seconds']:.1f} s. {RESEARCH_USE}")


def _cohort_pack(options: argparse.Namespace) -> int:
    from MedGANLogic.align import aligned
    from MedGANLogic.bundle import open_bundle
    from MedGANLogic.cohort import PARTS, prepare

    study = _study(options)
    made = partial(aligned, bundle=open_bundle(catalogue.find(options.align))) if options.align else prepare
    rows = _packed(options, study, Path(options.out), made)
    parts = {part: len({row.subject for row in rows if row.part == part}) for part in PARTS}
    size, count = Path(options.out).stat().st_size / 2**20, len({row.subject for row in rows})
    print(f"{options.out}: {count} subjects ({', '.join(f'{n} {p}' for p, n in parts.items())}), {size:.1f} MiB")
    return 0


def _packed(options: argparse.Namespace, study: Any, out: Path, made: Any) -> Any:
    """Pack the table of ``--cohort`` for a study, showing how far it is; return the table's rows."""
    from MedGANLogic.cohort import pack, read_table, said_of

    said = [offer.name for offer in study.condition.offers]
    rows = read_table(Path(options.cohort), study.columns, said)
    for row in rows:
        said_of(row, study)
    reporter = Reporter("packing", options)
    try:
        for done, case in enumerate(pack(rows, study, out, made), start=1):
            reporter(done, len(rows))
            reporter.say(case.subject)
    finally:
        reporter.close()
    return rows


def _study(options: argparse.Namespace) -> Any:
    """Return the study of ``--study``, or the plainest one that the table's header allows."""
    from dataclasses import replace

    from MedGANLogic.cohort import roles_of
    from MedGANLogic.study import Study

    if options.study:
        study = Study.from_file(Path(options.study))
    else:
        *inputs, target = roles_of(Path(options.cohort))
        study = Study.from_json({"inputs": inputs, "targets": [target]})
    return study if options.seed is None else replace(study, seed=options.seed)


def _train(options: argparse.Namespace) -> int:
    from MedGANLogic import experiment, processes
    from MedGANLogic.bundle import open_bundle
    from MedGANLogic.cohort import prepare
    from MedGANLogic.inference.devices import choose_device
    from MedGANLogic.recorder import OnAlarm

    folder, cohort = Path(options.out), Path(options.cohort)
    if not cohort.is_file():
        raise MedGANError(f"{cohort} does not exist: give a table (.csv) or a packed cohort")
    if "WORLD_SIZE" in os.environ and (cohort.suffix == ".csv" or options.minutes):
        raise MedGANError("several processes train from one packed cohort ('medgan cohort pack'), and not by --minutes")
    begin = open_bundle(catalogue.find(options.begin)) if options.begin else None
    recipe = options.recipe or (str(begin.card.training.get("recipe")) if begin else "")
    if not recipe:
        raise MedGANError("say what to train: --recipe NAME, or --from BUNDLE to go on from a model")
    study = _study_to_train(options, begin)
    experiment.refuse_early(recipe, study, folder, options.resume)
    folder.mkdir(parents=True, exist_ok=True)
    packed = cohort
    if cohort.suffix == ".csv":
        packed = folder / experiment.COHORT
        if not (options.resume and packed.exists()):
            _packed(options, study, packed, prepare)
    device, on_alarm = processes.own(choose_device(options.device)), OnAlarm(options.on_alarm.replace("-", " "))
    what = experiment.Experiment(
        recipe, study, packed, folder, device, _command(), on_alarm, options.workers, options.test
    )
    pace = experiment.paced(options.steps) if options.steps else options.minutes
    reporter = Reporter("training", options)
    with processes.joined(device):
        first = processes.number() == 0
        for progress in experiment.train(what, pace, begin, options.resume):
            if first:
                _tell_training(options, reporter, progress)
    reporter.close()
    if first:
        _event(options, event="result", output=str(folder / experiment.BUNDLE))
        print(f"{folder / experiment.BUNDLE}: a bundle; measure it on the test subjects with 'medgan measure'")
    return 0


def _study_to_train(options: argparse.Namespace, begin: Any) -> Any:
    """Return the study of ``--study``, else that of the bundle begun from, else that of the cohort."""
    from dataclasses import replace

    from MedGANLogic.cohort import packed_study
    from MedGANLogic.study import Study

    cohort = Path(options.cohort)
    if begin is not None and not options.study:
        study = Study.from_json(begin.card.training["study"])
    elif options.study or cohort.suffix == ".csv":
        study = _study(options)
    else:
        study = packed_study(cohort)
    return study if options.seed is None else replace(study, seed=options.seed)


def _tell_training(options: argparse.Namespace, reporter: Reporter, progress: Any) -> None:
    """Show how far a run is, its alarms, and how good it is; a line for each where nobody watches a bar."""
    reporter(progress.step, progress.steps)
    for alarm in progress.alarms:
        print(f"{alarm.name}: {alarm.text}", file=sys.stderr, flush=True)
        _event(options, event="alarm", step=progress.step, name=alarm.name, text=alarm.text)
    said = f"waiting for data {progress.waiting:.1%}"
    if progress.score is not None:
        _event(options, event="validation", step=progress.step, score=progress.score)
        said = f"validation {progress.score:.4g}, {said}"
        reporter.say(said)
    if not sys.stderr.isatty() and progress.step % max(1, progress.steps // 20) == 0:
        left = (progress.steps - progress.step) * progress.seconds_per_step / 60
        print(f"step {progress.step}/{progress.steps}: {said}, {left:.0f} min left", flush=True)


def _command() -> str:
    """Return what the user typed: a card says how its model came to be."""
    return "medgan " + shlex.join(sys.argv[1:])


def _curves(options: argparse.Namespace) -> int:
    from MedGANLogic import experiment
    from MedGANLogic.evaluation.curves import read_curves, write_curves

    run = Path(options.folder)
    output = Path(options.out or run / "curves.png")
    curves = read_curves(run / experiment.LOG, run / experiment.SAMPLES)
    try:
        write_curves(output, run.resolve().name, curves)
    except ImportError as error:
        return _failed(options, str(error), 1)
    print(output)
    return 0


def _measure(options: argparse.Namespace) -> int:
    from MedGANLogic.bundle import Bundle, open_bundle
    from MedGANLogic.evaluation.protocols import Drawn
    from MedGANLogic.measure import Folds, measure, said_anew
    from MedGANLogic.study import Study

    reporter = Reporter("measuring", options)

    def opened(path: str) -> Bundle:
        return open_bundle(catalogue.read(Path(path)))

    compared = _each_once((name, paths) for name, *paths in options.compare)
    others = {name: Folds([opened(path) for path in paths]) for name, paths in compared.items()}
    bundle = opened(options.bundle)
    if options.about:
        bundle = said_anew(bundle, Study.from_file(Path(options.about)).about)
    folds = Folds([opened(path) for path in options.folds] or [bundle], options.strengths)
    aligner = opened(options.align) if options.align else None
    drawn = Drawn(options.lesions, tuple(options.observers))
    text = measure(bundle, folds, others, Path(options.cohort), aligner, _command(), reporter, drawn)
    reporter.close()
    print(text)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from MedGANLogic.evaluation import compare
    from MedGANLogic.images import read

    mask, lesions = (read(file, "label") if file else None for file in (options.mask, options.lesions))
    reference, prediction = (read(file, options.unit) for file in (options.reference, options.prediction))
    report = compare(reference, prediction, mask, lesions=lesions)
    if options.input:
        report = _with_input(options, report, prediction)
    print(json.dumps(report.to_json(), indent=2) if options.json else report.to_text())
    return 0


def _with_input(options: argparse.Namespace, report: Any, prediction: Any) -> Any:
    """Return a report with how well a prediction agrees with the coarser image that it was made of."""
    from dataclasses import replace

    from MedGANLogic.evaluation.report import consistency_row
    from MedGANLogic.images import read

    if not options.by:
        raise MedGANError("--input needs --by: how many times coarser it is than the prediction")
    way = _way(options)
    row = consistency_row(read(options.input, options.unit), prediction, lambda image: way.of_image(image, 3, "axial"))
    return replace(report, rows=(*report.rows, row))


def _phantom(options: argparse.Namespace) -> int:
    from MedGANLogic.images import write
    from MedGANLogic.phantom import head, inserts, thigh

    if options.anatomy == "inserts":
        if options.ct or options.pet:
            raise MedGANError("the inserts are for CT, which is OUTPUT: leave --ct and --pet out")
        measured = inserts(options.seed)
        write(measured.ct, options.output)
        print(json.dumps(measured.to_json(), indent=2))
    else:
        made = {"thigh": thigh, "head": head}[options.anatomy](options.seed)
        for image, file in ((made.mr, options.output), (made.ct, options.ct), (made.pet, options.pet)):
            if file:
                write(image, file)
    _event(options, event="result", output=str(options.output))
    return 0


def _simulate_low_dose(options: argparse.Namespace) -> int:
    from MedGANLogic.parts.operators.low_dose import Scanner
    from MedGANLogic.parts.operators.projection import KERNELS, Beam, FanBeam, Parallel
    from MedGANLogic.simulation import kernel_of, low_dose, simulated_file

    beams: dict[str, type[Beam]] = {"fan": FanBeam, "parallel": Parallel}
    reporter = Reporter("simulating", options)

    def simulate(image: Any) -> Any:
        kernel = kernel_of(image) if options.kernel == "scan" else KERNELS[options.kernel]
        scanner = Scanner(beams[options.geometry], kernel, options.electronic, options.bow_tie, options.modulation)
        return low_dose(image, options.dose, options.seed, scanner, options.photons, reporter)

    try:
        provenance = simulated_file(options.input, options.output, options.input_unit or "HU", simulate)
    finally:
        reporter.close()
    if noise := provenance["scan_noise_hu"]:
        patches, photons = provenance["patches"], provenance["photons"]
        told = f"{noise:.1f} HU of noise in {patches} patches of soft tissue: {photons:,.0f} photons a ray"
        print(told, file=sys.stderr)
    _told(options, Path(options.output), provenance)
    if options.json:
        print(json.dumps(provenance, indent=2))
    return 0


def _way(options: argparse.Namespace) -> Degraded:
    """Return what makes an image coarser, by ``--by``, ``--like`` and ``--thickness``."""
    if len(options.by) not in (1, 3):
        raise MedGANError(f"--by has {len(options.by)} numbers: give one, or left-right, front-back and head-foot")
    return _way_by(options, options.by * (3 // len(options.by)))


def _way_by(options: argparse.Namespace, by: Sequence[int]) -> Degraded:
    x, y, z = by
    try:
        return way_like(options.like, (x, y, z), options.thickness)
    except ValueError as error:
        raise MedGANError(f"--like {options.like}: {error}") from error


def _simulate_coarser(options: argparse.Namespace) -> int:
    from MedGANLogic.simulation import coarser, simulated_file

    way = _way(options)
    provenance = simulated_file(
        options.input, options.output, options.input_unit or "none", lambda image: coarser(image, way)
    )
    _told(options, Path(options.output), provenance)
    if options.json:
        print(json.dumps(provenance, indent=2))
    return 0


def _counted(lowest: int, highest: float = math.inf) -> Callable[[str], int]:
    """Return a reader of whole numbers from the lowest on, up to the highest."""

    def read(text: str) -> int:
        if not text.isdecimal() or not lowest <= int(text) <= highest:
            end = "on" if highest == math.inf else f"to {highest}"
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {lowest} {end}")
        return int(text)

    return read


def _minutes(text: str) -> float:
    try:
        if 0 < float(text) < math.inf:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")


def _each_once(pairs: Iterable[tuple[str, Said]]) -> dict[str, Said]:
    """Return what an option that may be repeated says of each name. Raises MedGANError for a name said twice."""
    said: dict[str, Said] = {}
    for name, value in pairs:
        if name in said:
            raise MedGANError(f"{name} is said twice, {said[name]} and {value}: say it once")
        said[name] = value
    return said


def _dose(text: str) -> float | tuple[float, float]:
    """Read a share of the dose, or two with a dash between."""
    low, dash, high = text.partition("-")
    try:
        return (float(low), float(high)) if dash else float(low)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no share like 0.25, nor two like 0.05-0.5") from None


def _photons(text: str) -> float | None:
    try:
        return None if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number") from None


def _demo(options: argparse.Namespace) -> int:
    from MedGANLogic.demo import demo

    reporter = Reporter("translating", options)
    text = demo(Path(options.out), options.input and Path(options.input), options.model, reporter)
    reporter.close()
    print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medgan",
        description="Generative adversarial networks for medical images: translate, train, measure.",
        epilog=RESEARCH_USE,
    )
    parser.add_argument("--version", action="version", version=f"medgan {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    def model(to: argparse.ArgumentParser) -> None:
        to.add_argument("--model", required=True, metavar="NAME|PATH", help="a model's name or a bundle's folder")

    def further(to: argparse.ArgumentParser) -> None:
        to.add_argument(
            "--input",
            dest="further",
            nargs=2,
            action="append",
            default=[],
            metavar=("ROLE", "FILE"),
            help="a further input of a model that reads several",
        )

    def unit(to: argparse.ArgumentParser) -> None:
        to.add_argument("--input-unit", metavar="U", help="unit of the input's values: HU, HU+1024, SUV, none")

    def device(to: argparse.ArgumentParser) -> None:
        to.add_argument("--device", default="auto", help="auto (default), cpu, cuda:0, …")

    def as_json(to: argparse.ArgumentParser) -> None:
        to.add_argument("--json", action="store_true", help="print JSON for a program")

    def coarser(to: argparse.ArgumentParser, required: bool) -> None:
        to.add_argument(
            "--by",
            required=required,
            nargs="+",
            type=_counted(1, 16),
            metavar="N",
            help="times fewer voxels: one number, or left-right, front-back and head-foot (1 1 4 makes thick slices)",
        )
        like(to, "how (default: box)", default="box")

    def like(to: argparse.ArgumentParser, said: str, default: str | None = None) -> None:
        to.add_argument(
            "--like",
            default=default,
            choices=tuple(LIKE),
            help=f"{said}: {'; '.join(LIKE.values())}",
        )
        to.add_argument(
            "--thickness",
            type=float,
            default=1.0,
            metavar="X",
            help="a profile's width over the distance of slices (1)",
        )

    as_json(verb("models", _models, "list the models: what they do, where they are valid, how well"))
    one = verb("recipes", _recipes, "list the published systems that can be trained, or say all of some")
    one.add_argument("names", nargs="*", metavar="NAME", help="a system")
    as_json(one)

    one = verb("devices", _devices, "list where networks can run on this machine, and why on no GPU")
    one.add_argument("--events", metavar="FILE", help="append the result as a line of JSON")
    as_json(one)

    as_json(verb("preflight", _preflight, "say what this machine has and lacks for the work"))

    one = verb("check", _check, "say whether an image fits a model, before any work")
    model(one)
    further(one)
    unit(one)
    as_json(one)
    one.add_argument("input", metavar="INPUT")

    one = verb("verify", _verify, "check a bundle: every file, class and weight")
    one.add_argument("bundle", metavar="BUNDLE")

    one = verb("translate", _translate, "translate an image, or every file of a folder")
    model(one)
    one.add_argument(
        "input", metavar="INPUT", help="NIfTI, NRRD, MHA, PNG, JPEG, TIFF, a DICOM series' folder, or a folder of files"
    )
    one.add_argument(
        "output",
        metavar="OUTPUT",
        help="a file (.nii.gz, .nii, .nrrd, .mha, of photographs .png or .tif), or a folder for a folder; of several "
        "results the others stand beside it with their role in the name",
    )
    device(one)
    further(one)
    one.add_argument("--mask", metavar="FILE", help="translate only inside; outside is the output's background")
    one.add_argument(
        "--strength", type=float, metavar="SHARE", help="how much of the change is applied, 0 to 1, where it can vary"
    )
    like(one, "hold a finer image to what the scanner that is stated measured")
    unit(one)
    one.add_argument("--events", metavar="FILE", help="append progress and result as lines of JSON")
    one.add_argument("--force", action="store_true", help="translate in spite of errors that may be overridden")
    one.add_argument(
        "--probabilities",
        action="store_true",
        help="of label maps also how likely each label is: OUTPUT-probability-LABEL, from 0 to 1",
    )
    one.add_argument("--dicom", action="store_true", help="write a DICOM series of the same study: folders both")
    as_json(one)

    one = verb("dicom", _dicom, "write a model's result as a DICOM series of the study that it was made from")
    model(one)
    one.add_argument("--source", required=True, metavar="FOLDER", help="the series that the model was given")
    one.add_argument("--target", metavar="ROLE", help="which of several results (default: the model's first)")
    one.add_argument("input", metavar="RESULT", help="what the model made of it")
    one.add_argument("output", metavar="FOLDER", help="a new folder")
    one.add_argument("--events", metavar="FILE", help="append the result as a line of JSON")

    one = verb("sample", _sample, "draw an image from a model that has no input")
    model(one)
    one.add_argument("output", metavar="OUTPUT", help="a file (.nii.gz, .nii, .nrrd, .mha)")
    # A file holds no more slices.
    many = _counted(1, 2**15 - 1)
    one.add_argument("--n", type=many, default=1, metavar="N", help="how many: slices of one volume, or volumes")
    one.add_argument("--seed", type=_counted(0), default=0, metavar="S", help="another seed, other images")
    one.add_argument(
        "--set",
        dest="choices",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="what a model lets you choose: class, an attribute, a code",
    )
    device(one)
    one.add_argument("--events", metavar="FILE", help="append progress and result as lines of JSON")
    as_json(one)

    cohort = verbs.add_parser("cohort", help="prepare a cohort", description="prepare a cohort")
    inner = cohort.add_subparsers(metavar="VERB", required=True)
    one = inner.add_parser("pack", help="write a cohort into one small file that training needs nothing else beside")
    one.set_defaults(run=_cohort_pack)
    one.add_argument("--cohort", required=True, metavar="FILE.csv", help="columns: subject, a role each, part")
    one.add_argument("--study", metavar="FILE.toml", help="roles, spacing, dimensions; else from the table's header")
    one.add_argument("--out", required=True, metavar="FILE.zip")
    one.add_argument(
        "--align", metavar="BUNDLE", help="move targets, but those of test subjects, to where it sees them"
    )
    one.add_argument("--seed", type=int, help=argparse.SUPPRESS)

    one = verb("train", _train, "train a published system on a cohort")
    one.add_argument("--recipe", metavar="NAME", help="a system; 'medgan recipes' lists them")
    one.add_argument("--from", dest="begin", metavar="BUNDLE", help="begin with a model's weights, study and recipe")
    one.add_argument("--cohort", required=True, metavar="FILE", help="a table (.csv) or a packed cohort")
    one.add_argument(
        "--test",
        nargs="*",
        metavar="SUBJECT",
        help="a fold: these are tested, all others train, none is kept for validation (default: the cohort's parts)",
    )
    one.add_argument("--study", metavar="FILE.toml", help="what is translated to what; else from the cohort")
    one.add_argument("--out", required=True, metavar="DIR")
    length = one.add_mutually_exclusive_group()
    length.add_argument("--steps", type=_counted(1), metavar="N", help="default: as many as the recipe asks for")
    length.add_argument("--minutes", type=_minutes, metavar="N", help="as many steps as fit, timed at the start")
    device(one)
    one.add_argument(
        "--seed", type=_counted(0), metavar="N", help="of the first weights and every batch (default: the study's)"
    )
    one.add_argument("--resume", action="store_true", help="go on from DIR's last checkpoint")
    one.add_argument(
        "--on-alarm",
        default="stop",
        choices=("stop", "roll-back"),
        help="when the flight recorder raises one that harms: stop, or go on from the last healthy checkpoint",
    )
    one.add_argument(
        "--workers", type=_counted(0), default=0, metavar="N", help="processes that draw batches (default 0)"
    )
    one.add_argument("--events", metavar="FILE", help="append progress as lines of JSON")

    one = verb("curves", _curves, "draw a run: losses, gradients, scores, diversity, validation, alarms, last sample")
    one.add_argument("folder", metavar="RUN", help="the folder of 'medgan train --out'")
    one.add_argument("--out", metavar="FILE.png", help="the picture (default: RUN/curves.png)")

    one = verb("measure", _measure, "measure a bundle on its cohort's test subjects and write its card")
    one.add_argument("bundle", metavar="BUNDLE")
    one.add_argument("--cohort", required=True, metavar="FILE.csv", help="the table that it was trained from")
    one.add_argument(
        "--compare",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "BUNDLE"),
        help="a model for the same table, or its folds",
    )
    one.add_argument(
        "--folds",
        nargs="+",
        default=[],
        metavar="BUNDLE",
        help="trained alike, each without some subjects: their numbers are the card's",
    )
    one.add_argument(
        "--strengths",
        nargs="+",
        type=float,
        default=[],
        metavar="SHARE",
        help="further strengths at which the model is measured, where it has one",
    )
    one.add_argument("--about", metavar="STUDY.toml", help="what the card says in words is what this study says now")
    one.add_argument("--align", metavar="BUNDLE", help="second table: the reference registered to this model's answer")
    one.add_argument(
        "--lesions", metavar="COLUMN", help="of the table: label maps of lesions, whose SUV or volume is measured"
    )
    one.add_argument(
        "--observers", nargs="+", default=[], metavar="COLUMN", help="of the table: the labels as others drew them"
    )

    one = verb("evaluate", _evaluate, "measure one image against its reference")
    one.add_argument("--reference", required=True, metavar="FILE")
    one.add_argument("--prediction", required=True, metavar="FILE")
    one.add_argument("--unit", required=True, choices=("HU", "SUV", "label", "none"))
    one.add_argument("--mask", metavar="FILE", help="count only where it is above zero")
    one.add_argument("--lesions", metavar="FILE", help="a label map of lesions, whose SUV and visibility are measured")
    one.add_argument("--input", metavar="FILE", help="the coarser image that it was made of: whether it agrees with it")
    coarser(one, required=False)
    as_json(one)

    one = verb("phantom", _phantom, "make a digital thigh or head, seen by MR, CT and PET, or inserts to measure CT by")
    one.add_argument("output", metavar="OUTPUT", help="the MR, or the inserts' CT: .nii.gz, .nii, .nrrd, .mha")
    one.add_argument(
        "--anatomy",
        choices=("thigh", "head", "inserts"),
        default="thigh",
        help="what is made (default: thigh); where inserts lie is printed as JSON",
    )
    one.add_argument("--ct", metavar="FILE", help="the CT (HU) on the same grid")
    one.add_argument("--pet", metavar="FILE", help="the FDG PET (SUV) on the same grid")
    one.add_argument(
        "--seed", type=_counted(0), default=0, metavar="N", help="another seed, another person; other noise"
    )
    one.add_argument("--events", metavar="FILE", help="append the result as a line of JSON")

    simulate = verbs.add_parser("simulate", help="make a poorer scan of a scan", description="make a poorer scan")
    inner = simulate.add_subparsers(metavar="VERB", required=True)
    one = inner.add_parser("low-dose", help="a CT as if scanned with a share of its dose")
    one.set_defaults(run=_simulate_low_dose)
    one.add_argument("input", metavar="INPUT", help="a CT: NIfTI, NRRD, MHA or a DICOM series' folder")
    one.add_argument("output", metavar="OUTPUT", help="a file (.nii.gz, .nii, .nrrd, .mha)")
    one.add_argument(
        "--dose", required=True, type=_dose, metavar="F[-F]", help="0.25, or 0.05-0.5: every slice draws its own"
    )
    one.add_argument(
        "--photons",
        type=_photons,
        metavar="N",
        help="a ray, at full dose; auto (default): as many as explain the noise that the scan has",
    )
    one.add_argument("--electronic", type=float, default=3.0, metavar="N", help="a detector's own noise, in counts (3)")
    one.add_argument(
        "--kernel",
        default="standard",
        choices=("standard", "soft", "sharp", "ramp", "scan"),
        help="of the added noise; scan: as fine as the scan's own",
    )
    one.add_argument("--geometry", default="fan", choices=("fan", "parallel"))
    one.add_argument(
        "--bow-tie", action="store_const", const=120.0, default=0.0, help="behind a filter, 120 mm of water at its rim"
    )
    one.add_argument(
        "--modulation",
        action="store_const",
        const=0.5,
        default=0.0,
        help="the tube's current follows the square root of the attenuation",
    )
    one.add_argument("--seed", type=_counted(0), default=0, metavar="N", help="another seed, other noise")
    unit(one)
    one.add_argument("--events", metavar="FILE", help="append progress and result as lines of JSON")
    as_json(one)

    one = inner.add_parser("coarser", help="an image as if scanned at a lower resolution")
    one.set_defaults(run=_simulate_coarser)
    one.add_argument("input", metavar="INPUT", help="NIfTI, NRRD, MHA or a DICOM series' folder")
    one.add_argument("output", metavar="OUTPUT", help="a file (.nii.gz, .nii, .nrrd, .mha)")
    coarser(one, required=True)
    unit(one)
    one.add_argument("--events", metavar="FILE", help="append the result as a line of JSON")
    as_json(one)

    one = verb("demo", _demo, "translate a digital thigh, or your own file, and show the result as a picture")
    one.add_argument("--input", metavar="FILE", help="your own image instead of the phantom")
    one.add_argument("--model", default="mr-to-ct-limb", metavar="NAME|PATH")
    one.add_argument("--out", default="medgan-demo", metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
