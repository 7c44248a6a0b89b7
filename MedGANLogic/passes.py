"""What a model does with volumes, step by step: networks over the whole volume, and voxel-wise functions. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.domain import Array
from MedGANLogic.plain import Plain

#: The voxel axis, in R, A, S order, along which a plane's slices are stacked.
PLANES: Mapping[str, int] = {"sagittal": 0, "coronal": 1, "axial": 2}

Volume = NDArray[np.float32]

#: How many voxels stand for one: along every axis that a network sees, or through the slices, down and across them.
Factors = int | tuple[int, int, int]


def along_axes(factors: Factors, dimensions: int) -> tuple[int, int, int]:
    """Return factors through the slices, down and across them; with 2 dimensions none is meant through them.

    Raises ValueError for one below 1 or above 16, and for one through the slices where a network sees slices alone.
    """
    whole = (1 if dimensions == 2 else factors, factors, factors) if isinstance(factors, int) else factors
    if not all(1 <= factor <= 16 for factor in whole):
        raise ValueError(f"{list(whole)} times finer: expected 1 to 16 along each axis")
    if dimensions == 2 and whole[0] != 1:
        raise ValueError(
            f"{whole[0]} times more slices: a network of 2 dimensions makes none (choose 3, or another plane)"
        )
    return whole


def slices_first(voxels: Array, plane: str) -> Array:
    """View (…, I, J, K) voxels in R, A, S order with the slice axis of a plane in front of the other two."""
    return np.moveaxis(voxels, PLANES[plane] - 3, -3)


def slices_back(voxels: Array, plane: str) -> Array:
    """Undo ``slices_first``."""
    return np.moveaxis(voxels, -3, PLANES[plane] - 3)


class Step(Plain):
    """One step of a prediction: the named volumes it reads, and those it writes."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks that it uses."""
        return ()


@dataclass(frozen=True)
class Pass(Step):
    """One network over the whole volume: the named volumes it reads, those it writes, and how windows are cut.

    ``dimensions`` is 2 or 3; with 2, ``neighbours`` slices on either side are read as further channels (2.5D where
    there are any), the first and last slice standing in for those beyond. A window's size is a multiple of
    ``multiple``. ``margin``: voxels that the network loses on every side (valid convolutions); its windows are shown
    with so much of their surroundings. ``finer``: voxels that it writes for one that it reads, along every axis of
    its dimensions, or through the slices, down and across them. ``largest``: the largest edge of a window, for networks
    whose answer depends on how much they see (instance norm); 0 for any. ``axis``: of the volumes' axes, slices first,
    the one along which this pass's slices are stacked: 0 for those of the card's plane, 1 and 2 for those of the two
    other planes. ``mirrored``: those axes along which the network sees the volumes mirrored, its answer mirrored back.
    """

    network: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    dimensions: int
    neighbours: int
    multiple: int
    margin: int = 0
    finer: Factors = 1
    largest: int = 0
    axis: int = 0
    mirrored: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not set(self.mirrored) <= {0, 1, 2}:
            raise ValueError(f"mirrored is {list(self.mirrored)}: expected axes from 0 to 2")
        for name, low, high in (
            ("dimensions", 2, 3),
            ("neighbours", 0, 16),
            ("multiple", 1, 1024),
            ("margin", 0, 256),
            ("largest", self.multiple if self.largest else 0, 4096),
            ("axis", 0, 2),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}: expected {low} to {high}")
        along_axes(self.finer, self.dimensions)

    @property
    def networks(self) -> tuple[str, ...]:
        return (self.network,)

    @property
    def times(self) -> tuple[int, int, int]:
        """Voxels that it writes for one that it reads, through the slices, down and across them."""
        return along_axes(self.finer, self.dimensions)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Slices that are read for one that is written, relative to it; in this order they are channels."""
        reach = self.neighbours if self.dimensions == 2 else 0
        return tuple(range(-reach, reach + 1))

    @property
    def channels(self) -> int:
        """Channels that the network reads."""
        return len(self.reads) * len(self.offsets)


def cascade(last: Pass, networks: Sequence[str]) -> tuple[Pass, ...]:
    """Return passes like the last one by networks in a row: each but the first also reads what the one before wrote.

    Estimates, the volumes that all but the last write, are named by their network.
    """
    passes: list[Pass] = []
    for network in networks:
        read = passes[-1].writes if passes else ()
        estimates = tuple(f"{volume} by {network}" for volume in last.writes)
        writes = last.writes if network == networks[-1] else estimates
        passes.append(replace(last, network=network, reads=last.reads + read, writes=writes))
    return tuple(passes)


@dataclass(frozen=True)
class Search(Pass):
    """Find, for every window of ``multiple`` = ``largest`` voxels, the image most like it that a generator can make.

    ``network`` makes images from ``latent`` numbers; they are moved by Adam, ``steps`` times at ``rate``, to lower
    (1 - ``balance``)·Σ|x - G(z)| + ``balance``·Σ|f(x) - f(G(z))|, f being the ``judge``'s features
    (Schlegl et al. 2017, arXiv:1703.05921, eqs. 1-5). Writes that image, and the lowest sum per voxel as a score, less
    1 as ``Difference`` is.
    """

    judge: str = ""
    latent: int = 1
    steps: int = 500
    rate: float = 1e-2
    balance: float = 0.1

    @property
    def networks(self) -> tuple[str, ...]:
        return (self.network, self.judge)


@dataclass(frozen=True)
class Draw(Step):
    """A generator from vectors to images: it reads vectors by name, joined in this order, and writes channels.

    With 2 ``dimensions`` every vector gives a slice, with 3 a volume.
    """

    network: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    dimensions: int

    @property
    def networks(self) -> tuple[str, ...]:
        return (self.network,)


class Blend(Step):
    """A function of volumes, in the network's range, that needs no network."""

    def blended(self, volumes: Mapping[str, Volume]) -> tuple[Volume, ...]:
        """Return the volumes that are written, in the order of ``writes``."""
        raise NotImplementedError

    @property
    def account(self) -> str:
        """What is done, for the account of a prediction."""
        return f"{type(self).__name__.lower()} of {', '.join(self.reads)}"


@dataclass(frozen=True)
class Chosen(Blend):
    """Where the first volume exceeds ``at`` it is taken itself, elsewhere the second.

    Over ``width`` either side of the border they are mixed (0: not at all), so that none is seen.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    at: float
    width: float = 0.0

    def blended(self, volumes: Mapping[str, Volume]) -> tuple[Volume, ...]:
        first, second = (volumes[name] for name in self.reads)
        share = (first - np.float32(self.at)) / np.float32(2 * self.width) + np.float32(0.5) if self.width else None
        taken = (first > self.at).astype(np.float32) if share is None else np.clip(share, 0, 1)
        return (np.asarray(taken * first + (1 - taken) * second, np.float32),)


@dataclass(frozen=True)
class Difference(Blend):
    """The distance of two volumes, |a - b| - 1: from -1 where they are alike to 1 where they are opposite ends."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]

    def blended(self, volumes: Mapping[str, Volume]) -> tuple[Volume, ...]:
        first, second = (volumes[name] for name in self.reads)
        return (np.asarray(np.abs(first - second) - np.float32(1), np.float32),)


@dataclass(frozen=True)
class MeanProbability(Blend):
    """The mean of several opinions on what a voxel is.

    Reads each opinion's scores of all classes, in the order of ``writes``, one opinion after the other; writes the
    logarithm of the mean over opinions of softmax(scores): scores of the same meaning, as those of one network are.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.writes or not self.reads or len(self.reads) % len(self.writes):
            raise ValueError(f"{len(self.reads)} scores are no opinions on {len(self.writes)} classes")

    @property
    def account(self) -> str:
        return f"mean probability of {len(self.reads) // len(self.writes)} opinions"

    def blended(self, volumes: Mapping[str, Volume]) -> tuple[Volume, ...]:
        classes, total = len(self.writes), np.float32(0)
        for first in range(0, len(self.reads), classes):
            scores = np.stack([volumes[name] for name in self.reads[first : first + classes]])
            shares = np.exp(scores - scores.max(axis=0))
            total = total + shares / shares.sum(axis=0)
        # A class that all are sure is not there has a score all the same.
        return tuple(np.log(np.maximum(total * classes / len(self.reads), 1e-6), dtype=np.float32))


def from_sides(one: Pass, count: int) -> tuple[Step, ...]:
    """Return a pass by slices along so many of a volume's axes, 1 to 3, and the mean of what it says from each.

    Raises ValueError for another number.
    """
    if not 1 <= count <= 3:
        raise ValueError(f"{count} views: expected 1 to 3")
    return _agreed(one, {f"along {axis}": replace(one, axis=axis) for axis in range(count)})


def mirrored_too(one: Pass, axes: Sequence[int]) -> tuple[Step, ...]:
    """Return a pass on volumes as they are and mirrored along any of some axes, and the mean of what it says of each.

    Twice as many passes for every axis; the pass alone where there is none.
    """
    subsets = [subset for count in range(len(axes) + 1) for subset in combinations(axes, count)]
    return _agreed(one, {f"mirrored {list(subset)}": replace(one, mirrored=subset) for subset in subsets})


def _agreed(one: Pass, views: Mapping[str, Pass]) -> tuple[Step, ...]:
    """Return passes that write what another does, and the mean of what they say; the only one as it is."""
    if len(views) == 1:
        return tuple(views.values())
    passes = [replace(view, writes=tuple(f"{name} {how}" for name in one.writes)) for how, view in views.items()]
    opinions = tuple(name for view in passes for name in view.writes)
    return (*passes, MeanProbability(opinions, one.writes))
