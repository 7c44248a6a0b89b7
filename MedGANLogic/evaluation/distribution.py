"""How far what is made is from what is real, as sets of images: where no pair says what is right."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

#: Karras et al. 2018 (arXiv:1710.10196, §5): patches of 7×7 from every level of a Laplacian pyramid, 128 an image,
#: 512 directions; the coarsest level is 16 voxels wide.
_EDGE, _PATCHES, _DIRECTIONS, _COARSEST = 7, 128, 512, 16


@torch.no_grad()
def sliced_wasserstein(made: Tensor, real: Tensor) -> float:
    """Return the sliced Wasserstein distance of two sets (n, C, *size) of images; 0 where they are the same set.

    The mean over the levels of a Laplacian pyramid, on patches normalised by the real ones' mean and deviation (theirs
    are normalised each by its own: a shift of brightness must count). Volumes are taken slice by slice. Chance is
    fixed. Raises ValueError for sets of different size or shape.
    """
    if made.shape != real.shape:
        raise ValueError(f"sets of {tuple(made.shape)} and {tuple(real.shape)}: they must be of one size")
    chance = torch.Generator().manual_seed(0)
    levels = [
        _level_distance(one, other, chance)
        for one, other in zip(_pyramid(_planes(made)), _pyramid(_planes(real)), strict=True)
    ]
    return sum(levels) / len(levels)


def _planes(images: Tensor) -> Tensor:
    """Return (n, C, H, W) float32 on the CPU; the slices of a volume as images."""
    images = images.detach().float().cpu()
    return images if images.dim() == 4 else images.transpose(1, 2).flatten(0, 1)


def _pyramid(images: Tensor) -> list[Tensor]:
    levels = []
    while min(images.shape[2:]) >= 2 * _COARSEST:
        halved = avg_pool2d(images, 2)
        levels.append(images - interpolate(halved, size=images.shape[2:], mode="bilinear", align_corners=False))
        images = halved
    return [*levels, images]


def _level_distance(made: Tensor, real: Tensor, chance: torch.Generator) -> float:
    edge = min(_EDGE, *made.shape[2:])
    corners = [torch.randint(0, size - edge + 1, (_PATCHES,), generator=chance).tolist() for size in made.shape[2:]]

    def patches(images: Tensor) -> Tensor:
        cut = [images[:, :, row : row + edge, column : column + edge] for row, column in zip(*corners, strict=True)]
        return torch.cat(cut).flatten(1)

    ours, theirs = patches(made), patches(real)
    spread = theirs.std().clamp_min(1e-6)
    directions = torch.randn(ours.shape[1], _DIRECTIONS, generator=chance)
    directions /= directions.norm(dim=0)
    # NumPy sorts rows that lie together a dozen times as fast as torch sorts columns.
    projected = [np.sort((directions.T @ ((one - theirs.mean()) / spread).T).numpy(), axis=1) for one in (ours, theirs)]
    return float(np.abs(projected[0] - projected[1]).mean())
