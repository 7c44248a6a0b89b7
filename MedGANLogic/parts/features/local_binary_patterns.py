"""How sharp an image is in every place, by local binary patterns: a measure that no gradient passes through."""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

#: What a neighbour must exceed its centre by, of an image in [0, 1] [paper: released code].
_STEP = 0.016

#: Edge of the window in which patterns are counted [assumed, within the 11 to 21 of the released code].
_WINDOW = 15

#: Patterns that are frequent where an image is sharp; 9 stands for all that are not uniform.
_SHARP = (6, 9)


def sharpness_map(image: Tensor) -> Tensor:
    """Return for every place of (B, C, H, W) in [-1, 1] the share of sharp patterns around it, in [0, 1].

    Sharp are the rotation-invariant uniform patterns 6 to 9 of eight neighbours at distance 1, counted in a window of
    15 (less at the border), after Yi & Eramian 2016 (doi:10.1109/TIP.2016.2528042) as SAGAN has it (Yi & Babyn 2018,
    arXiv:1708.06453 [paper: released code]).
    """
    patterns = uniform_patterns((image.float() + 1) / 2, _STEP)
    sharp = ((patterns >= _SHARP[0]) & (patterns <= _SHARP[1])).to(image.dtype)
    return avg_pool2d(sharp, _WINDOW, stride=1, padding=_WINDOW // 2, count_include_pad=False)


def uniform_patterns(image: Tensor, step: float) -> Tensor:
    """Return the rotation-invariant uniform local binary pattern of every place of (B, C, H, W).

    A bit is set where one of eight neighbours on the circle of radius 1, those on the diagonals interpolated, exceeds
    the centre by more than ``step``. Where the bits change at most twice along the circle the pattern is the number of
    those that are set, 0 to 8, else 9 (Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623, eqs. 9-10). Beyond the
    border the image goes on as it ends.
    """
    bits = torch.stack([neighbour - image > step for neighbour in _circle(image)])
    changes = (bits != bits.roll(1, dims=0)).sum(dim=0)
    return torch.where(changes <= 2, bits.sum(dim=0), 9)


def _circle(image: Tensor) -> list[Tensor]:
    """Return the images of the eight neighbours, in their order along the circle."""
    height, width = image.shape[-2:]
    around = pad(image, (1, 1, 1, 1), mode="replicate")

    def shifted(row: int, column: int) -> Tensor:
        return around[..., 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    def diagonal(row: int, column: int) -> Tensor:
        # Bilinear, at cos 45° in either direction.
        far = math.sqrt(0.5)
        beside = shifted(row, 0) + shifted(0, column)
        return far**2 * shifted(row, column) + far * (1 - far) * beside + (1 - far) ** 2 * image

    return [
        shifted(0, 1),
        diagonal(-1, 1),
        shifted(-1, 0),
        diagonal(-1, -1),
        shifted(0, -1),
        diagonal(1, -1),
        shifted(1, 0),
        diagonal(1, 1),
    ]
