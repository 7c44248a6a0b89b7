"""Where batches come from. Batch n is a pure function of (seed, n): that gives exact resume on any machine."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from MedGANLogic.cohort import Case, CohortError
from MedGANLogic.domain import Array, PercentileWindow, Scale
from MedGANLogic.passes import slices_first
from MedGANLogic.study import Study

#: How much a voxel of air counts beside one of the body: it is easy, and nothing is measured there.
AIR_WEIGHT = 0.1


@dataclass(frozen=True)
class Augmentation:
    """Chances taken with a patch: mirror along each axis, quarter turns in plane, contrast of unit-less inputs.

    ``contrast`` is the standard deviation of the logarithm of a gamma and of a gain; a volume with a fixed unit (HU,
    SUV) keeps its values, because there a value means something. ``bent`` is the share of patches that are turned by
    any angle and stretched along either axis of the slice by up to ``stretch`` (a share); it interpolates, so the
    others stay as they are. ``narrowed`` is the share of patches that show only a part, at least four tenths of each
    edge, as if the field of view ended there: what a network knows of bone from its surroundings must not be all.
    """

    mirror: bool = True
    quarter_turns: bool = True
    contrast: float = 0.1
    bent: float = 0.0
    stretch: float = 0.12
    narrowed: float = 0.0


class Pool:
    """The cases of one part of a cohort, as a feed reads them: slices first, with the scale of each volume."""

    def __init__(self, study: Study, cases: Sequence[Case]) -> None:
        if not cases:
            raise CohortError("no subject to learn from: give some the part 'train' in the table")
        self.study = study
        self.cases = cases
        self.volumes = [
            {role: slices_first(case.volumes[role], study.plane) for role in study.domains} for case in cases
        ]
        self.weights = [
            slices_first(case.valid * np.where(case.body, 1, AIR_WEIGHT).astype(np.float32), study.plane)
            for case in cases
        ]
        self.scales = [{role: case.scale(role, domain) for role, domain in study.domains.items()} for case in cases]
        # Where patches are centred: inside the body, where the image is. Flat indices, four bytes each.
        self.centres: list[NDArray[np.uint32]] = [
            np.flatnonzero(slices_first(case.valid & case.body, study.plane)).astype(np.uint32) for case in cases
        ]
        for case, centres in zip(cases, self.centres, strict=True):
            if not centres.size:
                raise CohortError(f"subject {case.subject} has no voxel in the body where all its volumes agree")


class Feed(Protocol):
    """How a recipe draws a batch."""

    def draw(self, pool: Pool, rng: np.random.Generator) -> dict[str, Array]:
        """Return a batch of arrays in the network's range; all chance comes from ``rng``."""


@dataclass(frozen=True)
class PairedPatches:
    """Aligned patches: ``input``, ``target`` and ``weight``, each (B, channels, *patch), every subject as often."""

    batch: int
    patch: tuple[int, ...]
    augmentation: Augmentation = field(default_factory=Augmentation)

    def draw(self, pool: Pool, rng: np.random.Generator) -> dict[str, Array]:
        drawn = [self._one(pool, rng) for _ in range(self.batch)]
        return {name: np.stack([patch[name] for patch in drawn]) for name in ("input", "target", "weight")}

    def _one(self, pool: Pool, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        study = pool.study
        index = int(rng.integers(len(pool.cases)))
        weight = pool.weights[index]
        centre = np.unravel_index(int(pool.centres[index][rng.integers(len(pool.centres[index]))]), weight.shape)
        patch = self.patch if study.dimensions == 3 else (1, *self.patch)
        start = [_start(int(c), size, length) for c, size, length in zip(centre, patch, weight.shape, strict=True)]
        chance = _Chance(rng, self.augmentation)

        def cut(volume: Array, offset: int, outside: float) -> Array:
            """Cut a patch whose slices are shifted; beyond the first and last slice that slice is repeated."""
            return chance.placed(_window(volume, start, patch, offset, outside))

        def channel(role: str, offset: int) -> NDArray[np.float32]:
            scale, case = pool.scales[index][role], pool.cases[index]
            background = case.stored(role, study.domains[role].background)
            cutting = cut(pool.volumes[index][role], offset, background)
            return chance.shaded(role, study, scale, case.in_unit(role, cutting))

        offsets = sorted(study.whole_volume("", 1).offsets, reverse=chance.stack_turned)
        stack = {
            "input": np.stack([channel(role, offset) for role in study.inputs for offset in offsets]),
            "target": np.stack([channel(role, 0) for role in study.targets]),
            "weight": cut(weight, 0, 0)[None],
        }
        if study.dimensions == 2:
            stack = {name: volume[:, 0] for name, volume in stack.items()}
        return chance.narrowed(chance.bent({name: np.ascontiguousarray(volume) for name, volume in stack.items()}))


class _Chance:
    """One draw of an augmentation, the same for all volumes of a patch."""

    def __init__(self, rng: np.random.Generator, augmentation: Augmentation) -> None:
        mirrors = rng.random(3) < 0.5
        self.mirrored = [axis for axis in range(3) if augmentation.mirror and mirrors[axis]]
        # In 2D a patch is one slice thick: mirroring along the slice axis is a matter of its neighbours' order.
        self.stack_turned = 0 in self.mirrored
        self.turns = int(rng.integers(4)) if augmentation.quarter_turns else 0
        self.is_bent = bool(rng.random() < augmentation.bent)
        self.angle = float(rng.uniform(-np.pi / 4, np.pi / 4))
        self.stretches = np.exp(rng.uniform(-augmentation.stretch, augmentation.stretch, 2)).tolist()
        self.is_narrowed = bool(rng.random() < augmentation.narrowed)
        self.view = [((1 - edge) * place, edge) for edge, place in rng.uniform([0.4, 0], [1, 1], (2, 2))]
        self.gamma, self.gain = (float(factor) for factor in np.exp(rng.normal(0.0, augmentation.contrast, 2)))

    def placed(self, patch: Array) -> Array:
        return np.rot90(np.flip(patch, tuple(self.mirrored)), self.turns, axes=(1, 2))

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
            # Outside of the patch nothing is known: the edge is repeated, and counts for nothing.
            padding = "zeros" if name == "weight" else "border"
            moved = grid_sample(plane, grid, mode="bilinear", padding_mode=padding, align_corners=False)
            bent[name] = moved.reshape(volume.shape).numpy()
        return bent

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

    def shaded(self, role: str, study: Study, scale: Scale, values: Array) -> NDArray[np.float32]:
        scaled = scale.to_network(values)
        if role in study.inputs and isinstance(study.domains[role].window, PercentileWindow):
            scaled = np.clip(((scaled + 1) / 2) ** np.float32(self.gamma) * np.float32(2 * self.gain) - 1, -1, 1)
        return scaled


def _start(centre: int, size: int, length: int) -> int:
    """Return where a patch begins: around its centre, inside the volume; a patch that is larger begins before it."""
    if size >= length:
        return (length - size) // 2
    return int(np.clip(centre - size // 2, 0, length - size))


def _window(volume: Array, start: Sequence[int], size: Sequence[int], offset: int, outside: float) -> Array:
    slices, rows, columns = (range(s, s + n) for s, n in zip(start, size, strict=True))
    stack = np.clip(np.array(slices) + offset, 0, volume.shape[0] - 1) if len(slices) == 1 else np.array(slices)
    patch = np.full((len(slices), len(rows), len(columns)), outside, volume.dtype)
    inside = [
        slice(max(0, -axis.start), len(axis) - max(0, axis.stop - length))
        for axis, length in zip((rows, columns), volume.shape[1:], strict=True)
    ]
    taken = [slice(max(0, axis.start), axis.stop) for axis in (rows, columns)]
    for place, index in enumerate(stack):
        if 0 <= index < volume.shape[0]:
            patch[place, inside[0], inside[1]] = volume[index, taken[0], taken[1]]
    return patch


class Batches(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Batch n for a torch loader with any number of workers."""

    def __init__(self, feed: Feed, pool: Pool, seed: int) -> None:
        self.feed, self.pool, self.seed = feed, pool, seed

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        drawn = self.feed.draw(self.pool, np.random.default_rng([self.seed, number]))
        return {name: torch.from_numpy(array) for name, array in drawn.items()}
