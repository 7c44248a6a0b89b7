"""Whether a faint insert can still be seen: the channelised Hotelling observer on images of a phantom. No torch."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.laguerre import lagvander
from numpy.typing import NDArray

from MedGANLogic.domain import Array
from MedGANLogic.evaluation.metrics import Undefined
from MedGANLogic.images import Image, Orientation

#: Draws of the bootstrap, and the part of them that the interval leaves out at either end: 95 % lie within.
_DRAWS = 1000
_TAIL = 0.025


@dataclass(frozen=True)
class Detectability:
    """How well an observer tells images with an insert from images without, each number with its 95 % interval.

    ``d_prime`` is the distance of its answers' means in their SDs: 0 is guessing, 1 is seen in 76 % of pairs, 3 in
    98 %. ``auc`` is that share of pairs, Φ(d′/√2): it holds for answers that are normal.
    """

    d_prime: float
    d_prime_interval: tuple[float, float]

    @property
    def auc(self) -> float:
        """The area under the ROC curve."""
        return _share_of_pairs(self.d_prime)

    @property
    def auc_interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        low, high = self.d_prime_interval
        return _share_of_pairs(low), _share_of_pairs(high)


def laguerre_gauss(
    shape: tuple[int, int], spacing_mm: tuple[float, float], width_mm: float, count: int = 5
) -> NDArray[np.float64]:
    """Return round channels (count, H, W) around the middle of an image, orthonormal over the plane.

    √2/a · exp(−πr²/a²) · L_j(2πr²/a²) for a width a: Gallas and Barrett 2003, doi:10.1364/JOSAA.20.001725 [paper?: as
    in the FDA's LCD_CT, whose count of 5 this is]. A width of 0.8 of an insert's diameter kept at least 0.91 of the
    ideal linear observer's squared d′ for discs of 3 to 15 mm, in white noise and in noise like that of a CT.
    """
    rows, columns = (
        (np.arange(n) - (n - 1) / 2) * spacing / width_mm for n, spacing in zip(shape, spacing_mm, strict=True)
    )
    squared = math.pi * (rows[:, None] ** 2 + columns**2)
    polynomials = np.moveaxis(lagvander(2 * squared, count - 1), -1, 0)
    return np.asarray(math.sqrt(2 * spacing_mm[0] * spacing_mm[1]) / width_mm * np.exp(-squared) * polynomials)


def hotelling(present: Array, absent: Array, channels: Array, seed: int = 0) -> Detectability:
    """Return how well the channelised Hotelling observer tells ``present`` (n, H, W) from ``absent`` (m, H, W).

    The insert lies at the same voxels in all, and the noise of any two images is independent. The observer sees an
    image as its products with the channels (c, H, W), whose means and common covariance are estimated from all images;
    the squared d′ so found is too large by a known factor and term (it is a noncentral F), which are taken out: it is
    right on average, for answers that are normal. Below zero it counts as zero. The interval is a bootstrap's over
    images, by its errors (``seed``); of 150 such studies with 30 to 200 images each, 88 to 96 % held the truth. Raises
    Undefined for fewer than two images a channel, with or without the insert. Source: Barrett and others 1993,
    doi:10.1073/pnas.90.21.9758 [paper?].
    """
    flat = channels.reshape(len(channels), -1)
    seen = [np.asarray(images.reshape(len(images), -1) @ flat.T, np.float64) for images in (present, absent)]
    if min(len(present), len(absent)) < 2 * len(channels):
        raise Undefined(
            f"{len(present)} images with and {len(absent)} without the insert are too few for {len(channels)} channels"
        )
    found = _unbiased(*seen)
    chance = np.random.default_rng(seed)
    drawn = [_unbiased(*(of[chance.integers(len(of), size=len(of))] for of in seen)) for _ in range(_DRAWS)]
    # What is drawn from these images has their own distance, uncorrected, for its truth.
    errors = np.array(drawn) - math.sqrt(_squared_distance(*seen))
    low, high = (max(0.0, found - float(error)) for error in np.quantile(errors, [1 - _TAIL, _TAIL]))
    return Detectability(found, (low, high))


def squares_around(ct: Image, centre_mm: tuple[float, float], width_mm: float) -> tuple[Array, Array]:
    """Cut a square out of every axial slice of a CT (1, I, J, K): what an observer looks at.

    Returns each slice's height (S) in mm (K,), from below, and the squares (K, H, W): H and W are odd, and the middle
    voxel is the one nearest to ``centre_mm`` in RAS (right, anterior). Raises Undefined where the square leaves the
    image.
    """
    upright = ct.with_orientation(Orientation.nearest(ct.affine))
    middle = np.rint(np.linalg.solve(upright.affine, [*centre_mm, 0, 1])[:2]).astype(int)
    half = np.rint(width_mm / 2 / np.array(upright.grid.spacing_mm[:2])).astype(int)
    first, end = middle - half, middle + half + 1
    if (first < 0).any() or (end > upright.grid.shape[:2]).any():
        raise Undefined(f"a square of {width_mm:g} mm around {centre_mm} leaves the image")
    squares = upright.voxels[0, first[0] : end[0], first[1] : end[1]]
    heights = upright.affine[2, 2] * np.arange(squares.shape[2]) + upright.affine[2, 3]
    return heights, np.moveaxis(squares, 2, 0)


def _squared_distance(present: Array, absent: Array) -> float:
    """Return the squared distance of the means of (n, c) and (m, c) answers in their pooled covariance."""
    apart = present.mean(axis=0) - absent.mean(axis=0)
    residual = np.concatenate([present - present.mean(axis=0), absent - absent.mean(axis=0)])
    covariance = residual.T @ residual / (len(residual) - 2)
    return float(apart @ np.linalg.solve(covariance, apart))


def _unbiased(present: Array, absent: Array) -> float:
    """Return d′ without what chance adds to the squared distance of (n, c) and (m, c) answers."""
    channels, freedom = present.shape[1], len(present) + len(absent) - 2
    squared = _squared_distance(present, absent) * (freedom - channels - 1) / freedom
    return math.sqrt(max(0.0, squared - channels * (1 / len(present) + 1 / len(absent))))


def _share_of_pairs(d_prime: float) -> float:
    return 0.5 * (1 + math.erf(d_prime / 2))
