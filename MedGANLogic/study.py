"""The user's side of training: what is translated to what, on which grid, from which seed. No torch."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from MedGANLogic.chance import Condition
from MedGANLogic.degradation import Averaged, Degraded, Made, Predicted
from MedGANLogic.domain import CT, CT_NEAR_WATER, DOMAINS, MR, PET, UNLIKENESS, Domain, FixedWindow, Label, Labels
from MedGANLogic.errors import MedGANError
from MedGANLogic.passes import PLANES, Pass


class StudyError(MedGANError):
    """A study that says something unknown, or too little."""


@dataclass(frozen=True)
class Settings:
    """The numbers of a recipe that a study may change. A recipe states the paper's; a change is a departure."""

    width: int
    levels: int
    patch: int
    batch: int
    steps: int
    rate: float


@dataclass(frozen=True)
class WeighedSettings(Settings):
    """``Settings`` of a system that holds an image to its target voxel by voxel and by an adversary.

    ``pixel`` and ``adversarial`` are the weights of the two; 0 leaves one out (``recipe.weighed``).
    """

    pixel: float
    adversarial: float


#: A recipe's settings, of whichever kind.
SomeSettings = TypeVar("SomeSettings", bound=Settings)


@dataclass(frozen=True)
class Study:
    """The user's side: what is translated to what, on which grid, from which seed.

    ``inputs`` and ``targets`` map a role (a column of the cohort's table) to its domain; without inputs, images are
    made from nothing but chance. A cell may be empty: a subject without target is unlabelled. ``guides`` are roles that
    training reads and prediction does not, such as labels of where an error costs more. ``made`` says of roles
    that no file holds how they come about. ``classes`` and ``attributes`` are what the table says of a subject in the
    column ``class``, one of these, and in columns of numbers, each with the values that become -1 and 1.
    ``dimensions`` is 2 or 3; with 2, a network reads ``neighbours`` slices on either side of its own (2.5D where
    there are any). ``spacing_mm`` is None for each case's own spacing. ``changes`` replaces numbers of the recipe's
    ``Settings``. ``strength`` says that the target is the first input, only better (less noise, finer), and which share
    of the change a model applies unless its user says otherwise; None where that has no sense. ``about`` says in
    words what a model's card will show: ``title``, ``anatomy``, ``data``, ``licence``, …; ``features`` among them
    names a file of weights for networks that compare images.
    """

    inputs: Mapping[str, Domain]
    targets: Mapping[str, Domain]
    dimensions: int = 2
    neighbours: int = 1
    spacing_mm: tuple[float, float, float] | None = None
    plane: str = "axial"
    seed: int = 0
    made: Mapping[str, Made] = field(default_factory=dict)
    guides: Mapping[str, Domain] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    changes: Mapping[str, float] = field(default_factory=dict)
    strength: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def domains(self) -> dict[str, Domain]:
        """All roles, inputs first, then targets."""
        return {**self.inputs, **self.targets, **self.guides}

    @property
    def columns(self) -> tuple[str, ...]:
        """The roles that the cohort's table holds."""
        return tuple(role for role in self.domains if role not in self.made)

    def source(self, role: str) -> str:
        """Return the role whose volume a role is made of: mostly itself."""
        made = self.made.get(role)
        return made.of if isinstance(made, Degraded) else role

    @property
    def condition(self) -> Condition:
        """What the table says of a subject, as a vector."""
        return Condition(self.classes, dict(self.attributes))

    @property
    def task(self) -> str:
        """What is done, by what goes in and what comes out: ``mr-to-ct``, ``segmentation``, ``sample``, …."""
        target = next(iter(self.targets.values()))
        first = next(iter(self.inputs.values()), None)
        if first is None:
            return "sample"
        if isinstance(target.window, Labels):
            return "segmentation"
        if any(isinstance(made, Degraded) for made in self.made.values()):
            return "super-resolution"
        if self.made:
            return "anomaly"
        if self.strength is not None:
            return f"denoise-{_MODALITIES[target.modality]}"
        return f"{_MODALITIES[first.modality]}-to-{_MODALITIES[target.modality]}"

    @property
    def improved(self) -> str | None:
        """The input that the first target is a better version of, where the study says so."""
        return next(iter(self.inputs)) if self.strength is not None else None

    @property
    def finer(self) -> int:
        """How many times finer the targets are than the inputs, along every axis that a network sees."""
        return next((made.by for made in self.made.values() if isinstance(made, Degraded)), 1)

    @property
    def doublings(self) -> int:
        """How often a network doubles its grid to write the targets'. Raises StudyError for what no doubling makes."""
        if self.finer & (self.finer - 1) or self.finer == 1:
            raise StudyError(f"this system makes 2, 4, 8 or 16 times finer images: the study's are {self.finer} times")
        return self.finer.bit_length() - 1

    @property
    def finer_axes(self) -> tuple[int, int, int]:
        """``finer`` along R, A and S."""
        through = PLANES[self.plane] if self.dimensions == 2 else None
        x, y, z = (1 if axis == through else self.finer for axis in range(3))
        return x, y, z

    @property
    def out_channels(self) -> int:
        """Channels that a network writes."""
        return len(self.written)

    @property
    def written(self) -> tuple[str, ...]:
        """Names of the volumes that a network writes for all targets."""
        return tuple(name for role, domain in self.targets.items() for name in domain.window.volumes(role))

    def whole_volume(self, network: str, multiple: int) -> Pass:
        """Return the pass that reads all inputs and writes all targets."""
        reads = tuple(name for role, domain in self.inputs.items() for name in domain.window.volumes(role))
        return Pass(network, reads, self.written, self.dimensions, self.neighbours, multiple, finer=self.finer)

    @property
    def in_channels(self) -> int:
        """Channels that a network reads: every input with its neighbouring slices."""
        return self.whole_volume("", 1).channels

    def limited_to(self, dimensions: int) -> "Study":
        """Return this study. Raises StudyError where a system is not made for its number of dimensions."""
        if self.dimensions != dimensions:
            raise StudyError(f"this system is for {dimensions} dimensions: the study has {self.dimensions}")
        return self

    @property
    def labels(self) -> Labels:
        """The first target's labels. Raises StudyError where it has none."""
        role, domain = next(iter(self.targets.items()))
        if not isinstance(domain.window, Labels):
            raise StudyError(f"this system segments: target {role!r} has no labels ({domain.unit})")
        return domain.window

    def guided_by(self, count: int) -> "Study":
        """Return this study. Raises StudyError where it has a guide, but not one of so many labels."""
        for role, domain in self.guides.items():
            if len(self.guides) > 1 or len(domain.window.volumes(role)) != 1 + count:
                raise StudyError(
                    f"this system is guided by one label map of {count} labels, or by none: found {role!r}"
                )
        return self

    @property
    def described(self) -> Condition:
        """``condition``, for systems that need one. Raises StudyError where the study asks for nothing."""
        if not self.condition.size:
            raise StudyError("this system makes what it is asked for: the study needs classes or attributes")
        return self.condition

    @property
    def classified(self) -> Condition:
        """``condition`` of classes alone. Raises StudyError for fewer than two, and for attributes beside them."""
        if len(self.classes) < 2 or self.attributes:
            found = ", ".join((*self.classes, *self.attributes)) or "neither classes nor attributes"
            raise StudyError(
                f"this system tells classes apart: the study needs two or more and no attributes ({found})"
            )
        return self.condition

    def searched(self, *further: str) -> tuple[str, str]:
        """Return the volume that goes in and the first that comes out, for systems that search for the one.

        Raises StudyError for more inputs, neighbouring slices or labels, and for targets that are not ``further``.
        """
        first, *others = self.written
        if self.in_channels != 1 or first in further or not set(others) <= set(further):
            raise StudyError(
                f"this system reads one image without its neighbours and writes its unlikeness, {', '.join(further)}: "
                f"found {', '.join(self.inputs) or 'no input'} and {', '.join(self.written)}"
            )
        return self.whole_volume("", 1).reads[0], first

    @property
    def corrected(self) -> "Study":
        """This study, for systems that add to what they read.

        Raises StudyError unless every target has an input of its domain, in the same order.
        """
        if list(self.inputs.values()) != list(self.targets.values()):
            raise StudyError(
                "this system corrects what it reads: the study needs an input for every target, of the same domain and "
                f"in the same order (found {', '.join(self.inputs) or 'no input'} and {', '.join(self.targets)})"
            )
        return self

    def window_in(self, unit: str) -> FixedWindow:
        """Return the first target's window. Raises StudyError where it is none in this unit."""
        role, domain = next(iter(self.targets.items()))
        if domain.unit != unit or not isinstance(domain.window, FixedWindow):
            raise StudyError(f"this system makes {unit} in a fixed window: target {role!r} is in {domain.unit}")
        return domain.window

    def patch_shape(self, size: int) -> tuple[int, ...]:
        """Shape of a patch of the given edge in this study's number of dimensions."""
        return (size,) * self.dimensions

    def adapted(self, published: SomeSettings) -> SomeSettings:
        """Return the paper's settings with this study's changes. Raises StudyError for a name that is no setting."""
        numbers = asdict(published)
        for name, value in self.changes.items():
            if name not in numbers:
                raise StudyError(f"{name!r} is no setting of a recipe: there are {', '.join(numbers)}")
            numbers[name] = type(numbers[name])(value)
        return replace(published, **numbers)

    def departures(self, published: Settings) -> tuple[str, ...]:
        """Say every setting in which this study departs from the paper."""
        ours = asdict(self.adapted(published))
        return tuple(
            f"{n} {ours[n]:g} (paper: {value:g})" for n, value in asdict(published).items() if ours[n] != value
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which ``from_json`` makes an equal study."""
        return {
            "inputs": {role: domain.to_json() for role, domain in self.inputs.items()},
            "targets": {role: domain.to_json() for role, domain in self.targets.items()},
            "dimensions": self.dimensions,
            "neighbours": self.neighbours,
            "spacing_mm": self.spacing_mm and list(self.spacing_mm),
            "plane": self.plane,
            "seed": self.seed,
            "made": {role: made.to_json() for role, made in self.made.items()},
            "guides": {role: domain.to_json() for role, domain in self.guides.items()},
            "classes": list(self.classes),
            "attributes": {name: list(limits) for name, limits in self.attributes.items()},
            "changes": dict(self.changes),
            "strength": self.strength,
            "about": dict(self.about),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Study":
        """Make a study from plain data.

        ``inputs`` and ``targets`` are either lists of roles with a default domain (``mr``, ``ct``, ``pet``) or tables
        of role → domain or the name of a default one. Everything else may be left out. Raises StudyError for what is
        unknown or missing.
        """
        known = set(Study.__dataclass_fields__)
        if unknown := set(data) - known:
            raise StudyError(f"a study has no {', '.join(sorted(unknown))}: there are {', '.join(sorted(known))}")
        try:
            spacing = data.get("spacing_mm")
            study = Study(
                _roles(data["inputs"]),
                _roles(data["targets"]),
                **{key: type_(data[key]) for key, type_ in _PLAIN_FIELDS.items() if key in data},
                spacing_mm=spacing and tuple(float(length) for length in spacing),
                made={role: Made.from_json(made) for role, made in data.get("made", {}).items()},
                guides=_roles(data.get("guides", {})),
                classes=tuple(data.get("classes", ())),
                attributes={
                    name: (float(low), float(high)) for name, (low, high) in data.get("attributes", {}).items()
                },
                changes=dict(data.get("changes", {})),
                strength=data.get("strength"),
                about=dict(data.get("about", {})),
            )
        except KeyError as error:
            raise StudyError(f"a study needs {error}") from error
        if strange := study.made.keys() - study.domains.keys():
            raise StudyError(f"made names {', '.join(sorted(strange))}: roles are {', '.join(study.domains)}")
        if study.strength is not None and not (study.inputs and 0 <= study.strength <= 1):
            raise StudyError(f"strength is a share from 0 to 1 of what is changed of an input: found {dict(data)}")
        if not study.targets or any(low == high for low, high in study.attributes.values()):
            raise StudyError(f"a study needs a target, and attributes with two different limits: found {dict(data)}")
        if study.dimensions not in (2, 3) or study.neighbours < 0 or study.plane not in PLANES:
            raise StudyError(f"dimensions 2 or 3, neighbours ≥ 0, plane {', '.join(PLANES)}: found {dict(data)}")
        if spacing and (len(spacing) != 3 or min(spacing) <= 0):
            raise StudyError(f"spacing_mm needs three lengths above 0, found {spacing}")
        return study

    @staticmethod
    def from_file(path: Path) -> "Study":
        """Read a study from a TOML file. Raises StudyError for what is no study."""
        try:
            return Study.from_json(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise StudyError(f"{path}: {error}") from error


#: A task is named by what goes in and what comes out.
_MODALITIES: Mapping[str, str] = {"MR": "mr", "CT": "ct", "PT": "pet", "SEG": "labels"}

_PLAIN_FIELDS: Mapping[str, type] = {"dimensions": int, "neighbours": int, "plane": str, "seed": int}


def _roles(data: Any) -> dict[str, Domain]:
    named = data if isinstance(data, Mapping) else {role: role for role in data}
    for role, domain in named.items():
        if isinstance(domain, str) and domain not in DOMAINS:
            raise StudyError(
                f"role {role!r} has no default domain ({', '.join(DOMAINS)}): give it one of these, or its own"
            )
    return {
        str(role): DOMAINS[domain] if isinstance(domain, str) else Domain.from_json(domain)
        for role, domain in named.items()
    }


_LESION = Domain("SEG", "label", Labels((Label(1, "lesion", (230, 110, 60), "52988006"),)), 0.0)
_TISSUES = Labels((Label(1, "normal-appearing white matter", (245, 245, 245)), Label(2, "lesion", (230, 110, 60))))

#: What a study looks like that a recipe is for; a recipe names one of these as its ``EXAMPLE``.
TRANSLATION = Study({"mr": MR}, {"ct": CT})
DENOISING = Study({"low": CT_NEAR_WATER}, {"full": CT_NEAR_WATER}, strength=1.0)
GENERATION = Study({}, {"mr": MR}, neighbours=0)
CLASSES = replace(GENERATION, classes=("t1", "t2"))
SEGMENTATION = Study({"mr": MR}, {"lesion": _LESION})
SUPER_RESOLUTION = Study({"mr": MR}, {"fine": MR}, neighbours=0, made={"mr": Averaged("fine", 4)})
ANOMALY = Study({"mr": MR}, {"anomaly": UNLIKENESS}, neighbours=0, made={"anomaly": Predicted()})
GUIDED = Study(
    {"t1": MR, "flair": MR},
    {"pet": PET},
    dimensions=3,
    neighbours=0,
    guides={"tissue": Domain("SEG", "label", _TISSUES, 0.0)},
)
