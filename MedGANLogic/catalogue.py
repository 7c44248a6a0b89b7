"""What models there are: a card for each, read without torch in milliseconds.

A card is a bundle's ``configs/medgan.json``: data only, and all that is ever read of a bundle besides its weights.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MedGANLogic.chance import Chance
from MedGANLogic.degradation import Consistent
from MedGANLogic.domain import Domain, Labels
from MedGANLogic.errors import MedGANError
from MedGANLogic.finishing import Finish
from MedGANLogic.passes import PLANES, Pass, Step, along_axes

CARD = Path("configs", "medgan.json")
MANIFEST = "manifest.json"
RESEARCH_USE = "Research use only. Not a medical device."

#: SHA-256 of the manifests of the models that are shipped: a manifest shows damage, this list shows forgery.
SHIPPED: Mapping[str, str] = {
    "ct-to-pet-limb": "847b9db2785137e91f8d573d7e2372272f62045a8b46d92cba050c672d3af199",
    "denoise-ct": "ec5262dac7fe5164ddacdd2e3242c81fb29fddcbf74dddde666026f5dc042845",
    "finer-ct": "47e5cc6cc1f11e633b6150e3320c77b8e01643f96695302536eb7a94cd1cefe9",
    "finer-mr-brain": "e43eb0b18ca627d6b69688a64d183359e115246bb8cd1bc0fbd772ae52178b71",
    "hippocampus": "b9c5c98c44912548893bc988dceaccf480ef213d9ba2f7295bab7b56655a9662",
    "mr-to-ct-limb": "fe73ceb188bae8a47e842fd49f4dbe437cdf35a85abcf6f201f57688b89a75f0",
    "mr-to-pet-limb": "a23c85798ce9074e810f5453855cef005175a78ea52cf6a4024befba30030624",
    "retinal-vessels": "3d67cf41830b35d53d7e674534d856a6fb746443a3bec3bffc765fae50daf09c",
    "sarcoma-pet-ct": "322e21d5c07f858cab5ad890b77451ef2a8afc97075d56fcef3ea7327959071e",
}

#: Folders, separated as in PATH, in which further bundles are looked for.
BUNDLES_VARIABLE = "MEDGAN_BUNDLES"

_LARGEST_CARD = 1 << 20


class BundleError(MedGANError):
    """A bundle that is refused, with the reason in words."""


@dataclass(frozen=True)
class NetworkCard:
    """A network by its exact class and whole-number arguments."""

    kind: str
    arguments: Mapping[str, int]


@dataclass(frozen=True)
class Card:
    """All that a bundle says of itself. ``measured`` and ``training`` are shown, never acted on.

    ``finer``: how many times more voxels the result has along R, A and S than the input, in the same box.
    ``strength``: the target is the first input, only better, and so much of the change (0 to 1) is applied unless the
    user says otherwise; None where that has no sense. ``chance``: what a model without input begins with, by name:
    vectors, or volumes with their slices first. ``finish``: steps on the label maps that it makes.
    """

    name: str
    title: str
    task: str
    inputs: Mapping[str, Domain]
    targets: Mapping[str, Domain]
    spacing_mm: tuple[float, float, float] | None
    plane: str
    networks: Mapping[str, NetworkCard]
    passes: tuple[Step, ...]
    validity: Mapping[str, Any]
    training: Mapping[str, Any]
    departures: tuple[str, ...]
    measured: Mapping[str, Any]
    licence: str
    finer: tuple[int, int, int] = (1, 1, 1)
    strength: float | None = None
    chance: Mapping[str, Chance] = field(default_factory=dict)
    finish: tuple[Finish, ...] = ()

    @property
    def domains(self) -> dict[str, Domain]:
        """All roles, inputs first."""
        return {**self.inputs, **self.targets}

    @property
    def optional_inputs(self) -> tuple[str, ...]:
        """Inputs that need not be given: label maps beside an image, which are background everywhere without one."""
        return tuple(role for role, of in list(self.inputs.items())[1:] if isinstance(of.window, Labels))

    def to_json(self) -> dict[str, Any]:
        """Return the plain data of ``configs/medgan.json``."""
        return {
            "format": 1,
            "name": self.name,
            "title": self.title,
            "task": self.task,
            "use": RESEARCH_USE,
            "inputs": {role: domain.to_json() for role, domain in self.inputs.items()},
            "targets": {role: domain.to_json() for role, domain in self.targets.items()},
            "spacing_mm": self.spacing_mm and list(self.spacing_mm),
            "plane": self.plane,
            "networks": {
                name: {"class": network.kind, "arguments": dict(network.arguments)}
                for name, network in self.networks.items()
            },
            "passes": [one.to_json() for one in self.passes],
            "validity": dict(self.validity),
            "training": dict(self.training),
            "departures": list(self.departures),
            "measured": dict(self.measured),
            "licence": self.licence,
            "finer": list(self.finer),
            "strength": self.strength,
            "chance": {name: chance.to_json() for name, chance in self.chance.items()},
            "finish": [one.to_json() for one in self.finish],
        }

    @staticmethod
    def from_json(data: Any) -> "Card":
        """Make a card from plain data. Raises BundleError for anything that does not fit, before anything is built."""
        try:
            card = Card(
                name=_text(data["name"]),
                title=_text(data["title"]),
                task=_text(data["task"]),
                inputs={_text(role): Domain.from_json(domain) for role, domain in data["inputs"].items()},
                targets={_text(role): Domain.from_json(domain) for role, domain in data["targets"].items()},
                spacing_mm=_spacing(data["spacing_mm"]),
                plane=_one_of(data["plane"], PLANES),
                networks={_text(name): _network(network) for name, network in data["networks"].items()},
                passes=tuple(_step(one) for one in data["passes"]),
                validity=_validity(data["validity"]),
                training=_training(data["training"]),
                departures=tuple(_text(departure) for departure in data["departures"]),
                measured=_mapping(data["measured"]),
                licence=_text(data["licence"]),
                finer=_three(data.get("finer", (1, 1, 1)), 16),
                strength=_share(data.get("strength")),
                chance={_text(name): Chance.from_json(of) for name, of in data.get("chance", {}).items()},
                finish=tuple(Finish.from_json(one) for one in data.get("finish", ())),
            )
            _one_of(data["format"], (1,))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BundleError(f"{CARD.as_posix()} is not a model's card: {type(error).__name__} {error}") from error
        card._refuse_loose_ends()
        return card

    def _refuse_loose_ends(self) -> None:
        """Refuse passes that read what is not there yet or overwrite an input, and targets that none writes."""
        shown = {name for role, domain in self.inputs.items() for name in domain.window.input_volumes(role)}
        given, written = shown | self.chance.keys(), set[str]()
        if not given or (self.inputs and self.chance):
            raise BundleError(f"{CARD.as_posix()}: a model begins with inputs or with chance")
        for one in self.passes:
            if not set(one.networks) <= self.networks.keys() or not set(one.reads) <= given | written:
                needs = ", ".join((*one.networks, *one.reads))
                raise BundleError(f"{CARD.as_posix()}: a pass needs {needs}: not there")
            if overwritten := given & set(one.writes):
                raise BundleError(f"{CARD.as_posix()}: a pass overwrites the input {', '.join(overwritten)}")
            written |= set(one.writes)
        self._refuse_another_grid()
        expected = {name for role, domain in self.targets.items() for name in domain.window.volumes(role)}
        if not expected or not expected <= written:
            raise BundleError(
                f"{CARD.as_posix()}: no pass writes {', '.join(sorted(expected - written)) or 'anything'}"
            )
        if self.finish and not any(isinstance(domain.window, Labels) for domain in self.targets.values()):
            raise BundleError(f"{CARD.as_posix()}: a finishing step needs a label map")
        units = [{domain.unit for domain in domains.values()} for domains in (self.inputs, self.targets)]
        if self.strength is not None and (units[0] != units[1] or len(units[0]) != 1):
            raise BundleError(f"{CARD.as_posix()}: a strength needs input and target of one unit")

    def _refuse_another_grid(self) -> None:
        """Refuse passes that magnify otherwise than the card says."""
        through = PLANES[self.plane]
        wanted = [self.finer[through], *(times for axis, times in enumerate(self.finer) if axis != through)]
        for one in self.passes:
            if isinstance(one, Pass):
                own = list(one.times)
                own.insert(one.axis, own.pop(0))
            elif isinstance(one, Consistent):
                own = list(along_axes(one.way.finer, one.dimensions))
            else:
                continue
            if own not in ([1, 1, 1], wanted):
                raise BundleError(
                    f"{CARD.as_posix()}: a pass is {own} times finer, slices first, and the card says {wanted}"
                )


@dataclass(frozen=True)
class Model:
    """A bundle that was found: its card, its folder, and the SHA-256 of its manifest."""

    card: Card
    folder: Path
    sha256: str

    @property
    def is_shipped(self) -> bool:
        """Whether it lies where MedGAN's own models do."""
        return self.folder.resolve().parent == resource("Bundles").resolve()


def resource(relative: str) -> Path:
    """Return a file or folder of ``Resources``, in a checkout, an installed Slicer extension and a wheel alike."""
    package = Path(__file__).resolve().parent
    for root in (package / "Resources", package.parent / "Resources"):
        if root.is_dir():
            return root / relative
    raise FileNotFoundError(f"no Resources folder in or beside {package}: install MedGAN again")


def models() -> list[Model]:
    """Return all models: those shipped, then those in the folders of ``MEDGAN_BUNDLES``; each name once.

    One that is refused is left out with a warning: a broken bundle must not take the others away.
    """
    folders = [resource("Bundles"), *map(Path, filter(None, os.environ.get(BUNDLES_VARIABLE, "").split(os.pathsep)))]
    found: dict[str, Model] = {}
    for folder in folders:
        for card in sorted(folder.glob(f"*/{CARD.as_posix()}")):
            try:
                model = read(card.parent.parent)
            except BundleError as error:
                warnings.warn(f"a model is left out: {error}", stacklevel=2)
            else:
                found.setdefault(model.card.name, model)
    return list(found.values())


def find(name_or_path: str) -> Model:
    """Return a model by its name or its folder. Raises BundleError for none, saying which there are."""
    known = {model.card.name: model for model in models()}
    if name_or_path in known:
        return known[name_or_path]
    if Path(name_or_path).is_dir():
        return read(Path(name_or_path))
    raise BundleError(f"no model {name_or_path!r}: there are {', '.join(known) or 'none'}, or give a bundle's folder")


def read(folder: Path) -> Model:
    """Read a bundle's card without touching its weights. Raises BundleError where there is none or it is refused."""
    model = Model(Card.from_json(read_json(folder / CARD)), folder, sha256(folder / MANIFEST))
    name = model.card.name
    if model.is_shipped and SHIPPED.get(name, model.sha256) != model.sha256:
        raise BundleError(f"{folder} is not the {name} that was shipped: install MedGAN again")
    return model


def read_json(path: Path) -> Any:
    """Read JSON of a bundle. Raises BundleError for links, oversized files, no JSON, and ``$``: MONAI would run it."""
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{path} is missing or a link")
    if path.stat().st_size > _LARGEST_CARD:
        raise BundleError(f"{path} is larger than {_LARGEST_CARD} bytes")
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
    # A number of thousands of digits is a plain ValueError.
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is no JSON: {error}") from error
    # Decoded first: "\u0024" is a $ as well.
    if "$" in json.dumps(data, ensure_ascii=False):
        raise BundleError(f"{path} holds a '$', which MONAI would run as code")
    return data


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file. Raises BundleError where there is none."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > 2000:
        raise ValueError(f"expected a text, found {value!r}")
    return value


def _whole(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"expected a whole number from {low} to {high}, found {value!r}")
    return value


def _one_of(value: Any, allowed: Any) -> Any:
    if value not in allowed:
        raise ValueError(f"expected one of {', '.join(map(str, allowed))}, found {value!r}")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected a table, found {value!r}")
    return value


def _validity(value: Any) -> Mapping[str, Any]:
    """Return what ``check`` acts on, in the shape in which it expects it."""
    for name in _mapping(value).get("anatomy", []):
        _text(name)
    for limits in (value.get("spacing_mm", []), value.get("extent_mm", []), *value.get("contrast", {}).values()):
        for low, high in limits:
            float(low), float(high)
    return dict(value)


def _training(value: Any) -> Mapping[str, Any]:
    _mapping(_mapping(value).get("subjects", {}))
    return dict(value)


def _spacing(value: Any) -> tuple[float, float, float] | None:
    if value is None:
        return None
    x, y, z = (float(length) for length in value)
    if not all(0.01 <= length <= 100 for length in (x, y, z)):
        raise ValueError(f"expected a spacing of three lengths from .01 to 100 mm, found {value!r}")
    return x, y, z


def _three(value: Any, high: int) -> tuple[int, int, int]:
    x, y, z = (_whole(number, 1, high) for number in value)
    return x, y, z


def _share(value: Any) -> float | None:
    if value is None:
        return None
    if not 0 <= float(value) <= 1:
        raise ValueError(f"expected a share from 0 to 1, found {value!r}")
    return float(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError(f"expected names, found {value!r}")
    return tuple(_text(name) for name in value)


def _network(data: Any) -> NetworkCard:
    arguments = {_text(name): _whole(value, 0, 4096) for name, value in _mapping(data["arguments"]).items()}
    return NetworkCard(_text(data["class"]), arguments)


def _step(data: Any) -> Step:
    for name in ("reads", "writes"):
        _names(data[name])
    # A step of the first bundles does not say its kind: there was one.
    return Step.from_json(data, kind=Pass.__name__)
