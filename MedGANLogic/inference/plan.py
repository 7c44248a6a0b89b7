"""The fewest windows that fit the memory, and how they are put together again."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from MedGANLogic.errors import MedGANError
from MedGANLogic.passes import Pass, Search

Index = tuple[int, int, int]

#: Windows of a 2D pass that go through the network together; more gain nothing on a CPU.
_LARGEST_BATCH = 16


class MemoryShortError(MedGANError, MemoryError):
    """Not even the smallest window fits the memory."""


@dataclass(frozen=True)
class Plan:
    """Windows of one size over a volume with the slice axis first; all start at multiples of the pass's multiple."""

    size: Index
    starts: tuple[Index, ...]
    batch: int

    @property
    def padded(self) -> Index:
        """Shape that the volume must be padded to, so that every window is whole."""
        return tuple(max(start[axis] for start in self.starts) + self.size[axis] for axis in range(3))  # type: ignore[return-value]

    def weights(self) -> NDArray[np.float32]:
        """Return how much each voxel of a window counts where windows overlap: a Gaussian, ones where none do."""
        profiles = []
        for axis in range(3):
            places = np.arange(self.size[axis], dtype=np.float32) - (self.size[axis] - 1) / 2
            overlapped = len({start[axis] for start in self.starts}) > 1 and self.size[axis] > 1
            # σ = size / 8, as nnU-Net and MONAI have it; never 0, so that no voxel is without a value.
            width = self.size[axis] / 8
            profiles.append(np.maximum(np.exp(-0.5 * (places / width) ** 2), 1e-3) if overlapped else 0 * places + 1)
        return np.asarray(np.einsum("i,j,k->ijk", *profiles), np.float32)


def footprint(network: nn.Module, one: Pass) -> float:
    """Return an upper bound of the bytes that a network holds per voxel of its window, without running it.

    Counted on a copy without memory ("meta" device): every module's output once, in float32, and as much again
    for what a convolution needs while it works.
    """
    edge = one.largest or one.multiple * 2
    shown = (1, one.channels, *(edge + 2 * one.margin,) * one.dimensions)
    return _held(network, shown) / float(edge**one.dimensions)


def search_footprint(generator: nn.Module, judge: nn.Module, one: Search) -> float:
    """Return an upper bound, as ``footprint`` does, for a generator that a judge's answer is followed back through."""
    image = (1, 1, *(one.multiple,) * one.dimensions)
    return (_held(generator, (1, one.latent)) + _held(judge, image)) / float(one.multiple**one.dimensions)


def _held(network: nn.Module, shown: tuple[int, ...]) -> float:
    total = 0

    def count(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output.numel()

    copied = _on_meta(network)
    for module in copied.modules():
        if not any(module.children()):
            module.register_forward_hook(count)
    with torch.no_grad():
        copied(torch.empty(shown, device="meta"))
    return 2 * 4 * float(total)


def _on_meta(network: nn.Module) -> nn.Module:
    with torch.device("meta"):
        return type(network)(**network.arguments).eval()  # type: ignore[arg-type]


def plan(one: Pass, shape: Index, bytes_per_voxel: float, memory_bytes: float) -> Plan:
    """Return the fewest windows that cover a volume (slice axis first) within the memory.

    Windows less than half as thick as they could be do not count: a voxel near a window's edge sees too little of its
    surroundings. Raises MemoryShortError where even the smallest does not fit.
    """
    sizes = [_sizes(length, one.multiple, one.largest) for length in shape]
    if one.dimensions == 2:
        sizes[0] = {1: shape[0]}
    affordable = memory_bytes / max(bytes_per_voxel, 1)
    fitting = [size for size in itertools.product(*sizes) if math.prod(size) <= affordable]
    if not fitting:
        needed = math.prod(min(of) for of in sizes) * bytes_per_voxel
        raise MemoryShortError(
            f"the smallest window needs {needed / 2**20:.0f} MiB of memory, {memory_bytes / 2**20:.0f} may be used: "
            "close other programs"
        )

    def thickness(size: tuple[int, ...]) -> float:
        return min((edge for of, edge in zip(sizes, size, strict=True) if edge < max(of)), default=math.inf)

    def cost(size: tuple[int, ...]) -> tuple[int, int]:
        windows = math.prod(of[edge] for of, edge in zip(sizes, size, strict=True))
        return windows, windows * math.prod(size)

    thickest = max(map(thickness, fitting))
    size = min((size for size in fitting if thickness(size) >= thickest / 2), key=cost)
    axes = [_starts(length, edge, one.multiple) for length, edge in zip(shape, size, strict=True)]
    batch = 1
    if one.dimensions == 2:
        axes[0] = list(range(shape[0]))
        batch = max(1, min(_LARGEST_BATCH, int(affordable / math.prod(size))))
    return Plan(size, tuple(itertools.product(*axes)), batch)  # type: ignore[arg-type]


def _sizes(length: int, multiple: int, largest: int) -> dict[int, int]:
    """Return the edges that a window may have along an axis, each with the number of windows that it takes.

    The whole axis, or the ``largest`` edge there may be (0: any), and the smallest edge for every number of windows;
    below four multiples a window shows too little.
    """
    whole = math.ceil(length / multiple) * multiple
    whole = min(whole, largest // multiple * multiple) if largest else whole
    edges = range(whole, min(whole, 4 * multiple) - 1, -multiple)
    smallest = {len(_starts(length, edge, multiple)): edge for edge in edges}
    return {edge: count for count, edge in smallest.items()}


def _starts(length: int, size: int, multiple: int) -> list[int]:
    """Return evenly spread starts, at multiples, that overlap by a quarter of the window or more."""
    last = max(0, math.ceil((length - size) / multiple))
    step = max(1, 3 * size // (4 * multiple))
    count = math.ceil(last / step) + 1
    return sorted({round(last * n / max(count - 1, 1)) * multiple for n in range(count)})
