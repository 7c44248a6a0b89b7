"""The main job: an image in, its translation out, on the input's grid, in the output's unit."""

import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from MedGANLogic import __version__, dicom
from MedGANLogic.bundle import Bundle, open_bundle
from MedGANLogic.catalogue import RESEARCH_USE, Card, Model, find
from MedGANLogic.chance import refuse_unknown
from MedGANLogic.check import Finding, absent, check, gathered, refuse
from MedGANLogic.degradation import Degraded
from MedGANLogic.domain import Domain, Label, Labels, Scale, Window
from MedGANLogic.finishing import finish
from MedGANLogic.images import (
    Grid,
    Image,
    ImageError,
    Orientation,
    fingerprint,
    placed,
    read,
    read_as_said,
    refuse_format,
    suffix_of,
    without_surroundings,
    write,
)
from MedGANLogic.inference.devices import choose_device
from MedGANLogic.inference.predict import Progress, predict, silent
from MedGANLogic.passes import Draw, Pass, Volume, slices_back, slices_first

#: A result, and what each finishing step changed of it.
_Finished = tuple[Image, list[dict[str, Any]]]


@dataclass(frozen=True)
class Translation:
    """A translated image and everything that is worth knowing about how it came to be (plain data).

    ``further`` holds the results of a model's targets after the first, by role. ``probabilities()`` returns, of a label
    map, how likely each label is in every voxel, from 0 to 1 on the same grid, by the label's name: the softmax of the
    scores that the map follows from, before anything was finished. It is worked out when it is asked for, and empty of
    all else.
    """

    image: Image
    provenance: Mapping[str, Any]
    further: Mapping[str, "Translation"] = field(default_factory=dict)
    probabilities: Callable[[], Mapping[str, "Translation"]] = dict


def translate(
    bundle: Bundle,
    images: Image | Mapping[str, Image],
    device: str = "auto",
    mask: Image | None = None,
    strength: float | None = None,
    force: bool = False,
    progress: Progress = silent,
    memory_bytes: float | None = None,
    held_to: Degraded | None = None,
) -> Translation:
    """Translate an image: same grid (or the card's finer one over the same box), the target's unit.

    A model with several inputs takes them by role; those after the first are resampled onto its grid. A label map among
    those may be left out: it is background then, and a warning says so. Outside of ``mask`` (any grid; resampled by
    nearest neighbour) the result is the target's background. ``strength`` (0 to 1) is the share of the change that is
    applied, where the card has one. ``held_to`` is the scanner that a finer image is to agree with (``way_like``): the
    result is then the nearest to the network's answer that this scanner would see as the input. Findings of ``check``
    that are errors raise RefusedError before any work, unless they may be forced and are; warnings go into the
    provenance. ``progress`` is called between windows and may raise to cancel. Raises ImageError for inputs that are
    not the model's, or lie beside each other, for a mask that misses the image, and for a strength or a scanner that
    has no sense; MemoryShortError when not even the smallest window fits.
    """
    card, chosen = bundle.card, choose_device(device)
    given = _by_role(card, images)
    applied = strength_of(card, strength)
    _refuse_scanner(card, held_to)
    findings = _findings(card, given)
    refuse(findings, force)
    first, *others = given.values()
    given |= {role: _nothing(card.inputs[role], first.grid) for role in card.optional_inputs if role not in given}
    for image in others:
        _refuse_beside(image, first)
    orientation = Orientation.nearest(first.affine)
    wanted = first.grid.finer(orientation.undo_order(card.finer))
    shown = None if mask is None else _inside(mask, wanted)
    began = time.monotonic()

    upright = orientation.apply_to_grid(wanted)
    seen, made = _grids(card, orientation.apply_to_grid(first.grid), upright)
    volumes: dict[str, Volume] = {}
    scales: dict[str, Scale] = {}
    for name, image in given.items():
        read_as, scales[name] = to_network(name, prepare(image, seen, card.inputs[name]), card.inputs[name], card.plane)
        volumes |= read_as
    prediction = predict(card.passes, bundle.networks, volumes, chosen, progress, memory_bytes)
    if card.strength is not None:
        # What is improved is the image itself: only what the network changes of what it saw is added to it, so that
        # surroundings, and what a window cuts off (metal), stay as they are.
        role, domain = next(iter(card.inputs.items()))
        before = _upright(first, upright, domain).voxels
        shown_before = from_network(volumes, role, domain, seen, card.plane, upright, scales[role]).voxels

    def restored(role: str, target: Domain) -> _Finished:
        # What has no unit keeps the brightness of the image that it was made from.
        scale = next((scales[name] for name, domain in card.inputs.items() if domain == target), None)
        result = from_network(prediction.volumes, role, target, made, card.plane, upright, scale)
        if card.strength is not None:
            result = replace(result, voxels=before + np.float32(applied) * (result.voxels - shown_before))
        result = result.without_orientation(orientation, wanted)
        if held_to is not None:
            result = held_to.held(result, first, 3, "axial")
        # The contract of the product, checked on every run: the promised grid, a value for every voxel.
        if not result.grid.matches(wanted) or not np.isfinite(result.voxels).all():
            raise RuntimeError("the result is not on the promised grid or not finite: please report this")
        result, changed = _finished(result, target, card)
        if shown is not None:
            result = replace(result, voxels=np.where(shown, result.voxels, result.voxels.dtype.type(target.background)))
        return result, changed

    def likely(done: Translation) -> dict[str, Translation]:
        role = done.provenance["target"]
        window = card.targets[role].window
        if not isinstance(window, Labels):
            return {}
        scores = _lying(prediction.volumes, role, window, made, card.plane, upright, outside=0.0)
        shares = window.probabilities(scores.without_orientation(orientation, wanted).voxels)
        inside = shares if shown is None else np.where(shown, shares, np.float32(0))
        return {
            label.name: _probability(done, label, Image(share[None], wanted.affine, "none"))
            for label, share in zip(window.labels, inside, strict=True)
        }

    results = {role: restored(role, target) for role, target in card.targets.items()}
    said = {
        "findings": [finding.to_json() for finding in findings],
        "input_unit": first.unit,
        "strength": applied,
        "held_to": held_to and str(held_to),
    }
    every = _synthetic(bundle.model, results, prediction.account, time.monotonic() - began, said)
    further = {role: replace(one, probabilities=partial(likely, one)) for role, one in every.further.items()}
    return replace(every, further=further, probabilities=partial(likely, every))


def _grids(card: Card, coarse: Grid, fine: Grid) -> tuple[Grid, Grid]:
    """Return the grid on which a model's networks see its inputs, and that of what they write.

    A network that magnifies is shown the image as it is; one that does not, on the finer grid.
    """
    magnifies = any(isinstance(one, Pass) and max(one.times) > 1 for one in card.passes)
    seen = coarse if magnifies else fine
    seen = seen.with_spacing(card.spacing_mm) if card.spacing_mm else seen
    return seen, seen.finer(card.finer) if magnifies else seen


def sample(
    bundle: Bundle,
    seed: int,
    count: int = 1,
    choices: Mapping[str, str] | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> list[Translation]:
    """Draw images from a model that has no input; the same seed gives the same images on the same machine.

    Slices are stacked into one volume, volumes stand by themselves; the n-th does not depend on how many are drawn.
    ``choices`` fixes what a model lets its user choose (a class, a code). The grid has the model's spacing (1 mm where
    it has none) about the origin. Raises ImageError for a model that has inputs, ChanceError for a choice that is not
    offered.
    """
    card, chosen = bundle.card, choose_device(device)
    if card.inputs:
        raise ImageError(f"{card.name} translates {', '.join(card.inputs)}: give it an image")
    if count < 1:
        raise ImageError(f"{count} images: expected one or more")
    picked = dict(choices or {})
    refuse_unknown(card.chance, picked)
    stacks = _stacks(card, count)

    def drawn(stack: range, done: int) -> Translation:
        began = time.monotonic()
        begun = _chances(card, seed, stack, picked)
        prediction = predict(
            card.passes,
            bundle.networks,
            begun,
            chosen,
            lambda now, all_: progress(done * all_ + now, all_ * len(stacks)),
        )
        shape = slices_back(next(iter(prediction.volumes.values())), card.plane).shape
        affine = np.diag([*(card.spacing_mm or (1.0, 1.0, 1.0)), 1.0])
        affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
        grid = Grid(shape, affine)
        made = {
            role: _finished(from_network(prediction.volumes, role, target, grid, card.plane, grid), target, card)
            for role, target in card.targets.items()
        }
        said = {"seed": seed, "drawn": list(stack), "choices": picked}
        return _synthetic(bundle.model, made, prediction.account, time.monotonic() - began, said)

    return [drawn(stack, done) for done, stack in enumerate(stacks)]


def _stacks(card: Card, count: int) -> list[range]:
    """Return which of so many images make up each volume: all of them where they are slices, else one."""
    if any(isinstance(one, Draw) and one.dimensions == 2 for one in card.passes):
        return [range(count)]
    return [range(number, number + 1) for number in range(count)]


def _chances(card: Card, seed: int, stack: range, choices: Mapping[str, str]) -> dict[str, Volume]:
    """Return what a model begins with: vectors (n, length) by name, or one volume where it is as large as that."""
    drawn: dict[str, Volume] = {}
    for place, (name, chance) in enumerate(card.chance.items()):
        each = [chance.chosen(chance.draw(np.random.default_rng([seed, n, place])), choices) for n in stack]
        drawn[name] = np.stack(each) if each[0].ndim == 1 else each[0]
    return drawn


def _by_role(card: Card, images: Image | Mapping[str, Image]) -> dict[str, Image]:
    """Return the images that are given by role in the card's order, the first one's first."""
    given = images if isinstance(images, Mapping) else dict.fromkeys(list(card.inputs)[:1], images)
    needed = card.inputs.keys() - set(card.optional_inputs)
    if not card.inputs or not needed <= given.keys() <= card.inputs.keys():
        raise ImageError(
            f"{card.name} reads {', '.join(card.inputs) or 'no image'}: found {', '.join(given) or 'none'}"
        )
    return {role: given[role] for role in card.inputs if role in given}


def _nothing(domain: Domain, grid: Grid) -> Image:
    """Return an image of background."""
    return Image(np.full((1, *grid.shape), domain.background, np.float32), grid.affine, domain.unit)


def strength_of(card: Card, strength: float | None) -> float:
    """Return how much of the change is applied. Raises ImageError for a strength that has no sense for the model."""
    if strength is None:
        return 1.0 if card.strength is None else card.strength
    if card.strength is None or not 0 <= strength <= 1:
        raise ImageError(f"strength {strength:g}: {card.name} takes {'none' if card.strength is None else '0 to 1'}")
    return strength


def _refuse_scanner(card: Card, held_to: Degraded | None) -> None:
    """Raise ImageError for a scanner whose grid is not as much coarser as the model's result is finer, in its unit."""
    if held_to is None:
        return
    x, y, z = card.finer
    if held_to.finer != (z, x, y):
        raise ImageError(
            f"{card.name} makes images {x}×{y}×{z} times finer (left-right, front-back, head-foot): they cannot be "
            f"held to {held_to}"
        )
    unit = next(iter(card.inputs.values())).unit
    if any(target.unit != unit for target in card.targets.values()):
        raise ImageError(f"{card.name} makes images of another unit: they cannot be held to {held_to}")


def _findings(card: Card, images: Mapping[str, Image]) -> list[Finding]:
    """Return what ``check`` finds about every input, the gravest first."""
    return gathered({role: check(card, role, image) for role, image in images.items()} | absent(card, images))


def _refuse_beside(image: Image, first: Image) -> None:
    everywhere = Image(np.ones((1, *image.grid.shape), np.uint8), image.affine, "label")
    if not everywhere.on_grid(first.grid, outside=0.0, nearest=True).voxels.any():
        raise ImageError("the images show different places: are they of one patient and frame of reference?")


def prepare(image: Image, grid: Grid, domain: Domain) -> Image:
    """Bring an image onto a grid in R, A, S order, its surroundings and NaN set to background; labels have no
    surroundings."""
    upright = _upright(image, grid, domain)
    return upright if isinstance(domain.window, Labels) else without_surroundings(upright, domain)[0]


def _upright(image: Image, grid: Grid, domain: Domain) -> Image:
    """Bring an image onto a grid in R, A, S order, NaN set to background."""
    finite = np.where(np.isfinite(image.voxels), image.voxels, domain.background)
    upright = replace(image, voxels=finite).with_orientation(Orientation.nearest(image.affine))
    return placed(upright, grid, domain)


def to_network(role: str, image: Image, domain: Domain, plane: str) -> tuple[dict[str, Volume], Scale]:
    """Return a prepared image's volumes by name in the network's range, slices first, and the scale that did it."""
    scale = domain.window.scale(image.voxels)
    shown = domain.window.shown_as_input(slices_first(image.values, plane), scale)
    return dict(zip(domain.window.input_volumes(role), shown, strict=True)), scale


def from_network(
    volumes: Mapping[str, Volume],
    role: str,
    domain: Domain,
    grid: Grid,
    plane: str,
    wanted: Grid,
    scale: Scale | None = None,
) -> Image:
    """Return what was predicted for a target on ``grid`` as an image in its unit on the ``wanted`` grid.

    Scores are interpolated before the highest wins, so that labels get smooth edges. Without a scale a domain that
    has no fixed window (MR) runs from 0 to 1.
    """
    chosen = scale or domain.window.scale(np.zeros(1, np.float32))
    outside = float(chosen.to_network(np.array(domain.background)))
    lying = _lying(volumes, role, domain.window, grid, plane, wanted, outside)
    return Image(domain.window.answer(lying.voxels, chosen), wanted.affine, domain.unit)


def _finished(image: Image, target: Domain, card: Card) -> _Finished:
    """Take the card's steps on what is a label map; return it and what each of them changed."""
    if not isinstance(target.window, Labels):
        return image, []
    values, changed = finish(image.voxels[0], target.window, card.finish)
    return replace(image, voxels=values[None]), changed


def _lying(
    volumes: Mapping[str, Volume], role: str, window: Window, grid: Grid, plane: str, wanted: Grid, outside: float
) -> Image:
    """Bring what networks wrote for a target from their grid to the wanted one: (volumes, I, J, K) in their range."""
    written = np.stack([slices_back(volumes[name], plane) for name in window.volumes(role)])
    return Image(written, grid.affine, "none").on_grid(wanted, outside)


@dataclass(frozen=True)
class Request:
    """Files to translate, and how: what a result follows from, besides the model.

    ``input`` is a file or DICOM folder, ``others`` the files of a model's further inputs by role. ``probabilities``
    asks for one further volume per label; ``held_to`` is the scanner that a finer image is held to.
    """

    input: str
    others: Mapping[str, str] = field(default_factory=dict)
    mask: str | None = None
    input_unit: str | None = None
    strength: float | None = None
    force: bool = False
    probabilities: bool = False
    held_to: Degraded | None = None

    @property
    def files(self) -> list[Path]:
        """All that is read."""
        return [Path(path) for path in (self.input, *self.others.values(), self.mask) if path]

    def fingerprint(self, bundle: Bundle) -> dict[str, Any]:
        """Return plain data that is the same for another request only if the result is."""
        return {
            "model_sha256": bundle.model.sha256,
            "input_sha256": fingerprint(Path(self.input)),
            "others_sha256": {role: fingerprint(Path(path)) for role, path in self.others.items()},
            "mask_sha256": fingerprint(Path(self.mask)) if self.mask else None,
            "input_unit": self.input_unit,
            "strength": self.strength,
            "force": self.force,
            "probabilities": self.probabilities,
            "held_to": self.held_to and self.held_to.to_json(),
        }


def translate_file(
    bundle: str | Bundle,
    input_path: str | Request,
    output_path: str,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Translate a file or DICOM folder into a file; return the provenance, also written beside it as JSON.

    ``bundle`` is a model's name, a bundle's folder, or an opened bundle. Beside ``ct.nii.gz`` stands
    ``ct.nii.gz.medgan.json``; targets after the first stand in ``ct-ROLE.nii.gz``, and what is said of them under
    ``further``. So are probabilities, where they are asked for: ``OUT-probability-NAME.nii.gz``, beside a PNG a TIFF. A
    file appears only when it is whole, the first one when all others are there. Raises ImageError where a name cannot
    hold a result, before any work, and what ``read``, ``translate`` and ``write`` raise.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(find(bundle))
    request = input_path if isinstance(input_path, Request) else Request(str(input_path))
    output = Path(output_path)
    (places,) = _places(output, suffix_of(output), opened.card)
    beside = _beside(places, opened.card) if request.probabilities else {}
    for place in (*places, *itertools.chain(*beside.values())):
        refuse_place(place, request.files)
    images = _read(opened, request)
    first = next(iter(images.values()))
    for place, target in zip(places, opened.card.targets.values(), strict=True):
        refuse_format(place, target.unit, target.window.components, first.grid)
    done = _translated(opened, images, request, device, progress)
    results = dict(zip(places, (done, *done.further.values()), strict=True))
    for place, likely in beside.items():
        results |= dict(zip(likely, results[place].probabilities().values(), strict=True))
    return write_all(results, _said(opened, request), lambda result, place: write(result.image, place))


def translate_series(
    bundle: Bundle, request: Request, output_path: str, device: str = "auto", progress: Progress = silent
) -> dict[str, Any]:
    """Translate a DICOM series into a new folder with another, of the same study; return the provenance.

    Beside the folder stands ``FOLDER.medgan.json``; targets after the first become a series each, in ``FOLDER-ROLE``.
    Raises DicomError for a source that is no such series and for a folder that may not be written to, before any work,
    and what ``translate`` and ``dicom.write`` raise.
    """
    if request.probabilities:
        raise ImageError("a DICOM series holds no probabilities: ask for them with a file as output")
    output, source = Path(output_path), dicom.open_series(request.input)
    (places,) = _places(output, "", bundle.card)
    for place in places:
        dicom.refuse_place(place, source)
    done = _translated(bundle, _read(bundle, request), request, device, progress)
    results = dict(zip(places, (done, *done.further.values()), strict=True))

    def save(result: Translation, place: Path) -> None:
        dicom.write(result.image, bundle.card.targets[result.provenance["target"]], bundle.model, source, place)

    return write_all(results, _said(bundle, request), save)


def _said(bundle: Bundle, request: Request) -> dict[str, Any]:
    return {"input": request.input, "asked": request.fingerprint(bundle)}


def _places(output: Path, suffix: str, card: Card, volumes: int = 1) -> list[list[Path]]:
    """Return where each target of each volume stands: OUT, OUT-ROLE, …, OUT-1, OUT-1-ROLE, …

    Raises ImageError for a role that can be no part of a file's name.
    """
    stem = output.name[: len(output.name) - len(suffix)]
    for role in card.targets:
        if not re.fullmatch(r"[\w .+-]+", role):
            raise ImageError(f"target {role!r} of {card.name} can be no part of a file's name")
    roles = ["", *(f"-{role}" for role in list(card.targets)[1:])]
    numbers = ["", *(f"-{number}" for number in range(1, volumes))]
    return [[output.with_name(f"{stem}{number}{role}{suffix}") for role in roles] for number in numbers]


def _beside(places: Sequence[Path], card: Card) -> dict[Path, list[Path]]:
    """Return where the probabilities of each label map's labels stand. Raises ImageError for a model that makes none.

    What can be no part of a file's name becomes a dash. PNG holds no values between 0 and 1: beside it stand TIFF.
    """
    beside = {}
    for place, target in zip(places, card.targets.values(), strict=True):
        if isinstance(target.window, Labels):
            suffix = suffix_of(place)
            stem, kind = place.name[: len(place.name) - len(suffix)], ".tif" if suffix == ".png" else suffix
            names = [re.sub(r"[^\w+-]+", "-", label.name) for label in target.window.labels]
            if len(set(names)) < len(names):
                names = [f"{label.value}-{name}" for label, name in zip(target.window.labels, names, strict=True)]
            beside[place] = [place.with_name(f"{stem}-probability-{name}{kind}") for name in names]
    if not beside:
        raise ImageError(f"{card.name} makes no label map: there are no probabilities of labels")
    return beside


def write_all(
    results: Mapping[Path, Translation], said: Mapping[str, Any], save: Callable[[Translation, Path], None]
) -> dict[str, Any]:
    """Write results, each with its account beside it, the first one last; return its account.

    It holds those of the others: where it stands, all do.
    """
    first, *others = results
    accounts = {place: {**done.provenance, **said, "output": str(place)} for place, done in results.items()}
    if others:
        accounts[first]["further"] = [accounts[place] for place in others]
    for place in (*others, first):
        with _account(place, accounts[place]):
            save(results[place], place)
    return accounts[first]


def _read(bundle: Bundle, request: Request) -> dict[str, Image]:
    """Read the images that a request names, by role."""
    inputs = bundle.card.inputs
    first, unknown = next(iter(inputs), ""), request.others.keys() - set(list(inputs)[1:])
    if unknown or not first:
        found = ", ".join(sorted(unknown)) or request.input
        raise ImageError(f"{bundle.card.name} reads {', '.join(inputs) or 'no image'}: found {found}")
    said, expected = request.input_unit, inputs[first].unit
    images = {first: read_as_said(request.input, said) if said else read(request.input, expected)}
    if (found := images[first].unit) != expected:
        raise ImageError(f"--input-unit {said} gives {found}, {bundle.card.name} reads {expected}")
    return images | {role: read(path, inputs[role].unit) for role, path in request.others.items()}


def _translated(
    bundle: Bundle, images: Mapping[str, Image], request: Request, device: str, progress: Progress
) -> Translation:
    mask = read(request.mask, "label") if request.mask else None
    return translate(bundle, images, device, mask, request.strength, request.force, progress, held_to=request.held_to)


def sample_file(
    bundle: Bundle,
    output_path: str,
    seed: int,
    count: int = 1,
    choices: Mapping[str, str] | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Draw images from a model without input into a file; return the provenance, also written beside it.

    Volumes after the first, and targets after the first, stand beside it as ``OUT-1.nii.gz``, ``OUT-ROLE.nii.gz`` and
    ``OUT-1-ROLE.nii.gz``; what is said of them stands under ``further``.
    """
    output = Path(output_path)
    places = _places(output, suffix_of(output), bundle.card, len(_stacks(bundle.card, count)))
    for place in itertools.chain(*places):
        refuse_place(place, [])
    drawn = sample(bundle, seed, count, choices, device, progress)
    results = {
        place: result
        for of_volume, done in zip(places, drawn, strict=True)
        for place, result in zip(of_volume, (done, *done.further.values()), strict=True)
    }
    return write_all(results, {}, lambda result, place: write(result.image, place))


@contextmanager
def _account(output: Path, provenance: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Write the provenance beside what the block writes; it appears only when that is whole."""
    sidecar = sidecar_of(output)
    partial = sidecar.with_name(f".{sidecar.name}.partial-{os.getpid()}")
    try:
        partial.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
        yield provenance
        partial.replace(sidecar)
    except OSError as error:
        raise ImageError(f"{output} could not be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def finished(output: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the provenance of an output that is there, all of it, and followed from the same request; else None."""
    try:
        said = json.loads(sidecar_of(output).read_text(encoding="utf-8"))
        names = [output.name, *(Path(further["output"]).name for further in said.get("further", ()))]
        there = all(output.with_name(name).exists() for name in names)
        return dict(said) if there and said["asked"] == request else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sidecar_of(output: Path) -> Path:
    """Return where a result's provenance stands: beside ``ct.nii.gz``, ``ct.nii.gz.medgan.json``."""
    return output.with_name(output.name + ".medgan.json")


def refuse_place(output: Path, sources: Sequence[Path]) -> None:
    """Refuse, before any work, an output that cannot be written, or that would overwrite what is read."""
    suffix_of(output)
    if not output.parent.is_dir():
        raise ImageError(f"the folder {output.parent} does not exist")
    if not os.access(output.parent, os.W_OK):
        raise ImageError(f"the folder {output.parent} may not be written to: choose another one")
    if output.is_dir():
        raise ImageError(f"{output} is a folder: give a file's name")
    # By file, not by name: "CT.nii" and "ct.nii" are one on Windows and macOS.
    if output.exists() and any(source.exists() and output.samefile(source) for source in sources):
        raise ImageError(f"{output} is the input or its mask: user data are never overwritten")


def _inside(mask: Image, grid: Grid) -> Any:
    inside = mask.on_grid(grid, outside=0.0, nearest=True).voxels[0] > 0
    if not inside.any():
        raise ImageError("the mask has no voxel inside the image: are both of the same patient and frame of reference?")
    return inside


def _synthetic(
    model: Model,
    results: Mapping[str, _Finished],
    account: tuple[str, ...],
    seconds: float,
    said: Mapping[str, Any],
) -> Translation:
    """Say of results that they are synthetic, in their headers and in the account of how they came to be."""
    marked = {
        role: _marked(model, role, result, account, seconds, {**said, "finish": changed})
        for role, (result, changed) in results.items()
    }
    first, *others = marked
    return replace(marked[first], further={role: marked[role] for role in others})


def _probability(done: Translation, label: Label, share: Image) -> Translation:
    """Say of a label's probability what it is, and that it is synthetic."""
    notes = f"SYNTHETIC probability of {label.name} by MedGAN {done.provenance['model']}, research use only"
    said = {"label": label.name, "value": label.value, "unit": share.unit, "finish": []}
    return Translation(replace(share, facts={"notes": notes}), {**done.provenance, **said})


def _marked(
    model: Model, role: str, result: Image, account: tuple[str, ...], seconds: float, said: Mapping[str, Any]
) -> Translation:
    target = model.card.targets[role]
    notes = f"SYNTHETIC {target.modality} ({target.unit}) by MedGAN {model.card.name}, research use only"
    provenance = {
        "synthetic": True,
        "use": RESEARCH_USE,
        "model": model.card.name,
        "model_sha256": model.sha256,
        "target": role,
        "medgan": __version__,
        "torch": torch.__version__,
        "unit": result.unit,
        "shape": list(result.grid.shape),
        "spacing_mm": list(result.grid.spacing_mm),
        "affine_ras_mm": result.affine.tolist(),
        **said,
        "passes": list(account),
        "seconds": round(seconds, 2),
    }
    return Translation(replace(result, facts={"modality": target.modality, "notes": notes}), provenance)
