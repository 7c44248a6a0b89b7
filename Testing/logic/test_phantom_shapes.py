"""Shapes that phantoms are drawn with: distances and slopes against what geometry says."""

import numpy as np
import pytest

from MedGANLogic.phantom.shapes import Egg, Ellipsoid, Tube, Waves, folded, nearest, smooth_union

POINTS = np.random.default_rng(0).uniform(-30, 30, (3, 500))
AXES = np.eye(3)


def slope_of(function, points, step=1e-4):
    """The gradient of a function of points, by differences."""
    ends = [(function(points + step * axis[:, None]), function(points - step * axis[:, None])) for axis in AXES]
    return np.stack([(ahead - back) / (2 * step) for ahead, back in ends])


def test_waves_have_mean_0_variance_1_and_the_slope_that_they_say():
    waves = Waves.drawn(np.random.default_rng(1), 12, (8, 15))
    values = waves(np.random.default_rng(2).uniform(-500, 500, (3, 20_000)))
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.std() == pytest.approx(1, rel=0.05)
    value, slope = waves.with_slope(POINTS)
    assert value == pytest.approx(waves(POINTS))
    assert slope == pytest.approx(slope_of(waves, POINTS), abs=1e-5)


def test_a_sphere_and_a_tube_know_their_distance():
    centre = np.array([3.0, -2.0, 5.0])
    from_centre = np.linalg.norm(POINTS - centre[:, None], axis=0)
    assert Ellipsoid(tuple(centre), (7.0, 7.0, 7.0), 40.0).distance(POINTS) == pytest.approx(from_centre - 7)
    tube = Tube(((0.0, 0.0, -10.0, 4.0), (0.0, 0.0, 10.0, 4.0)))
    beyond = np.maximum(np.abs(POINTS[2]) - 10, 0)
    assert tube.distance(POINTS) == pytest.approx(np.hypot(np.hypot(*POINTS[:2]), beyond) - 4)
    # Half-way along, a tube that widens is as wide as half-way.
    assert Tube(((0.0, 0.0, 0.0, 1.0), (20.0, 0.0, 0.0, 5.0))).distance(np.array([[10.0], [6.0], [0.0]])) == 3


def test_an_ellipsoid_is_turned_from_the_first_axis_towards_the_second():
    long = Ellipsoid((0.0, 0.0, 0.0), (20.0, 2.0, 2.0), 30.0)
    tip = 20 * np.array([[np.cos(np.pi / 6)], [np.sin(np.pi / 6)], [0.0]])
    assert long.distance(tip) == pytest.approx(0, abs=1e-9)
    assert long.distance(0.95 * tip) < 0 < long.distance(1.05 * tip)
    assert long.distance(tip * [[1], [-1], [1]]) > 5


def test_an_eggs_distance_has_slope_1_along_its_normal_at_its_surface():
    egg = Egg((0.0, 0.0, 0.0), (12.0, 20.0, 15.0), 9.0, 0.15)
    ends = np.array([[12, 0, 0], [0, 20, 0], [0, -20, 0], [0, 0, 15], [0, 0, -9]], float).T
    assert egg.distance(ends)[0] == pytest.approx(0, abs=1e-6)
    surface = POINTS / 2
    for _ in range(8):
        distance, normal = egg.distance(surface)
        surface = surface - 0.7 * distance * normal
    distance, normal = egg.distance(surface)
    assert distance == pytest.approx(0, abs=1e-3)
    assert np.linalg.norm(normal, axis=0) == pytest.approx(1)
    assert slope_of(lambda points: egg.distance(points)[0], surface) == pytest.approx(normal, abs=0.02)
    # Narrower in front than behind.
    assert egg.distance(np.array([[11.0], [8.0], [0.0]]))[0] > egg.distance(np.array([[11.0], [-8.0], [0.0]]))[0]


def test_bodies_are_united_and_folded():
    one, other = Ellipsoid((-5.0, 0.0, 0.0), (6.0, 6.0, 6.0)), Ellipsoid((5.0, 0.0, 0.0), (6.0, 6.0, 6.0))
    sharp = nearest(POINTS, (one, other))
    assert sharp == pytest.approx(np.minimum(one.distance(POINTS), other.distance(POINTS)))
    round_ = smooth_union(one.distance(POINTS), other.distance(POINTS), 2.0)
    assert (round_ <= sharp + 1e-9).all() and (round_ > sharp - 1.01).all()
    far = np.abs(one.distance(POINTS) - other.distance(POINTS)) > 4
    assert round_[far] == pytest.approx(sharp[far])
    assert other.distance(folded(POINTS)) == pytest.approx(sharp)
