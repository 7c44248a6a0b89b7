"""Grids: how often one doubles to reach an image's size, what is kept of an image, and finer grids in channels."""

import math
from collections.abc import Sequence

from torch import Tensor


def doublings(size: int, smallest: int) -> int:
    """Return how often the start grid doubles: as often as leaves it at least ``smallest``, and once at least."""
    return max((size // smallest).bit_length() - 1, 1)


def start_grid(size: int, steps: int) -> int:
    """Return the smallest grid that, doubled ``steps`` times, covers ``size``."""
    return -(-size // (1 << steps))


def central(image: Tensor, size: int) -> Tensor:
    """Return the middle of (B, C, *larger): (B, C, *size)."""
    for axis in range(2, image.ndim):
        image = image.narrow(axis, (image.shape[axis] - size) // 2, size)
    return image


def without_margin(image: Tensor, margin: int) -> Tensor:
    """Return an image without so many voxels on every side: (B, C, *size) → (B, C, *(size - 2·margin))."""
    for axis in range(2, image.ndim):
        image = image.narrow(axis, margin, image.shape[axis] - 2 * margin)
    return image


def own_slice(image: Tensor, channels: int) -> Tensor:
    """Return the middle one of the neighbouring slices that stand side by side: (B, channels·n, *size), n odd, →
    (B, channels, *size)."""
    stacks: Tensor = image.unflatten(1, (channels, -1))
    return stacks[:, :, stacks.shape[2] // 2]


def fold(image: Tensor) -> Tensor:
    """Move every 2×2(×2) neighbourhood into channels: (B, C, *size) → (B, C·2^n, *size/2); ``unfold`` undoes it."""
    batch, channels, *size = image.shape
    n = len(size)
    split = image.reshape(batch, channels, *(part for length in size for part in (length // 2, 2)))
    order = (0, 1, *range(3, 3 + 2 * n, 2), *range(2, 2 + 2 * n, 2))
    return split.permute(order).reshape(batch, channels * 2**n, *(length // 2 for length in size))


def unfold(image: Tensor) -> Tensor:
    """Undo ``fold``."""
    return spread(image, (2,) * (image.dim() - 2))


def spread(image: Tensor, factors: Sequence[int]) -> Tensor:
    """Put the channels that stand for places in a voxel side by side: (B, C·Πf, *size) → (B, C, *size·f).

    Shi et al. 2016 (arXiv:1609.05158, eq. 4), with a factor for every axis.
    """
    batch, channels, *size = image.shape
    n, places = len(size), math.prod(factors)
    split = image.reshape(batch, channels // places, *factors, *size)
    order = (0, 1, *(axis for k in range(n) for axis in (2 + n + k, 2 + k)))
    finer = (length * factor for length, factor in zip(size, factors, strict=True))
    return split.permute(order).reshape(batch, channels // places, *finer)
