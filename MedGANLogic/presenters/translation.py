"""The main job as a front end shows it: what was chosen, and what follows from that.

A front end keeps ``Chosen`` (plain data, saved with a scene) and shows the ``View`` of it, again after every change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from MedGANLogic.catalogue import RESEARCH_USE, Card, Model
from MedGANLogic.check import Finding, Level, absent, gathered
from MedGANLogic.degradation import LIKE
from MedGANLogic.domain import Labels
from MedGANLogic.presenters.choices import Choice, choices_of
from MedGANLogic.presenters.models import facts, input_title, task_title


@dataclass(frozen=True)
class Chosen:
    """What the user chose, but for the images; an empty text or None is left to us.

    ``count`` and ``choices`` (by name) are for models without input: how many are drawn, and what of them is not left
    to the seed. ``probabilities`` asks for those of labels, a volume each, beside the labels. ``like`` names the
    scanner that a finer image is held to.
    """

    task: str = ""
    model: str = ""
    device: str = "auto"
    strength: float | None = None
    like: str = ""
    seed: int = 0
    count: int = 1
    choices: dict[str, str] = field(default_factory=dict)
    probabilities: bool = False
    in_spite_of_errors: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which ``from_json`` makes an equal choice."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Chosen":
        """Make a choice from plain data; what another version knew, or kept as another type, is left out."""
        kinds = get_type_hints(Chosen)
        return Chosen(**{name: value for name, value in data.items() if name in kinds and _is(value, kinds[name])})


@dataclass(frozen=True)
class Given:
    """An image that was given for a role: its name, and what ``check`` found; None while that is looked at."""

    name: str
    findings: tuple[Finding, ...] | None = ()


@dataclass(frozen=True)
class Work:
    """What runs now; ``share`` (0 to 1) is None while that is not known."""

    doing: str
    share: float | None = None
    seconds_left: float | None = None
    cancelling: bool = False


@dataclass(frozen=True)
class Devices:
    """Where the work can be done, as the verb ``devices`` says it; nothing is known before it has answered."""

    found: tuple[tuple[str, str], ...] = ()
    why_no_gpu: str = ""

    @staticmethod
    def of(event: Mapping[str, Any]) -> "Devices":
        """Read the verb's result."""
        return Devices(tuple((one["name"], one["text"]) for one in event["devices"]), str(event["why_no_gpu"]))


@dataclass(frozen=True)
class Option:
    """One line of a list: ``key`` is what is chosen, ``hint`` says more."""

    key: str
    text: str
    hint: str = ""


_SCANNERS = (
    Option("", "not known", "The model's own answer."),
    *(
        Option(name, words, "The nearest image that such a scanner would see as the input.")
        for name, words in LIKE.items()
    ),
)


@dataclass(frozen=True)
class Slot:
    """An image that the model wants, or labels (a segmentation, a label map); what is optional may be left out."""

    role: str
    title: str
    is_filled: bool
    is_labels: bool = False
    is_optional: bool = False


@dataclass(frozen=True)
class Output:
    """A node that the model makes for a target."""

    target: str
    name: str
    is_segmentation: bool


@dataclass(frozen=True)
class View:
    """All that a front end shows.

    ``strength``, ``seed``, ``count`` and ``probabilities`` are None where the model has no such thing, ``scanners``
    empty.
    """

    tasks: tuple[Option, ...]
    task: str
    models: tuple[Option, ...]
    model: str
    facts: tuple[tuple[str, str], ...]
    slots: tuple[Slot, ...]
    findings: tuple[Finding, ...]
    takes_mask: bool
    strength: float | None
    scanners: tuple[Option, ...]
    like: str
    seed: int | None
    count: int | None
    probabilities: bool | None
    choices: tuple[Choice, ...]
    devices: tuple[Option, ...]
    device: str
    device_says: str
    asks_to_force: bool
    outputs: tuple[Output, ...]
    button: str
    may_press: bool
    says: str
    share: float | None
    progress: str
    is_locked: bool


def view(
    models: Sequence[Model],
    chosen: Chosen,
    given: Mapping[str, Given],
    work: Work | None = None,
    devices: Devices = Devices(),
) -> View:
    """Return what to show. Tasks and models come from the cards alone: a new one appears without a line changed.

    ``given`` holds the images by role of the model that is shown (``model_of`` says which that is).
    """
    tasks = tuple(Option(task, task_title(task)) for task in dict.fromkeys(model.card.task for model in models))
    model = model_of(models, chosen)
    if model is None:
        return _WITHOUT_MODEL
    card = model.card
    listed = [one for one in models if one.card.task == card.task]
    # What is left out is told once all else is there.
    found: dict[str, Sequence[Finding]] = {} if _missing(card, given) else {**absent(card, given)}
    findings = gathered(found | {role: given[role].findings or () for role in card.inputs if role in given})
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    forceable = bool(errors) and all(finding.forceable for finding in errors)
    reason = _why_not(card, given, errors, forceable and chosen.in_spite_of_errors)
    return View(
        tasks=tasks,
        task=card.task,
        models=tuple(Option(one.card.name, one.card.title, _hint(one.card)) for one in listed),
        model=card.name,
        facts=tuple(facts(model)),
        slots=_slots(card, given),
        findings=tuple(findings),
        takes_mask=bool(card.inputs),
        strength=None if card.strength is None else _first_of(chosen.strength, card.strength),
        scanners=_SCANNERS if max(card.finer) > 1 else (),
        like=chosen.like if chosen.like in LIKE else "",
        seed=None if card.inputs else chosen.seed,
        count=None if card.inputs else chosen.count,
        probabilities=chosen.probabilities if _makes_labels(card) else None,
        choices=choices_of(card, chosen.choices),
        devices=(
            Option("auto", _automatic(devices)),
            *(Option(name, f"{name}: {text}") for name, text in devices.found),
        ),
        device=chosen.device if chosen.device in dict(devices.found) else "auto",
        device_says=devices.why_no_gpu,
        asks_to_force=forceable,
        outputs=_outputs(card, given),
        button="Cancel" if work else "Apply",
        may_press=not work.cancelling if work else not reason,
        says=_doing(work) if work else reason or RESEARCH_USE,
        share=work.share if work else None,
        progress=_progress(work) if work else "",
        is_locked=work is not None,
    )


def model_of(models: Sequence[Model], chosen: Chosen) -> Model | None:
    """Return the model that is shown: the one chosen where its task has it, else the task's first; None for none."""
    listed = [model for model in models if not chosen.task or model.card.task == chosen.task] or list(models)
    return next((model for model in listed if model.card.name == chosen.model), next(iter(listed), None))


def arguments(
    model: Model, chosen: Chosen, inputs: Mapping[str, Path], mask: Path | None, output: Path
) -> tuple[str, ...]:
    """Return the verb of the command line, with its arguments, that does what was chosen."""
    ours = ("--model", str(model.folder), "--device", chosen.device)
    if not inputs:
        drawn = ("--seed", str(chosen.seed), "--n", str(chosen.count))
        picked = [part for name, value in chosen.choices.items() for part in ("--set", name, value)]
        return ("sample", *ours, *drawn, *picked, str(output))
    first, *others = inputs.items()
    further = [part for role, file in others for part in ("--input", role, str(file))]
    masked = ("--mask", str(mask)) if mask else ()
    strength = () if chosen.strength is None else ("--strength", f"{chosen.strength:g}")
    scanner = ("--like", chosen.like) if chosen.like else ()
    likely = ("--probabilities",) if chosen.probabilities else ()
    forced = ("--force",) if chosen.in_spite_of_errors else ()
    return ("translate", *ours, *further, *masked, *strength, *scanner, *likely, *forced, str(first[1]), str(output))


def progressed(work: Work, event: Mapping[str, Any]) -> Work:
    """Return what runs after an event of the child."""
    if event.get("event") != "progress" or not event.get("total"):
        return work
    share = event["done"] / event["total"]
    return replace(work, share=share, seconds_left=event.get("seconds_left"))


def account(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of "what was done" for a table beside the result; what is not known has none."""

    def known(name: str, words: str = "{}") -> list[str]:
        value = provenance.get(name)
        return [] if value is None else [words.format(value)]

    rows = [
        ("Synthetic", known("use")),
        ("Model", [" ".join(known("model") + known("model_sha256", "(SHA-256 {})"))]),
        ("Unit", known("unit")),
        *(("Warning", [finding.get("text", "")]) for finding in provenance.get("findings", ())),
        *(("Pass", [str(said)]) for said in provenance.get("passes", ())),
        *(("Finished", [_changed(step)]) for step in provenance.get("finish", ())),
        ("Strength", known("strength", "{:g}")),
        ("Held to", known("held_to")),
        ("Seed", known("seed")),
        ("Chosen", [", ".join(f"{name} {value}" for name, value in provenance.get("choices", {}).items())]),
        ("Time", known("seconds", "{:g} s")),
        ("Software", [", ".join(known("medgan", "MedGAN {}") + known("torch", "torch {}"))]),
    ]
    return [(title, text) for title, texts in rows for text in texts if text]


def _changed(step: Mapping[str, Any]) -> str:
    """Say what a finishing step changed: ``LargestComponent: removed 12 of fat, 0 of bone (voxels)``."""
    found = {key: value for key, value in step.items() if isinstance(value, Mapping)}
    said = "; ".join(f"{key} {', '.join(f'{n} of {name}' for name, n in of.items())}" for key, of in found.items())
    return f"{step.get('kind', '')}: {said} (voxels)"


def _is(value: Any, hint: Any) -> bool:
    """Say whether a value has a type; True is no number, and a whole number may stand for any."""
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(type(one) is str for one in value.values())
    kinds = get_args(hint) or (hint,)
    return type(value) in kinds or (type(value) is int and float in kinds)


def _makes_labels(card: Card) -> bool:
    """Say whether there are probabilities of labels; what is made of nothing but chance has none."""
    return bool(card.inputs) and any(isinstance(domain.window, Labels) for domain in card.targets.values())


def _hint(card: Card) -> str:
    return str(card.measured.get("summary", "not measured"))


_WITHOUT_MODEL = View(
    tasks=(),
    task="",
    models=(),
    model="",
    facts=(),
    slots=(),
    findings=(),
    takes_mask=False,
    strength=None,
    scanners=(),
    like="",
    seed=None,
    count=None,
    probabilities=None,
    choices=(),
    devices=(),
    device="",
    device_says="",
    asks_to_force=False,
    outputs=(),
    button="Apply",
    may_press=False,
    says="No models are installed: train one, or name their folder in MEDGAN_BUNDLES.",
    share=None,
    progress="",
    is_locked=False,
)


def _automatic(devices: Devices) -> str:
    return f"Automatic ({devices.found[0][1]})" if devices.found else "Automatic"


def _why_not(card: Card, given: Mapping[str, Given], errors: Sequence[Finding], forced: bool) -> str:
    """Say why the work cannot begin; nothing where it can."""
    if missing := _missing(card, given):
        return f"Choose a volume for {input_title(missing[0], card.inputs[missing[0]])}."
    if any(given[role].findings is None for role in card.inputs if role in given):
        return "Looking at the volume …"
    if errors and not forced:
        return errors[0].text[0].upper() + errors[0].text[1:] + "."
    return ""


def _missing(card: Card, given: Mapping[str, Given]) -> list[str]:
    """Return the roles without which the work cannot begin."""
    return [role for role in card.inputs if role not in given and role not in card.optional_inputs]


def _slots(card: Card, given: Mapping[str, Given]) -> tuple[Slot, ...]:
    return tuple(
        Slot(
            role,
            input_title(role, domain),
            is_filled=role in given,
            is_labels=isinstance(domain.window, Labels),
            is_optional=role in card.optional_inputs,
        )
        for role, domain in card.inputs.items()
    )


def _outputs(card: Card, given: Mapping[str, Given]) -> tuple[Output, ...]:
    """Return what is made, named by the first image and by modality; of several targets by role."""
    names = [given[role].name for role in card.inputs if role in given][:1]
    called = {role: domain.modality if len(card.targets) == 1 else role for role, domain in card.targets.items()}
    return tuple(
        Output(role, " ".join([*names, "synthetic", called[role]]), isinstance(domain.window, Labels))
        for role, domain in card.targets.items()
    )


def _doing(work: Work) -> str:
    return "Cancelling …" if work.cancelling else work.doing


def _progress(work: Work) -> str:
    """Say how far it is: apart from what is being done, so that only a bar's text changes while it runs."""
    share = [] if work.share is None else [f"{work.share:.0%}"]
    left = [] if work.seconds_left is None else [f"{_duration(work.seconds_left)} left"]
    return ", ".join(share + left)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _first_of(mine: float | None, other: float) -> float:
    return other if mine is None else mine
