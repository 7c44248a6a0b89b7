"""The user's side of training: what is translated to what, on which grid, from which seed. No torch."""

import itertools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from MedGANLogic.chance import Condition
from MedGANLogic.degradation import Averaged, Degraded, Made, Predicted, held_to
from MedGANLogic.domain import (
    CT,
    CT_NEAR_WATER,
    DOMAINS,
    MR,
    PET,
    PHOTOGRAPH,
    UNLIKENESS,
    Domain,
    FixedWindow,
    Label,
    Labels,
)
from MedGANLogic.errors import MedGANError
from MedGANLogic.finishing import Finish
from MedGANLogic.passes import PLANES, Factors, Pass, Step, along_axes
from MedGANLogic.plain import typed


class StudyError(MedGANError):
    """A study that says something unknown, or too little."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The numbers of a recipe that a study may change. A recipe states the paper's; a change is a departure.

    ``levels`` is left out where there are none to choose, mostly because they follow from the patch.
    """

    width: int
    levels: int = 0
    patch: int
    batch: int
    steps: int
    rate: float

    @property
    def numbers(self) -> dict[str, float]:
        """All that there is to change, by name."""
        return {name: value for name, value in asdict(self).items() if name != "levels" or value}


@dataclass(frozen=True, kw_only=True)
class WeighedSettings(Settings):
    """``Settings`` of a system that holds an image to its target voxel by voxel and by an adversary.

    ``pixel`` and ``adversarial`` are the weights of the two; 0 leaves one out (``recipe.weighed``).
    """

    pixel: float
    adversarial: float


#: A volume's axes, by where they lead.
_AXES = "RAS"

#: Settings that may be 0.
_WEIGHTS = ("pixel", "adversarial")


#: A recipe's settings, of whichever kind.
SomeSettings = TypeVar("SomeSettings", bound=Settings)


@dataclass(frozen=True)
class Study:
    """The user's side: what is translated to what, on which grid, from which seed.

    ``inputs`` and ``targets`` map a role (a column of the cohort's table) to its domain; without inputs, images are
    made from nothing but chance. A cell may be empty: a subject without target is unlabelled. ``guides`` are roles that
    training reads and prediction does not, such as labels of where an error costs more, or the target ``again``.
    ``made`` says of roles that no file holds how they come about. ``classes`` and ``attributes`` are what the table
    says of a subject in the column ``class``, one of these, and in columns of numbers, each with the values that become
    -1 and 1. ``dimensions`` is 2 or 3; with 2, a network reads ``neighbours`` slices on either side of its own (2.5D
    where there are any). ``spacing_mm`` is None for each case's own spacing. ``mirrors`` are the axes, of R, A and S,
    along which an image shows as much when it is mirrored, so that training may show it thus; None for all of them, or
    where the first target is a label map, which may say of sides, for none. ``changes`` replaces
    numbers of the recipe's ``Settings``. ``strength`` says that the target is the first input, only better (less noise,
    finer), and which share of the change a model applies unless its user says otherwise; None where that has no sense.
    ``consistent`` is the way of making the first input coarser that a result is held to: a last step brings it to where
    this way gives the input back; None for no such step. ``finish`` are steps on label maps after prediction, such as
    keeping the largest part: a user's results and those that are measured are finished, those by which training is
    validated are not. ``about`` says in words what a model's card will show: ``title``, ``anatomy``, ``data``,
    ``licence``, …; ``features`` among them names a file of weights for networks that compare images.

    Raises StudyError for what contradicts itself or has no sense.
    """

    inputs: Mapping[str, Domain]
    targets: Mapping[str, Domain]
    dimensions: int = 2
    neighbours: int = 1
    spacing_mm: tuple[float, float, float] | None = None
    plane: str = "axial"
    seed: int = 0
    mirrors: tuple[str, ...] | None = None
    made: Mapping[str, Made] = field(default_factory=dict)
    guides: Mapping[str, Domain] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    changes: Mapping[str, float] = field(default_factory=dict)
    strength: float | None = None
    consistent: Degraded | None = None
    finish: tuple[Finish, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.targets:
            raise StudyError("a study needs a target")
        if twice := self.inputs.keys() & self.targets.keys():
            raise StudyError(f"{', '.join(sorted(twice))} goes in and comes out: give the two different names")
        if strange := self.made.keys() - self.domains.keys():
            raise StudyError(f"made names {', '.join(sorted(strange))}: roles are {', '.join(self.domains)}")
        if self.finish and not any(isinstance(domain.window, Labels) for domain in self.targets.values()):
            raise StudyError("finish is for label maps: no target is one")
        if self.strength is not None and not (self.inputs and 0 <= self.strength <= 1):
            raise StudyError(f"strength is {self.strength}: it is a share from 0 to 1 of what is changed of an input")
        for name, (low, high) in self.attributes.items():
            if not math.isfinite(high - low) or low == high:
                raise StudyError(f"attributes.{name} is [{low:g}, {high:g}]: expected two different numbers")
        if len(set(self.classes)) != len(self.classes):
            raise StudyError(f"classes are {', '.join(self.classes)}: expected different ones")
        if self.dimensions not in (2, 3) or self.neighbours < 0 or self.plane not in PLANES:
            found = f"dimensions {self.dimensions}, neighbours {self.neighbours}, plane {self.plane!r}"
            raise StudyError(f"{found}: expected 2 or 3, 0 or more, and one of {', '.join(PLANES)}")
        if self.spacing_mm and not all(0 < length < math.inf for length in self.spacing_mm):
            raise StudyError(f"spacing_mm is {list(self.spacing_mm)}: expected lengths above 0")
        mirrors = self.mirrors or ()
        if len(set(mirrors)) != len(mirrors) or not set(mirrors) <= set(_AXES):
            raise StudyError(f"mirrors is {list(mirrors)}: expected axes among {', '.join(_AXES)}, each once")
        if self.seed < 0:
            raise StudyError(f"seed is {self.seed}: expected 0 or more")
        self._refuse_made()

    def _refuse_made(self) -> None:
        for role, made in self.made.items():
            if made.degraded and not (role in self.inputs and self.source(role) in self.targets):
                raise StudyError(f"made.{role} is of {self.source(role)}: expected an input that is made of a target")
        if len({made.degraded[0].finer for made in self.made.values() if made.degraded}) > 1:
            raise StudyError("made: all inputs must be as much coarser than the targets, by the same factors")
        try:
            along_axes(self.finer, self.dimensions)
        except ValueError as error:
            raise StudyError(f"made: {error}") from error
        first, held = next(iter(self.inputs), ""), self.consistent
        if held and not (first in self.made and held.of == self.source(first) and held.finer == self.finer):
            raise StudyError(
                f"consistent is {held}: expected a way in which the first input, {first or 'none'}, might be made"
            )

    @property
    def domains(self) -> dict[str, Domain]:
        """All roles, inputs first, then targets."""
        return {**self.inputs, **self.targets, **self.guides}

    @property
    def columns(self) -> tuple[str, ...]:
        """The roles that the cohort's table holds."""
        return tuple(role for role in self.domains if role not in self.made)

    @property
    def measured_columns(self) -> tuple[str, ...]:
        """Those of them that measuring reads: what guides training is not among them."""
        return tuple(role for role in self.columns if role not in self.guides)

    def source(self, role: str) -> str:
        """Return the role whose volume a role is made of: mostly itself."""
        made = self.made.get(role)
        return made.degraded[0].of if made and made.degraded else role

    @property
    def by_one_way(self) -> "tuple[Study, ...]":
        """This study, or where an input is made in several ways, it by each of them."""
        several = {role: made.degraded for role, made in self.made.items() if len(made.degraded) > 1}
        ways = [dict(zip(several, made, strict=True)) for made in itertools.product(*several.values())]
        return tuple(replace(self, made={**self.made, **way}) for way in ways)

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
        if any(made.degraded for made in self.made.values()):
            return "super-resolution"
        if self.made:
            return "anomaly"
        if self.strength is not None:
            return f"denoise-{_called(target)}"
        return f"{_called(first)}-to-{_called(target)}"

    @property
    def improved(self) -> str | None:
        """The input that the first target is a better version of, where the study says so."""
        return next(iter(self.inputs)) if self.strength is not None else None

    @property
    def again(self) -> str | None:
        """The guide that is the first target with as much further noise as it has itself, where there is one.

        It has the target's domain, in a study that improves its input; half of a CT's dose makes one.
        """
        target = next(iter(self.targets.values()))
        alike = (role for role, domain in self.guides.items() if self.improved and domain == target)
        return next(alike, None)

    @property
    def finer(self) -> Factors:
        """How many times finer the targets are than the inputs, as the study says it."""
        return next((made.degraded[0].finer for made in self.made.values() if made.degraded), 1)

    @property
    def factors(self) -> tuple[int, int, int]:
        """``finer`` through the slices, down and across them."""
        return along_axes(self.finer, self.dimensions)

    @property
    def thinner(self) -> int:
        """How many slices stand for one. Raises StudyError unless the targets are finer through the slices alone."""
        through, *across = self.factors
        if through == 1 or across != [1, 1]:
            raise StudyError(
                "this system makes thin slices of thick ones: here targets are "
                f"{'×'.join(map(str, self.factors))} times finer through, down and across the slices (in 3 dimensions: "
                'made.thick = { kind = "Averaged", of = "thin", by = [3, 1, 1] })'
            )
        return through

    @property
    def doublings(self) -> int:
        """How often a network doubles its grid to write the targets'.

        Raises StudyError for what no doubling of all its axes makes.
        """
        seen = set(self.factors[3 - self.dimensions :])
        if len(seen) > 1 or not seen <= {2, 4, 8, 16}:
            raise StudyError(
                "this system makes 2, 4, 8 or 16 times finer images, alike along all axes that it sees: here they are "
                f"{'×'.join(map(str, self.factors))} times"
            )
        return seen.pop().bit_length() - 1

    @property
    def finer_axes(self) -> tuple[int, int, int]:
        """``finer`` along R, A and S."""
        through, *across = self.factors
        x, y, z = (through if axis == PLANES[self.plane] else across.pop(0) for axis in range(3))
        return x, y, z

    @property
    def mirrored_axes(self) -> tuple[int, ...]:
        """``mirrors`` among a volume's axes, slices first."""
        usual = () if self.task == "segmentation" else tuple(_AXES)
        mirrors = usual if self.mirrors is None else self.mirrors
        through = PLANES[self.plane]
        order = [through, *(axis for axis in range(3) if axis != through)]
        return tuple(sorted(order.index(_AXES.index(axis)) for axis in mirrors))

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
        reads = tuple(name for role, domain in self.inputs.items() for name in domain.window.input_volumes(role))
        return Pass(network, reads, self.written, self.dimensions, self.neighbours, multiple, finer=self.finer)

    def held(self, passes: Sequence[Step]) -> tuple[Step, ...]:
        """Return passes, with the step behind them that makes a target consistent where there is to be one."""
        if self.consistent is None:
            return tuple(passes)
        return held_to(passes, self.consistent, self.dimensions, next(iter(self.inputs)), self.consistent.of)

    @property
    def in_channels(self) -> int:
        """Channels that a network reads: every input with its neighbouring slices."""
        return self.whole_volume("", 1).channels

    def limited_to(self, dimensions: int) -> "Study":
        """Return this study. Raises StudyError where a system is not made for its number of dimensions."""
        if self.dimensions != dimensions:
            raise StudyError(f"this system is for {dimensions} dimensions: the study has {self.dimensions}")
        return self

    def sliced(self, plane: str) -> "Study":
        """Return this study. Raises StudyError where a system is not made for slices of its plane."""
        if self.plane != plane:
            raise StudyError(f'this system reads {plane} slices: the study says plane = "{self.plane}"')
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

        Raises StudyError for more inputs, neighbouring slices or labels, for targets that are not ``further``, and for
        targets that a file holds: nothing would be learnt from them.
        """
        first, *others = self.written
        has_labels = any(isinstance(domain.window, Labels) for domain in self.inputs.values())
        if has_labels or self.in_channels != 1 or first in further or not set(others) <= set(further):
            raise StudyError(
                f"this system reads one image without its neighbours and writes its unlikeness, {', '.join(further)}: "
                f"found {', '.join(self.inputs) or 'no input'} and {', '.join(self.written)}"
            )
        for role in self.targets:
            if not isinstance(self.made.get(role), Predicted):
                raise StudyError(
                    f"this system learns from no target: say that {role} is made by it alone "
                    f'(made.{role} = {{ kind = "Predicted" }}), or choose a system that translates'
                )
        if self.targets[first].unit != UNLIKENESS.unit:
            raise StudyError(f"this system writes how unlike an image is: {first} cannot be {self.targets[first].unit}")
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

    @property
    def magnified(self) -> "Study":
        """This study, for systems that make finer what they read.

        Raises StudyError unless every target has a coarser input of its domain, in the same order.
        """
        if max(self.factors) == 1:
            raise StudyError(
                "this system makes finer images of coarse ones: the study needs an input that is made of its target "
                '(made.coarse = { kind = "Averaged", of = "fine", by = 2 })'
            )
        return self.corrected

    @property
    def with_labels(self) -> "Study":
        """This study, for systems that read labels beside an image. Raises StudyError where none go in."""
        if not any(isinstance(domain.window, Labels) for domain in list(self.inputs.values())[1:]):
            raise StudyError(
                "this system reads labels beside an image: the study needs an image as its first input and a label "
                f"map behind it (found {', '.join(self.inputs) or 'no input'})"
            )
        return self

    @property
    def sharpened(self) -> "Study":
        """This study, for systems that sharpen what they read on the grid that it has.

        Raises StudyError where targets are finer, and unless each has an input of its domain, in the same order.
        """
        if max(self.factors) > 1:
            raise StudyError(
                "this system sharpens an image on the grid that it has: here targets are "
                f"{'×'.join(map(str, self.factors))} times finer (ZeroFilled makes inputs on the target's grid)"
            )
        return self.corrected

    def window_in(self, unit: str) -> FixedWindow:
        """Return the first target's window. Raises StudyError where it is none in this unit."""
        role, domain = next(iter(self.targets.items()))
        if domain.unit != unit or not isinstance(domain.window, FixedWindow):
            raise StudyError(f"this system makes {unit} in a fixed window: target {role!r} is in {domain.unit}")
        return domain.window

    def patch_shape(self, size: int) -> tuple[int, ...]:
        """Shape of a patch of the given edge in this study's number of dimensions."""
        return (size,) * self.dimensions

    def fine_patch_shape(self, size: int) -> tuple[int, ...]:
        """Shape of a target's patch over an input's of the given edge."""
        return tuple(size * factor for factor in self.factors[3 - self.dimensions :])

    def adapted(self, published: SomeSettings) -> SomeSettings:
        """Return the paper's settings with this study's changes.

        Raises StudyError for a name that is no setting of the system, and for a value that no setting can have.
        """
        numbers = published.numbers
        for name, value in self.changes.items():
            if name not in numbers:
                raise StudyError(f"{name!r} is no setting of this system: there are {', '.join(numbers)}")
            numbers[name] = _setting(name, value, whole=isinstance(numbers[name], int))
        return replace(published, **numbers)  # type: ignore[arg-type]  # whole numbers stayed whole

    def departures(self, published: Settings) -> tuple[str, ...]:
        """Say every setting in which this study departs from the paper."""
        ours = self.adapted(published).numbers
        return tuple(
            f"{n} {ours[n]:g} (paper: {value:g})" for n, value in published.numbers.items() if ours[n] != value
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
            **({"mirrors": list(self.mirrors)} if self.mirrors is not None else {}),
            "made": {role: made.to_json() for role, made in self.made.items()},
            "guides": {role: domain.to_json() for role, domain in self.guides.items()},
            "classes": list(self.classes),
            "attributes": {name: list(limits) for name, limits in self.attributes.items()},
            "changes": dict(self.changes),
            "strength": self.strength,
            **({"consistent": self.consistent.to_json()} if self.consistent else {}),
            **({"finish": [one.to_json() for one in self.finish]} if self.finish else {}),
            "about": dict(self.about),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Study":
        """Make a study from plain data.

        ``inputs``, ``targets`` and ``guides`` are either lists of roles with a default domain (``mr``, ``ct``, ``pet``,
        …) or tables of role → domain or the name of a default one; of a domain's own fields those that its modality
        usually has may be left out, and so may labels' colours. Everything but the targets may be left out. Raises
        StudyError for what is unknown or missing.
        """
        known = set(Study.__dataclass_fields__)
        if unknown := set(data) - known:
            raise StudyError(f"a study has no {', '.join(sorted(unknown))}: there are {', '.join(sorted(known))}")
        return Study(**{name: _read(name, value) for name, value in {"inputs": {}, "targets": {}, **data}.items()})

    @staticmethod
    def from_file(path: Path) -> "Study":
        """Read a study from a TOML file. Raises StudyError for what is no study."""
        try:
            return Study.from_json(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise StudyError(f"{path}: {error}") from error


#: A task is named by what goes in and what comes out.
_MODALITIES: Mapping[str, str] = {"MR": "mr", "CT": "ct", "PT": "pet", "XC": "photograph", "SEG": "labels"}


def _called(domain: Domain) -> str:
    return _MODALITIES.get(domain.modality, domain.modality.lower())


#: What a domain of a modality is, but for what a study says of it.
_USUAL: Mapping[str, Mapping[str, Any]] = {
    **{domain.modality: domain.to_json() for domain in (MR, CT, PET, PHOTOGRAPH, UNLIKENESS)},
    "SEG": {"unit": "label", "background": 0.0},
}

#: Colours of labels, in their order, where a study gives none.
_COLOURS = ((230, 110, 60), (90, 160, 220), (120, 190, 90), (240, 200, 70), (170, 110, 200), (230, 130, 170))


def _read(name: str, value: Any) -> Any:
    """Return a study's field from plain data. Raises StudyError where it is none."""
    try:
        if name in ("inputs", "targets", "guides"):
            return _roles(value)
        if name == "finish":
            return tuple(Finish.from_json(one) for one in typed(tuple[Mapping[str, Any], ...], value))
        if name == "made":
            return {role: Made.from_json(made) for role, made in typed(Mapping[str, Mapping[str, Any]], value).items()}
        return typed(Study.__dataclass_fields__[name].type, value)
    except ValueError as error:
        raise StudyError(f"{name}: {error}") from error


def _setting(name: str, value: Any, whole: bool) -> float:
    """Return a setting's value, whole where the paper's is. Raises StudyError for what it cannot be."""
    number = value if type(value) in (int, float) and math.isfinite(value) else -1
    if whole and 1 <= number < 2**31 and number == int(number):
        return int(number)
    if not whole and (number > 0 or (number == 0 and name in _WEIGHTS)):
        return float(number)
    expected = (
        "a whole number from 1 to 2147483647" if whole else f"a number {'from' if name in _WEIGHTS else 'above'} 0"
    )
    raise StudyError(f"{name} is {value!r}: expected {expected}")


def _roles(data: Any) -> dict[str, Domain]:
    named = data if isinstance(data, Mapping) else {role: role for role in typed(tuple[str, ...], data)}
    return {role: _domain(role, said) for role, said in named.items()}


def _domain(role: str, said: Any) -> Domain:
    """Return a default domain by its name, or a study's own: what is usual for its modality is filled in."""
    if isinstance(said, str):
        if said not in DOMAINS:
            raise StudyError(
                f"role {role!r} has no default domain ({', '.join(DOMAINS)}): give it one of these, or its own"
            )
        return DOMAINS[said]
    own = typed(Mapping[str, Any], said)
    data = {**_USUAL.get(str(own.get("modality")), {}), **own}
    return Domain.from_json({**data, "window": _coloured(data.get("window"))} if "window" in data else data)


def _coloured(window: Any) -> Any:
    """Return a window's plain data, with colours where it has labels."""
    if "labels" not in typed(Mapping[str, Any], window):
        return window
    labels = typed(tuple[Mapping[str, Any], ...], window["labels"])
    return {
        **window,
        "labels": [{"colour": c, **one} for c, one in zip(itertools.cycle(_COLOURS), labels, strict=False)],
    }


_LESION = Domain("SEG", "label", Labels((Label(1, "lesion", (230, 110, 60), "52988006"),)), 0.0)
_LIVER = Domain("SEG", "label", Labels((Label(1, "liver", (221, 130, 101), "10200004"),)), 0.0)
_TISSUES = Labels((Label(1, "normal-appearing white matter", (245, 245, 245)), Label(2, "lesion", (230, 110, 60))))

#: What a study looks like that a recipe is for; a recipe names one of these as its ``EXAMPLE``.
TRANSLATION = Study({"mr": MR}, {"ct": CT})
DENOISING = Study({"low": CT_NEAR_WATER}, {"full": CT_NEAR_WATER}, strength=1.0)
GENERATION = Study({}, {"mr": MR}, neighbours=0)
CLASSES = replace(GENERATION, classes=("t1", "t2"))
SEGMENTATION = Study({"mr": MR}, {"lesion": _LESION})
ORGAN = Study({"ct": CT}, {"liver": _LIVER}, dimensions=3, neighbours=0, spacing_mm=(3.0, 3.0, 3.0))
SUPER_RESOLUTION = Study({"mr": MR}, {"fine": MR}, neighbours=0, made={"mr": Averaged("fine", 4)})
ANOMALY = Study({"mr": MR}, {"anomaly": UNLIKENESS}, neighbours=0, made={"anomaly": Predicted()})
GUIDED = Study(
    {"t1": MR, "flair": MR},
    {"pet": PET},
    dimensions=3,
    neighbours=0,
    guides={"tissue": Domain("SEG", "label", _TISSUES, 0.0)},
)
