"""A study's cases: a table of subjects, prepared on one grid each, packed into one small file.

Training reads only the packed file: without SimpleITK, without the original images, on any machine.
"""

import csv
import json
import lzma
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.chance import ChanceError
from MedGANLogic.domain import HIGHEST_COLOUR, Array, Domain, Labels, Scale
from MedGANLogic.errors import MedGANError
from MedGANLogic.images import Affine, Grid, Image, Orientation, placed, read, without_surroundings
from MedGANLogic.passes import PLANES
from MedGANLogic.study import Study

PARTS = ("train", "validation", "test")

#: What reading a file that is damaged, or no packed cohort at all, raises.
_UNREADABLE = (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, lzma.LZMAError)

#: Voxels kept around the body on every side, so that a network also learns where it ends.
_MARGIN = 4


class CohortError(MedGANError):
    """A table or packed file that cannot be used, said in words."""


@dataclass(frozen=True)
class Row:
    """One line of a cohort's table: a subject, its part, a file for every role it has, and what else is said of it."""

    subject: str
    part: str
    files: Mapping[str, Path]
    said: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One subject on one grid, axes R, A, S: int16 volumes (I, J, K), and where they may be believed.

    Those of colours are (3, I, J, K). A volume's value in its unit is ``stored * slope``. ``valid``: all volumes show
    this place, and agree on whether it is body. ``body``: it is. ``scanned``: the grid of each role's file, axes
    nearest to R, A, S, before it was resampled and cropped; cohorts that were packed before this was kept lack it.
    """

    subject: str
    part: str
    volumes: Mapping[str, NDArray[np.int16]]
    slopes: Mapping[str, float]
    valid: NDArray[np.bool_]
    body: NDArray[np.bool_]
    affine: Affine
    said: Mapping[str, str] = field(default_factory=dict)
    scanned: Mapping[str, Grid] = field(default_factory=dict)

    def in_unit(self, role: str, stored: Array) -> NDArray[np.float32]:
        """Turn stored values of a role into its unit."""
        return stored.astype(np.float32) * np.float32(self.slopes[role])

    def stored(self, role: str, value: float) -> int:
        """Turn a value in a role's unit into what is stored."""
        return round(value / self.slopes[role])

    def scale(self, role: str, domain: Domain) -> Scale:
        """Return the scale of a role's volume between its unit and the network's range."""
        return domain.window.scale(self.in_unit(role, self.volumes[role]))

    def image(self, role: str, domain: Domain) -> Image:
        """Return a role's volume as an image in its unit."""
        values = self.in_unit(role, self.volumes[role])
        return Image(values if domain.window.components > 1 else values[None], self.affine, domain.unit)

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.valid.shape, self.affine)


def said_of(one: Row | Case, study: Study) -> NDArray[np.float32]:
    """Return what is said of a subject, as the vector of the study's condition. Raises CohortError for too little."""
    try:
        return study.condition.of(one.said)
    except ChanceError as error:
        raise CohortError(f"subject {one.subject} ({one.part}): {error}") from error


#: A row of a table, or a case of a packed cohort.
Member = TypeVar("Member", Row, Case)


def read_table(path: Path, roles: Sequence[str], said: Sequence[str] = ()) -> list[Row]:
    """Read a cohort's CSV: columns ``subject``, one per role with a path beside the table, and optionally ``part``.

    A role's cell may be empty, but not those of all roles. ``said`` are columns of words or numbers.

    Without ``part`` the subjects, sorted, are dealt out: of every eight, the 4th and 8th to ``test``, the 2nd to
    ``validation``. Raises CohortError for missing columns or files, a part of another name, a subject in two parts.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"{path} is no table: {error}") from error
    if not lines:
        raise CohortError(f"{path} has no rows")
    if missing := [name for name in ("subject", *roles, *said) if name not in lines[0]]:
        raise CohortError(f"{path} lacks the column {', '.join(missing)}: it has {', '.join(map(str, lines[0]))}")
    dealt = _deal(sorted({line["subject"] for line in lines}))
    rows = []
    for number, line in enumerate(lines, start=2):
        files = {role: path.parent / line[role] for role in roles if line[role]}
        if not files:
            raise CohortError(f"{path}, line {number}: no file for {' or '.join(roles)}")
        for role, file in files.items():
            if not file.exists():
                raise CohortError(f"{path}, line {number}: {role} {str(file)!r} does not exist")
        part = line.get("part") or dealt[line["subject"]]
        if part not in PARTS:
            raise CohortError(f"{path}, line {number}: part {part!r}: expected {', '.join(PARTS)}")
        rows.append(Row(line["subject"], part, files, {name: line[name] for name in said}))
    _refuse_leakage(rows)
    return rows


def fold(members: Sequence[Member], tested: Sequence[str]) -> list[Member]:
    """Return rows or cases with other parts: some subjects are tested, all others train.

    Raises CohortError for a subject that there is not.
    """
    if unknown := set(tested) - {member.subject for member in members}:
        raise CohortError(f"no subject {', '.join(sorted(unknown))} in the cohort")
    return [replace(member, part="test" if member.subject in tested else "train") for member in members]


def roles_of(path: Path) -> list[str]:
    """Return the columns of a cohort's table that are roles, in their order. Raises CohortError for none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header = next(csv.reader(stream), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"{path} is no table: {error}") from error
    roles = [name for name in header if name not in ("subject", "part", "class")]
    if not roles:
        raise CohortError(f"{path} names no role: it needs subject, and a column for every kind of image")
    return roles


def _deal(subjects: Sequence[str]) -> dict[str, str]:
    places = ("train", "validation", "train", "test", "train", "train", "train", "test")
    return {subject: places[index % len(places)] for index, subject in enumerate(subjects)}


def _refuse_leakage(rows: Iterable[Row]) -> None:
    parts: dict[str, str] = {}
    for row in rows:
        if parts.setdefault(row.subject, row.part) != row.part:
            raise CohortError(f"subject {row.subject} stands in {parts[row.subject]} and in {row.part}: choose one")


Place = Callable[[str, Image, Grid], tuple[Image, NDArray[np.bool_]]]


def as_it_lies(image: Image, grid: Grid, domain: Domain) -> tuple[Image, NDArray[np.bool_]]:
    """Return an image on a grid (linear, labels by nearest neighbour), and where the grid lies inside of the image."""
    everywhere = replace(image, voxels=np.ones((1, *image.grid.shape), np.float32))
    known = everywhere.on_grid(grid, outside=0.0).voxels[0] > 0.999
    return placed(image, grid, domain), known


def prepare(row: Row, study: Study, place: Place | None = None) -> Case:
    """Bring one subject's volumes onto one grid: that of the first it has, axes nearest to R, A, S, study's spacing.

    Other volumes are resampled to it (linear), or brought there by ``place``; what is outside of the body is set to
    background in each, as in prediction. Inside of the inputs' body a voxel is valid where every volume has a value
    and all agree that it is body: another field of view or posture teach nothing. Outside of it the targets are
    background as well: where the body ends is what the input shows. The result is cropped to the body.
    """
    images = {role: read(file, study.domains[role].unit) for role, file in row.files.items()}
    for role, image in images.items():
        _refuse_voxels(image, study.domains[role], f"subject {row.subject}: {role}")
    roles = {role: domain for role, domain in study.domains.items() if role in images}
    scanned = {role: Orientation.nearest(images[role].affine).apply_to_grid(images[role].grid) for role in roles}
    grid = scanned[next(iter(roles))]
    if study.spacing_mm:
        grid = grid.with_spacing(study.spacing_mm)
    volumes, bodies = {}, {}
    seen = np.ones(grid.shape, bool)
    for role, domain in roles.items():
        lying, known = place(role, images[role], grid) if place else as_it_lies(images[role], grid, domain)
        seen &= known
        # Where a label is none there is no less body.
        if not isinstance(domain.window, Labels):
            lying, bodies[role] = without_surroundings(lying, domain)
        volumes[role] = lying.values
    if not bodies:
        raise CohortError(f"subject {row.subject} has nothing but labels: {', '.join(roles)}")
    body = np.logical_and.reduce(list(bodies.values()))
    outside = ~np.logical_or.reduce([bodies[role] for role in bodies if role in study.inputs] or list(bodies.values()))
    for role in roles.keys() & study.targets.keys():
        volumes[role] = np.where(outside, np.float32(roles[role].background), volumes[role])
    if not (body & seen).any():
        raise CohortError(f"subject {row.subject}: its volumes share no body: are they of one frame of reference?")
    steps = {role: domain.window.step for role, domain in roles.items()}
    case = _stored(row, volumes, steps, (seen & body) | outside, body, grid, PLANES[study.plane])
    return replace(case, scanned=scanned)


def _counted(values: int) -> str:
    return f"{values} value{'s' if values > 1 else ''}"


def _refuse_voxels(image: Image, domain: Domain, what: str) -> None:
    expected = domain.window.components
    if len(image.voxels) != expected:
        wanted = "colours" if expected == 3 else "one grey value or label"
        raise CohortError(f"{what} has {_counted(len(image.voxels))} per voxel: the study expects {wanted}")
    if not np.isfinite(image.voxels).all():
        raise CohortError(f"{what} must have a finite value in every voxel")
    if expected == 3 and not 0 <= image.voxels.min() <= image.voxels.max() <= HIGHEST_COLOUR:
        raise CohortError(f"{what} has colours beyond 0 to {HIGHEST_COLOUR:g}: save it as a photograph (PNG, TIFF)")
    if isinstance(domain.window, Labels):
        known = {label.value for label in domain.window.labels}
        # What a drawing program calls white: as labels that a study does not know, all of it would be background.
        if set(np.unique(image.voxels)) == {0, 255} and 255 not in known:
            raise CohortError(f"{what} is black and white (0 and 255): give its label the value 255 in the study")


def _stored(
    row: Row,
    volumes: Mapping[str, Array],
    steps: Mapping[str, float | None],
    valid: Array,
    body: Array,
    grid: Grid,
    stack: int,
) -> Case:
    margin = [0 if axis == stack else _MARGIN for axis in range(3)]
    found = [np.flatnonzero((valid & body).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = tuple(slice(max(0, f[0] - m), f[-1] + 1 + m) for f, m in zip(found, margin, strict=True))
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [axis.start for axis in box]
    kept = {role: volume[..., box[0], box[1], box[2]] for role, volume in volumes.items()}
    slopes = {role: steps[role] or _slope(volume, body[box]) for role, volume in kept.items()}
    stored = {role: np.rint(volume / slopes[role]).astype(np.int16) for role, volume in kept.items()}
    return Case(row.subject, row.part, stored, slopes, valid[box], body[box], affine, row.said)


def _slope(volume: Array, body: Array) -> float:
    """Return the step in which a volume is stored: half of its noise's standard deviation.

    Rounding then adds 1 % to the noise and saves a third of the file. The noise is the median difference between
    neighbours in the body (1.4826 · median / √2), which edges hardly move; a volume without any gets the finest step.
    """
    finest = max(float(np.abs(volume).max(initial=0.0)), 1e-6) / 32767
    pairs = np.abs(np.diff(volume, axis=0))[body[1:] & body[:-1]]
    noise = 1.4826 * float(np.median(pairs)) / 2**0.5 if pairs.size else 0.0
    return max(noise / 2, finest)


def pack(rows: Sequence[Row], study: Study, path: Path, made: Callable[[Row, Study], Case] = prepare) -> Iterator[Case]:
    """Prepare every row and write the cohort into one file, yielding each case as it is done.

    The file is a zip of ``.npy`` arrays and a ``cohort.json`` that names subjects, parts and roles; no code, no
    patient data but the voxels. It appears under its name only when it is whole.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    entries: list[dict[str, Any]] = []
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_LZMA) as archive:
            for index, row in enumerate(rows):
                case = made(row, study)
                arrays = {**case.volumes, "valid": case.valid, "body": case.body}
                for name, array in arrays.items():
                    _write_array(archive, f"{index:04d}/{name}.npy", array)
                entries.append(
                    {
                        "subject": case.subject,
                        "part": case.part,
                        "slopes": dict(case.slopes),
                        "affine": case.affine.tolist(),
                        "said": dict(case.said),
                        "scanned": {
                            role: {"shape": list(grid.shape), "affine": grid.affine.tolist()}
                            for role, grid in case.scanned.items()
                        },
                    }
                )
                yield case
            archive.writestr(_entry("cohort.json"), json.dumps({"study": study.to_json(), "cases": entries}, indent=1))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_array(archive: zipfile.ZipFile, name: str, array: Array) -> None:
    # A fixed date: the same cohort gives the same bytes, so that its hash says what a model was trained on.
    with archive.open(_entry(name), "w", force_zip64=True) as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_LZMA
    return entry


def unpack(path: Path) -> list[Case]:
    """Read a packed cohort into memory. Raises CohortError for a file that is no packed cohort or is damaged."""
    with _opened(path) as (archive, description):
        return [_read_case(archive, index, entry) for index, entry in enumerate(description["cases"])]


def packed_study(path: Path) -> Study:
    """Return the study that a packed cohort was prepared for. Raises CohortError as ``unpack`` does."""
    with _opened(path) as (_, description):
        return Study.from_json(description["study"])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    """Open a packed cohort and its description; whatever is wrong with it inside of the block is a CohortError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive, json.loads(archive.read("cohort.json"))
    except _UNREADABLE as error:
        raise CohortError(f"{path} is no packed cohort ({error}): make one with 'medgan cohort pack'") from error


def _read_case(archive: zipfile.ZipFile, index: int, entry: Mapping[str, Any]) -> Case:
    def array(name: str) -> Array:
        with archive.open(f"{index:04d}/{name}.npy") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)

    volumes = {role: array(role) for role in entry["slopes"]}
    return Case(
        entry["subject"],
        entry["part"],
        volumes,
        entry["slopes"],
        array("valid"),
        array("body"),
        np.array(entry["affine"], float),
        entry.get("said", {}),
        {
            role: Grid(tuple(grid["shape"]), np.array(grid["affine"], float))
            for role, grid in entry.get("scanned", {}).items()
        },
    )
