"""What bodies are drawn with: smooth random fields, curves, solids, and the room that a tumour makes for itself.

Every shape is a function of physical place alone. Points are (3, N) millimetres, distances millimetres, negative
inside.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Of either precision: what a shape returns is as precise as the points that it is given.
Reals = NDArray[np.floating[Any]]
Labels = NDArray[np.uint8]
#: Directions in a cross-section: unit complex numbers.
Directions = NDArray[np.complex128]


class Waves(NamedTuple):
    """A smooth random field: a sum of sine waves in space, mean 0."""

    amplitudes: Reals
    numbers: Reals  # (waves, 3), radians a millimetre
    phases: Reals

    @staticmethod
    def drawn(rng: np.random.Generator, count: int, lengths_mm: tuple[float, float], stretch: float = 1.0) -> "Waves":
        """Draw waves of unit variance in all directions; ``stretch`` makes them longer along the third axis."""
        directions = rng.normal(size=(count, 3)) / [1.0, 1.0, stretch]
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        numbers = directions * (2 * np.pi / rng.uniform(*lengths_mm, size=(count, 1)))
        return Waves(np.full(count, np.sqrt(2 / count)), numbers, rng.uniform(0, 2 * np.pi, count))

    def __call__(self, points: Reals) -> Reals:
        """Return the field at (3, N) points in mm."""
        total = np.zeros(points.shape[1], points.dtype)
        for amplitude, number, phase in zip(*(part.astype(points.dtype) for part in self), strict=True):
            total += amplitude * np.sin(number @ points + phase)
        return total

    def with_slope(self, points: Reals) -> tuple[Reals, Reals]:
        """Return the field and its (3, N) gradient a millimetre."""
        total, slope = np.zeros(points.shape[1], points.dtype), np.zeros(points.shape, points.dtype)
        for amplitude, number, phase in zip(*(part.astype(points.dtype) for part in self), strict=True):
            angle = number @ points + phase
            total += amplitude * np.sin(angle)
            slope += (amplitude * number)[:, None] * np.cos(angle)
        return total, slope


class Outline(NamedTuple):
    """A closed smooth curve around a centre: shares of the mean radius as Fourier modes of the angle."""

    cosines: Reals
    sines: Reals

    @staticmethod
    def drawn(rng: np.random.Generator, sizes: tuple[float, ...]) -> "Outline":
        """Draw modes 1, 2, ... with the given standard deviations, none beyond 1.5 of them."""
        size = np.array(sizes)
        return Outline(*(np.clip(rng.normal(0, 1, (2, len(sizes))), -1.5, 1.5) * size))

    def __call__(self, direction: Directions) -> Reals:
        """Return the radius as a share of its mean, in each direction."""
        share = np.ones(direction.shape)
        power = np.ones_like(direction)
        for cosine, sine in zip(self.cosines, self.sines, strict=True):
            power = power * direction
            share += cosine * power.real + sine * power.imag
        return share


def polar(u: Reals, v: Reals) -> tuple[Directions, Reals]:
    """Return direction and distance from the axis; the axis itself lies in the first direction of itself."""
    distance: Reals = np.hypot(u, v)
    direction: Directions = np.ones(u.shape, np.complex128)
    np.divide(u + 1j * v, distance, out=direction, where=distance > 0)
    return direction, distance


def chain_distance(points: Reals, line: tuple[tuple[float, float], ...]) -> Reals:
    """Return the distance of (2, N) points from a chain of straight pieces."""
    nearest = np.full(points.shape[1], np.inf)
    for (start_x, start_y), (end_x, end_y) in itertools.pairwise(line):
        step_x, step_y = end_x - start_x, end_y - start_y
        x, y = points[0] - start_x, points[1] - start_y
        along = np.clip((x * step_x + y * step_y) / (step_x**2 + step_y**2), 0, 1)
        np.minimum(nearest, (x - along * step_x) ** 2 + (y - along * step_y) ** 2, out=nearest)
    distance: Reals = np.sqrt(nearest)
    return distance


class Growth(NamedTuple):
    """A tumour: a lobed ellipsoid that pushed aside what was there.

    ``root`` is what its rim was before it grew, as a share of its radius.
    """

    centre_mm: tuple[float, float, float]
    half_axes_mm: tuple[float, float, float]
    lobes: Waves
    lobe_share: float = 0.09
    root: float = 0.3

    def before(self, points: Reals) -> tuple[Reals, Reals]:
        """Return the distance from the middle (1 at the rim) and where each point was before the tumour grew.

        Tissue is displaced, not compressed: a shell keeps its volume, so distances q obey q0^3 = q^3 - 1 + root^3.
        """
        centre = np.array(self.centre_mm)[:, None]
        away = points - centre
        q = np.linalg.norm(away / np.array(self.half_axes_mm)[:, None], axis=0)
        near = np.flatnonzero(q < 2)
        # The lobes fade with the distance, so that the far skin does not copy them.
        lobes = self.lobe_share * self.lobes(points[:, near])
        q[near] /= 1 + lobes * np.clip(2 - q[near], 0, 1)
        before = np.cbrt(np.maximum(q**3 - 1, 0) + self.root**3)
        away *= np.minimum(before / np.maximum(q, 1e-9), 1)
        return q, centre + away


class Ellipsoid(NamedTuple):
    """A solid; ``yaw`` (degrees) turns it about the third axis, from the first towards the second."""

    centre_mm: tuple[float, float, float]
    half_axes_mm: tuple[float, float, float]
    yaw: float = 0.0

    def distance(self, points: Reals) -> Reals:
        """Return about how far each point lies outside, to first order in its distance from the surface."""
        u, v, w = points - _column(points, self.centre_mm)
        if self.yaw:
            turn = np.exp(1j * np.radians(self.yaw))
            cosine, sine = float(turn.real), float(turn.imag)
            u, v = u * cosine + v * sine, v * cosine - u * sine
        a, b, c = self.half_axes_mm
        u, v, w = u / a, v / b, w / c
        q = np.sqrt(u**2 + v**2 + w**2)
        slope = np.sqrt((u / a) ** 2 + (v / b) ** 2 + (w / c) ** 2)
        distance: Reals = (q - 1) * q / np.maximum(slope, 1e-9)
        return distance


class Tube(NamedTuple):
    """A chain of round straight pieces: x, y, z and radius at each node, in mm."""

    nodes: tuple[tuple[float, float, float, float], ...]

    def distance(self, points: Reals) -> Reals:
        """Return about how far each point lies outside."""
        nearest = np.full(points.shape[1], np.inf, points.dtype)
        for start, end in itertools.pairwise(np.array(self.nodes, points.dtype)):
            step = (end - start)[:3]
            away = points - start[:3, None]
            along = np.clip(step @ away / (step @ step), 0, 1)
            gap = length(away - along * step[:, None])
            np.minimum(nearest, gap - start[3] - along * (end[3] - start[3]), out=nearest)
        return nearest


Solid = Ellipsoid | Tube


class Egg(NamedTuple):
    """A superellipsoid (exponent 9/4), narrower in front (+y) than behind, with other heights above and below."""

    centre_mm: tuple[float, float, float]
    half_axes_mm: tuple[float, float, float]
    depth_mm: float
    narrowing: float

    def distance(self, points: Reals) -> tuple[Reals, Reals]:
        """Return about how far each point lies outside, and the (3, N) outward normals there."""
        x, y, z = points - _column(points, self.centre_mm)
        a, b, up = self.half_axes_mm
        width = a * (1 - self.narrowing * np.clip(y / b, -1.3, 1.3))
        height = np.where(z > 0, np.float32(up), np.float32(self.depth_mm))
        powers, total = [], np.full_like(x, 1e-9)
        for share in (np.abs(x) / width, np.abs(y) / b, np.abs(z) / height):
            root = share * np.sqrt(np.sqrt(share))
            powers.append(root)
            total += share * root
        slopes = np.stack([
            np.sign(x) * powers[0] / width,
            np.sign(y) * powers[1] / b + powers[0] * np.abs(x) / width**2 * (a * self.narrowing / b),
            np.sign(z) * powers[2] / height,
        ])  # fmt: skip
        slope = length(slopes) + np.float32(1e-9)
        distance: Reals = (total - total ** np.float32(5 / 9)) / slope
        return distance, slopes / slope


def length(vectors: Reals) -> Reals:
    """Return the length of each of (3, N) vectors."""
    x, y, z = vectors
    distance: Reals = np.sqrt(x * x + y * y + z * z)
    return distance


def folded(points: Reals) -> Reals:
    """Return the points with those of the left laid over the right."""
    return np.concatenate([np.abs(points[:1]), points[1:]])


def smooth_union(one: Reals, other: Reals, reach_mm: float) -> Reals:
    """Return the distance from two bodies whose meeting is rounded."""
    blend = np.clip(0.5 + (other - one) / (2 * reach_mm), 0, 1)
    union: Reals = other + (one - other) * blend - reach_mm * blend * (1 - blend)
    return union


def nearest(points: Reals, solids: Sequence[Solid]) -> Reals:
    """Return about how far each point lies outside of the nearest of some solids."""
    distance: Reals = np.minimum.reduce([solid.distance(points) for solid in solids])
    return distance


def _column(points: Reals, place_mm: tuple[float, float, float]) -> Reals:
    return np.array(place_mm, points.dtype)[:, None]
