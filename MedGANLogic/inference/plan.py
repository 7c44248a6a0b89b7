"""The fewest windows that fit the memory, and how they are put together again."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from MedGANLogic.errors import MedGANError
from MedGANLogic.passes import Pass

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

    Counted on a copy without memory ("meta" device): every module's output once, in float32, and half as much again
    for what a convolution needs while it works.
    """
    edge = one.multiple * 2
    shape = (1, one.channels, *(edge,) * one.dimensions)
    total = 0

    def count(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output.numel()

    copied = _on_meta(network)
    for module in copied.modules():
        if not any(module.children()):
            module.register_forward_hook(count)
    with torch.no_grad():
        copied(torch.empty(shape, device="meta"))
    return 1.5 * 4 * total / math.prod(shape[2:])


def _on_meta(network: nn.Module) -> nn.Module:
    with torch.device("meta"):
        return type(network)(**network.arguments).eval()  # type: ignore[arg-type]


def plan(one: Pass, shape: Index, bytes_per_voxel: float, memory_bytes: float) -> Plan:
    """Return the fewest windows that cover a volume (slice axis first) within the memory.

    Raises MemoryShortError where even the smallest does not fit.
    """
    multiple = one.multiple
    whole = [math.ceil(length / multiple) * multiple for length in shape]
    size = [1, *whole[1:]] if one.dimensions == 2 else list(whole)
    smallest = 4 * multiple
    while math.prod(size) * bytes_per_voxel > memory_bytes:
        axis = max(range(3), key=lambda a: size[a])
        if size[axis] <= smallest:
            raise MemoryShortError(
                f"{memory_bytes / 2**20:.0f} MiB of memory are free, the smallest window needs "
                f"{math.prod(size) * bytes_per_voxel / 2**20:.0f}: close other programs"
            )
        size[axis] = max(smallest, math.ceil(size[axis] / 2 / multiple) * multiple)
    axes = [_starts(length, one_size, multiple) for length, one_size in zip(shape, size, strict=True)]
    if one.dimensions == 2:
        axes[0] = list(range(shape[0]))
    fitting = int(memory_bytes / max(math.prod(size) * bytes_per_voxel, 1))
    batch = max(1, min(_LARGEST_BATCH, fitting)) if one.dimensions == 2 else 1
    return Plan(tuple(size), tuple(itertools.product(*axes)), batch)  # type: ignore[arg-type]


def _starts(length: int, size: int, multiple: int) -> list[int]:
    """Return evenly spread starts, at multiples, that overlap by a quarter of the window or more."""
    last = max(0, math.ceil((length - size) / multiple) * multiple)
    count = math.ceil(last / (0.75 * size)) + 1
    return sorted({round(last * n / max(count - 1, 1) / multiple) * multiple for n in range(count)})
