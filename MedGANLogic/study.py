"""The user's side of training: what is translated to what, on which grid, from which seed. No torch."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from MedGANLogic.domain import DOMAINS, Domain
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
class Study:
    """The user's side: what is translated to what, on which grid, from which seed.

    ``inputs`` and ``targets`` map a role (a column of the cohort's table) to its domain. ``dimensions`` is 2 or 3;
    with 2, a network reads ``neighbours`` slices on either side of its own (2.5D where there are any). ``spacing_mm``
    is None for each case's own spacing. ``changes`` replaces numbers of the recipe's ``Settings``.
    ``about`` says in words what a model's card will show: ``title``, ``anatomy``, ``data``, ``licence``, ….
    """

    inputs: Mapping[str, Domain]
    targets: Mapping[str, Domain]
    dimensions: int = 2
    neighbours: int = 1
    spacing_mm: tuple[float, float, float] | None = None
    plane: str = "axial"
    seed: int = 0
    changes: Mapping[str, float] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def domains(self) -> dict[str, Domain]:
        """All roles, inputs first."""
        return {**self.inputs, **self.targets}

    @property
    def out_channels(self) -> int:
        """Channels that a network writes."""
        return len(self.whole_volume("", 1).writes)

    def whole_volume(self, network: str, multiple: int) -> Pass:
        """Return the pass that reads all inputs and writes all targets."""
        writes = tuple(name for role, domain in self.targets.items() for name in domain.window.volumes(role))
        return Pass(network, tuple(self.inputs), writes, self.dimensions, self.neighbours, multiple)

    @property
    def in_channels(self) -> int:
        """Channels that a network reads: every input with its neighbouring slices."""
        return self.whole_volume("", 1).channels

    def patch_shape(self, size: int) -> tuple[int, ...]:
        """Shape of a patch of the given edge in this study's number of dimensions."""
        return (size,) * self.dimensions

    def adapted(self, published: Settings) -> Settings:
        """Return the paper's settings with this study's changes. Raises StudyError for a name that is no setting."""
        numbers = asdict(published)
        for name, value in self.changes.items():
            if name not in numbers:
                raise StudyError(f"{name!r} is no setting of a recipe: there are {', '.join(numbers)}")
            numbers[name] = type(numbers[name])(value)
        return Settings(**numbers)

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
            "changes": dict(self.changes),
            "about": dict(self.about),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Study":
        """Make a study from plain data.

        ``inputs`` and ``targets`` are either lists of roles with a default domain (``mr``, ``ct``, ``pet``) or tables
        of role → domain. Everything else may be left out. Raises StudyError for what is unknown or missing.
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
                changes=dict(data.get("changes", {})),
                about=dict(data.get("about", {})),
            )
        except KeyError as error:
            raise StudyError(f"a study needs {error}") from error
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


_PLAIN_FIELDS: Mapping[str, type] = {"dimensions": int, "neighbours": int, "plane": str, "seed": int}


def _roles(data: Any) -> dict[str, Domain]:
    if isinstance(data, Mapping):
        return {str(role): Domain.from_json(domain) for role, domain in data.items()}
    for role in data:
        if role not in DOMAINS:
            raise StudyError(f"role {role!r} has no default domain: name it {', '.join(DOMAINS)} or give its domain")
    return {role: DOMAINS[role] for role in data}
