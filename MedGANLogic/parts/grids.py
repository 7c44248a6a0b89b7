"""How latent codes become grids: how often a grid doubles to reach an image's size, and what is kept of it."""

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
