"""Where batches come from. Batch n is a pure function of (seed, n): that gives exact resume on any machine."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from MedGANLogic.chance import Chance
from MedGANLogic.cohort import Case, CohortError, said_of
from MedGANLogic.domain import Array, Colours, PercentileWindow
from MedGANLogic.passes import slices_first
from MedGANLogic.study import Study

#: How much a voxel of air counts beside one of the body: it is easy, and nothing is measured there.
AIR_WEIGHT = 0.1

#: Voxels between the points at which a warp is drawn, and how it is made smooth between them.
_POINTS_EVERY = 8
_SMOOTH = {2: "bicubic", 3: "trilinear"}


@dataclass(frozen=True)
class Augmentation:
    """Chances taken with a patch: mirrored along the axes that its study allows; quarter turns in plane; contrast.

    ``contrast`` is the standard deviation of the logarithm of a gamma and of a gain, the same for all colours of a
    photograph; a volume with a fixed unit (HU, SUV) keeps its values, because there a value means something. ``bent``
    is the share of patches that are turned by any angle and stretched along either axis of the slice by up to
    ``stretch`` (a share); it interpolates, so the others stay as they are. ``narrowed`` is the share of patches that
    show only a part, at least four tenths of each edge, as if the field of view ended there: what a network knows of
    bone from its surroundings must not be all.
    ``noise``: where a study says that its target is its first input, only better (``strength``), what stands between
    the two is multiplied by a factor drawn from this range, as likely to halve as to double: a simulated dose stands
    for higher and lower ones too, whose noise is the same, only less or more. ``recorrupted``: where a study has its
    target ``again`` (the same image with as much further noise as it has itself), that noise times a factor drawn from
    this range is added to the input, and divided by it taken from the target. Input and target then share nothing but
    the image, and a network learns to take away the target's own noise, too. ``warped`` is the share of patches that
    are turned, sheared and stretched by a random linear map (deviations of its entries: ``skew``) and then displaced
    smoothly, by ``warp`` voxels (standard deviation) at points 8 voxels apart; it interpolates along every axis.
    """

    mirrored: bool = True
    quarter_turns: bool = True
    contrast: float = 0.1
    bent: float = 0.0
    stretch: float = 0.12
    narrowed: float = 0.0
    noise: tuple[float, float] = (1.0, 1.0)
    recorrupted: tuple[float, float] | None = None
    warped: float = 0.0
    warp: float = 1.5
    skew: float = 0.1


class Pool:
    """The cases of one part of a cohort, as a feed reads them: slices first, with the scale of each volume.

    ``prepared`` holds volumes that were predicted beforehand, in the network's range, by case and name, ``degraded``
    those that are made of others, in their unit, by case and role: one for every way in which they may be made.
    """

    def __init__(self, study: Study, cases: Sequence[Case]) -> None:
        if not cases:
            raise CohortError("no subject to learn from: give some the part 'train' in the table")
        self.study = study
        self.cases = cases
        self.conditions = [said_of(case, study) for case in cases]
        self.volumes = [
            {role: slices_first(volume, study.plane) for role, volume in case.volumes.items() if role in study.domains}
            for case in cases
        ]
        self.weights = [
            slices_first(case.valid * np.where(case.body, 1, AIR_WEIGHT).astype(np.float32), study.plane)
            for case in cases
        ]
        self.scales = [
            {role: case.scale(role, study.domains[role]) for role in volumes}
            for case, volumes in zip(cases, self.volumes, strict=True)
        ]
        self.prepared: list[dict[str, NDArray[np.float32]]] = [{} for _ in cases]
        self.degraded = [
            {role: self._degraded(case, role) for role, made in study.made.items() if made.degraded} for case in cases
        ]
        # Where patches are centred: inside the body, where the image is. Flat indices, four bytes each.
        self.centres: list[NDArray[np.uint32]] = [
            np.flatnonzero(slices_first(case.valid & case.body, study.plane)).astype(np.uint32) for case in cases
        ]
        for case, centres in zip(cases, self.centres, strict=True):
            if not centres.size:
                raise CohortError(f"subject {case.subject} has no voxel in the body where all its volumes agree")

    def _degraded(self, case: Case, role: str) -> list[NDArray[np.float32]]:
        """Return a role's whole volume as every way makes it; none where the case lacks what it is made of."""
        source = self.study.source(role)
        if source not in case.volumes:
            return []
        fine = slices_first(case.in_unit(source, case.volumes[source]), self.study.plane)
        return [way.apply(fine, self.study.dimensions) for way in self.study.made[role].degraded]

    def having(self, roles: Iterable[str], lacking: Iterable[str] = ()) -> list[int]:
        """Return the places of the cases that have all of some roles and none of others.

        A role that is made of another counts as that. Raises CohortError where there is none.
        """
        needed = {self.study.source(role) for role in roles}
        unwanted = set(lacking)
        found = [
            place
            for place, volumes in enumerate(self.volumes)
            if needed <= volumes.keys() and not unwanted & volumes.keys()
        ]
        if not found:
            without = f" and no {', '.join(sorted(unwanted))}" if unwanted else ""
            part = self.cases[0].part
            raise CohortError(
                f"no subject of part {part!r} has {', '.join(sorted(needed))}{without}: fill in the table"
            )
        return found


def blank(study: Study, prepared: Iterable[str] = ()) -> Pool:
    """Return a pool of subjects that show nothing: of what is drawn from it only the shapes mean something.

    One has all roles, and volumes that stand for those that were ``prepared``; another one has the inputs alone.
    """
    said = {name: str(low) for name, (low, _) in study.attributes.items()}
    said |= {"class": study.classes[0]} if study.classes else {}
    held = [{study.source(role) for role in roles} for roles in (study.domains, study.inputs) if roles]
    point, everywhere = (1, 1, 1), np.ones((1, 1, 1), bool)
    counts = {role: domain.window.components for role, domain in study.domains.items()}
    dark = {role: np.zeros((count, *point) if count > 1 else point, np.int16) for role, count in counts.items()}
    cases = [
        Case("", "train", {role: dark[role] for role in roles}, dict.fromkeys(roles, 1.0), everywhere, everywhere,
             np.eye(4), said)
        for roles in held
    ]  # fmt: skip
    pool = Pool(study, cases)
    for volumes in pool.prepared:
        volumes.update(dict.fromkeys(prepared, np.zeros(point, np.float32)))
    return pool


class Source(Protocol):
    """Where some tensors of a batch come from."""

    @property
    def needs(self) -> str:
        """What it needs of a cohort, in words; nothing for what is drawn."""

    def among(self, pool: Pool) -> Sequence[int]:
        """Return the places of the cases that it draws from. Raises CohortError for a pool without."""

    def draw(self, pool: Pool, rng: np.random.Generator) -> Mapping[str, Array]:
        """Return one item's arrays by name; all chance comes from ``rng``."""


@dataclass(frozen=True, init=False)
class Feed:
    """How a recipe draws a batch: so many items, each from all sources, which know nothing of one another."""

    batch: int
    sources: tuple[Source, ...]

    def __init__(self, batch: int, *sources: Source) -> None:
        object.__setattr__(self, "batch", batch)
        object.__setattr__(self, "sources", sources)

    def draw(self, pool: Pool, seeds: Sequence[int], number: int, item: int) -> dict[str, Array]:
        """Return one item of batch ``number``; it follows from (seeds, number, item) alone."""
        drawn: dict[str, Array] = {}
        for place, source in enumerate(self.sources):
            drawn.update(source.draw(pool, np.random.default_rng([*seeds, number, item, place])))
        return drawn


@dataclass(frozen=True)
class Pair:
    """Aligned patches: ``input``, ``target`` and ``weight``, each (channels, *patch); every subject as often.

    The target's patch is ``patch`` large, the input's as much smaller as the study's targets are finer. ``also`` names
    volumes that were predicted beforehand, which come with their neighbouring slices, as inputs do. Slices are stacked
    along any of the first ``views`` of a volume's axes, slices first, each as often: 1 for those of the study's plane
    alone. Where the study has guides: ``guide``, their channels; where the table describes subjects: ``condition`` as
    well.
    """

    patch: tuple[int, ...]
    augmentation: Augmentation = field(default_factory=Augmentation)
    also: tuple[str, ...] = ()
    views: int = 1

    @property
    def needs(self) -> str:
        return "aligned pairs"

    def among(self, pool: Pool) -> Sequence[int]:
        return pool.having(pool.study.domains)

    def draw(self, pool: Pool, rng: np.random.Generator) -> Mapping[str, Array]:
        study = pool.study
        cut = _Cut(pool, self.among(pool), self.patch, self.augmentation, rng, self.views)
        stack = {"input": cut.channels(study.inputs), "target": cut.channels(study.targets), "weight": cut.weight()}
        stack |= {name: cut.predicted(name) for name in self.also}
        stack |= {"guide": cut.channels(study.guides)} if study.guides else {}
        return {**cut.chance.narrowed(cut.chance.warped(cut.chance.bent(cut.flat(stack)))), **cut.said()}


@dataclass(frozen=True)
class Images:
    """Patches of some roles under one name, (channels, *patch / shrunk), from subjects that have them.

    From such alone as lack the roles ``lacking``. ``shrunk``: edges are so many times shorter, by averaging. Where
    the table describes subjects: ``condition`` as well.
    """

    name: str
    roles: Iterable[str]
    patch: tuple[int, ...]
    augmentation: Augmentation = field(default_factory=Augmentation)
    lacking: Iterable[str] = ()
    shrunk: int = 1

    @property
    def needs(self) -> str:
        without = f" without {', '.join(self.lacking)}" if list(self.lacking) else ""
        return f"images ({', '.join(self.roles)}){without}"

    def among(self, pool: Pool) -> Sequence[int]:
        return pool.having(self.roles, self.lacking)

    def draw(self, pool: Pool, rng: np.random.Generator) -> Mapping[str, Array]:
        cut = _Cut(pool, self.among(pool), self.patch, self.augmentation, rng)
        images = cut.chance.warped(cut.chance.bent(cut.flat({self.name: cut.channels(self.roles)})))[self.name]
        return {self.name: _shrunk(images, self.shrunk), **cut.said()}


@dataclass(frozen=True)
class Drawn:
    """Noise, or whatever a game begins with, under one name."""

    name: str
    chance: Chance

    @property
    def needs(self) -> str:
        return ""

    def among(self, pool: Pool) -> Sequence[int]:
        return range(len(pool.cases))

    def draw(self, pool: Pool, rng: np.random.Generator) -> Mapping[str, Array]:  # noqa: ARG002 - it reads no image
        return {self.name: self.chance.draw(rng)}


def _shrunk(images: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    if factor == 1:
        return images
    split = [number for length in images.shape[1:] for number in (length // factor, factor)]
    averaged = tuple(range(2, 2 + len(split), 2))
    return np.asarray(images.reshape(images.shape[0], *split).mean(axis=averaged), np.float32)


class _Cut:
    """One place of one case, and one draw of the augmentation there."""

    def __init__(
        self,
        pool: Pool,
        among: Sequence[int],
        patch: tuple[int, ...],
        augmentation: Augmentation,
        rng: np.random.Generator,
        views: int = 1,
    ) -> None:
        self.pool, self.study = pool, pool.study
        self.index = among[int(rng.integers(len(among)))]
        shape, centres = pool.weights[self.index].shape, pool.centres[self.index]
        centre = np.unravel_index(int(centres[rng.integers(len(centres))]), shape)
        self.axis = int(rng.integers(views))
        seen = [self.axis, *(axis for axis in range(3) if axis != self.axis)]
        self.patch = patch if self.study.dimensions == 3 else (1, *patch)
        self.factors = [self.study.factors[axis] for axis in seen]
        places = zip(seen, self.patch, self.factors, strict=True)
        # A patch begins where a voxel of the coarser volumes does.
        self.start = [_start(int(centre[axis]), size, shape[axis]) // by * by for axis, size, by in places]
        # Where the slice's axes are not alike, turned by a quarter they would be other ones.
        turn = 1 if self.factors[1] == self.factors[2] else 2
        self.chance = _Chance(rng, augmentation, map(seen.index, self.study.mirrored_axes), turn)
        # Which of the ways in which roles may be made, alike for all of them.
        several = max((len(made.degraded) for made in self.study.made.values()), default=0)
        self.way = int(rng.integers(several)) if several > 1 else 0

    def channels(self, roles: Iterable[str]) -> NDArray[np.float32]:
        """Return the patch of some roles as channels; inputs with their neighbouring slices."""
        return np.concatenate(
            [
                self._one(role, offset)
                for role in roles
                for offset in (self._offsets() if role in self.study.inputs else (0,))
            ]
        )

    def _offsets(self) -> list[int]:
        return sorted(self.study.whole_volume("", 1).offsets, reverse=self.chance.stack_turned)

    def _one(self, role: str, offset: int) -> NDArray[np.float32]:
        source = self.study.source(role)
        domain, scale = self.study.domains[source], self.pool.scales[self.index][source]
        values = self._renoised(role, offset, self._values(role, offset))
        show = domain.window.shown_as_input if role in self.study.inputs else domain.window.shown
        return self.chance.shaded(role, self.study, show(values, scale))

    def _renoised(self, role: str, offset: int, values: Array) -> Array:
        """Return the values of an input that is improved, or of its target, with other noise."""
        improved, target, again = self.study.improved, next(iter(self.study.targets)), self.study.again
        factor = self.chance.recorrupted if again else None
        # Nothing further is cut where nothing changes.
        if improved is None or role not in (improved, target) or (self.chance.noise == 1 and not factor):
            return values
        wanted = values if role == target else self._values(target, offset)
        if role == improved and self.chance.noise != 1:
            values = wanted + self.chance.noise * (values - wanted)
        if again and factor:
            # n is the target's own noise and z as strong: n + fz and n - z/f have nothing in common, whatever f
            # (recorrupted-to-recorrupted: Pang et al., CVPR 2021 [paper?]).
            further = self._values(again, offset) - wanted
            values = values + factor * further if role == improved else values - further / factor
        return values

    def _values(self, role: str, offset: int) -> Array:
        case, source = self.pool.cases[self.index], self.study.source(role)
        background = self.study.domains[source].background
        if ways := self.pool.degraded[self.index].get(role):
            seen = np.moveaxis(ways[self.way % len(ways)], self.axis - 3, -3)
            start, size = ([n // by for n, by in zip(of, self.factors, strict=True)] for of in (self.start, self.patch))
            return self.chance.placed(_window(seen, start, size, offset, background))
        return case.in_unit(
            source, self._window(self.pool.volumes[self.index][source], offset, case.stored(source, background))
        )

    def weight(self) -> NDArray[np.float32]:
        """Return how much each voxel counts, as one channel."""
        return self._window(self.pool.weights[self.index], 0, 0)[None]

    def predicted(self, name: str) -> NDArray[np.float32]:
        """Return the patch of a volume that was predicted beforehand, and of its neighbouring slices, as channels."""
        return np.stack([self._window(self.pool.prepared[self.index][name], offset, -1) for offset in self._offsets()])

    def said(self) -> dict[str, Array]:
        """Return what the table says of the case, where a study asks for it."""
        condition = self.pool.conditions[self.index]
        return {"condition": condition} if condition.size else {}

    def flat(self, stack: Mapping[str, Array]) -> dict[str, NDArray[np.float32]]:
        """Return contiguous patches, in 2D without the axis of slices."""
        flat = {name: volume[:, 0] for name, volume in stack.items()} if self.study.dimensions == 2 else stack
        return {name: np.ascontiguousarray(volume) for name, volume in flat.items()}

    def _window(self, volume: Array, offset: int, outside: float) -> Array:
        """Cut a patch whose slices are shifted; beyond the first and last slice that slice is repeated."""
        seen = np.moveaxis(volume, self.axis - 3, -3)
        return self.chance.placed(_window(seen, self.start, self.patch, offset, outside))


def _between(rng: np.random.Generator, limits: tuple[float, float]) -> np.float32:
    """Draw a factor, as likely to halve as to double."""
    return np.float32(np.exp(rng.uniform(*np.log(limits))))


class _Chance:
    """One draw of an augmentation, the same for all volumes of a patch.

    ``axes`` are those along which it may be mirrored; a turn is made of ``turn`` quarters.
    """

    def __init__(self, rng: np.random.Generator, augmentation: Augmentation, axes: Iterable[int], turn: int) -> None:
        mirrors = rng.random(3) < 0.5
        self.mirrored = [axis for axis in axes if augmentation.mirrored and mirrors[axis]]
        # In 2D a patch is one slice thick: mirroring along the slice axis is a matter of its neighbours' order.
        self.stack_turned = 0 in self.mirrored
        self.turns = turn * int(rng.integers(4)) if augmentation.quarter_turns else 0
        self.is_bent = bool(rng.random() < augmentation.bent)
        self.angle = float(rng.uniform(-np.pi / 4, np.pi / 4))
        self.stretches = np.exp(rng.uniform(-augmentation.stretch, augmentation.stretch, 2)).tolist()
        self.is_narrowed = bool(rng.random() < augmentation.narrowed)
        self.view = [((1 - edge) * place, edge) for edge, place in rng.uniform([0.4, 0], [1, 1], (2, 2))]
        self.gamma, self.gain = (float(factor) for factor in np.exp(rng.normal(0.0, augmentation.contrast, 2)))
        self.noise = _between(rng, augmentation.noise)
        self.recorrupted = _between(rng, augmentation.recorrupted) if augmentation.recorrupted else None
        self.is_warped = bool(rng.random() < augmentation.warped)
        self.warp, self.skew, self.rng = augmentation.warp, augmentation.skew, rng

    def placed(self, patch: Array) -> Array:
        return np.rot90(np.flip(patch, tuple(axis - 3 for axis in self.mirrored)), self.turns, axes=(-2, -1))

    def bent(self, stack: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Turn and stretch all volumes of a patch in the plane of the slice, about its centre."""
        if not self.is_bent:
            return stack
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        map_ = torch.tensor([[[cosine, -sine, 0], [sine, cosine, 0]]], dtype=torch.float32)
        map_[:, :, :2] *= torch.tensor(self.stretches, dtype=torch.float32)
        bent = {}
        for name, volume in stack.items():
            plane = torch.from_numpy(volume).reshape(1, -1, *volume.shape[-2:])
            grid = affine_grid(map_, list(plane.shape), align_corners=False)
            bent[name] = _moved(name, plane, grid).reshape(volume.shape).numpy()
        return bent

    def warped(self, stack: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Warp all volumes of a patch, (channels, *patch), along all its axes; outside of it nothing counts.

        Displacements are drawn at points 8 voxels apart (elastic deformation: arXiv:1505.04597, §3.1).
        """
        if not self.is_warped:
            return stack
        size = next(iter(stack.values())).shape[1:]
        map_ = np.eye(len(size), len(size) + 1) + self.skew * self.rng.normal(size=(len(size), len(size) + 1))
        map_[:, -1] = 0
        drawn = self.rng.normal(0.0, self.warp, (len(size), *(-(-length // _POINTS_EVERY) + 1 for length in size)))
        # Axes stand last first in a grid, whose patch is 2 wide.
        voxel = 2 / torch.tensor(size[::-1], dtype=torch.float32)
        smooth = interpolate(
            torch.from_numpy(drawn).float()[None], list(size), mode=_SMOOTH[len(size)], align_corners=True
        )
        grid = affine_grid(torch.from_numpy(map_).float()[None], [1, 1, *size], align_corners=False)
        grid = grid + smooth.movedim(1, -1) * voxel
        return {name: _moved(name, torch.from_numpy(volume)[None], grid)[0].numpy() for name, volume in stack.items()}

    def narrowed(self, stack: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Leave only a part of the patch, the rest of the input at the low end of the range, and of no weight."""
        if not self.is_narrowed:
            return stack
        rows, columns = (
            slice(round(begin * length), round((begin + edge) * length))
            for (begin, edge), length in zip(self.view, stack["weight"].shape[-2:], strict=True)
        )
        shown = np.zeros(stack["weight"].shape[-2:], bool)
        shown[rows, columns] = True
        narrowed = {"input": np.where(shown, stack["input"], np.float32(-1)), "weight": stack["weight"] * shown}
        return {**stack, **narrowed}

    def shaded(self, role: str, study: Study, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        if role in study.inputs and isinstance(study.domains[role].window, PercentileWindow | Colours):
            scaled = np.clip(((scaled + 1) / 2) ** np.float32(self.gamma) * np.float32(2 * self.gain) - 1, -1, 1)
        return scaled


def _moved(name: str, volume: Tensor, grid: Tensor) -> Tensor:
    """Sample a patch at a grid; outside of it nothing is known: its edge is repeated, and counts for nothing."""
    padding = "zeros" if name == "weight" else "border"
    return grid_sample(volume, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _start(centre: int, size: int, length: int) -> int:
    """Return where a patch begins: around its centre, inside the volume; a patch that is larger begins before it."""
    if size >= length:
        return (length - size) // 2
    return int(np.clip(centre - size // 2, 0, length - size))


def _window(volume: Array, start: Sequence[int], size: Sequence[int], offset: int, outside: float) -> Array:
    slices, rows, columns = (range(s, s + n) for s, n in zip(start, size, strict=True))
    count = volume.shape[-3]
    stack = np.clip(np.array(slices) + offset, 0, count - 1) if len(slices) == 1 else np.array(slices)
    patch = np.full((*volume.shape[:-3], len(slices), len(rows), len(columns)), outside, volume.dtype)
    inside = [
        slice(max(0, -axis.start), len(axis) - max(0, axis.stop - length))
        for axis, length in zip((rows, columns), volume.shape[-2:], strict=True)
    ]
    taken = [slice(max(0, axis.start), axis.stop) for axis in (rows, columns)]
    for place, index in enumerate(stack):
        if 0 <= index < count:
            patch[..., place, inside[0], inside[1]] = volume[..., index, taken[0], taken[1]]
    return patch


class Batches(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Batch n for a torch loader with any number of workers: one process's share of it where several train.

    Raises CohortError for a pool that lacks what a source draws from.
    """

    def __init__(self, feed: Feed, pool: Pool, seeds: Sequence[int], share: range | None = None) -> None:
        self.feed, self.pool, self.seeds = feed, pool, seeds
        self.items = range(feed.batch) if share is None else share
        for source in feed.sources:
            source.among(pool)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        drawn = [self.feed.draw(self.pool, self.seeds, number, item) for item in self.items]
        return {name: torch.from_numpy(np.stack([one[name] for one in drawn])) for name in drawn[0]}
