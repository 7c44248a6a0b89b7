"""A smooth motion is found and taken back; where nothing is believed, nothing moves."""

from dataclasses import replace

import numpy as np
import pytest

from MedGANLogic.domain import CT
from MedGANLogic.images import Image
from MedGANLogic.registration import registered

SHAPE = (56, 52, 10)
AFFINE = np.diag([1.5, 1.5, 4.0, 1.0])


def limb(shift_mm):
    """A CT of a thigh's shape, its bone and fat seams shifted within the slice by an amount in mm."""
    i, j, _ = np.indices(SHAPE).astype(float)
    x, y = (i - 27.5) * 1.5 - shift_mm[0], (j - 25.5) * 1.5 - shift_mm[1]
    radius = np.hypot(x, y)
    hu = np.where(radius < 34, np.where(radius < 28, 50.0, -100.0), -1000.0)
    hu = np.where(np.hypot(x - 6, y) < 8, 900.0, hu)
    hu = np.where((np.abs(y + 12) < 1.5) & (radius < 28), -90.0, hu)
    return Image(hu[None].astype(np.float32), AFFINE, "HU")


def test_a_shifted_limb_is_brought_to_where_the_other_shows_it():
    believed, image = limb((0, 0)), limb((3.0, -2.0))
    moved, seen = registered(image, believed, believed.grid, CT)
    before = np.abs(image.voxels - believed.voxels)[0][seen].mean()
    after = np.abs(moved.voxels - believed.voxels)[0][seen].mean()
    assert after < 0.35 * before
    assert moved.grid.matches(believed.grid)


def test_an_image_that_fits_already_stays_as_it_is():
    believed = limb((0, 0))
    moved, seen = registered(believed, believed, believed.grid, CT)
    assert seen[1:-1, 1:-1, 1:-1].all()
    assert np.abs(moved.voxels - believed.voxels)[0][seen].mean() == pytest.approx(0, abs=1e-3)


def test_what_lies_outside_of_the_image_is_not_seen():
    image = limb((0, 0))
    half = replace(image, voxels=image.voxels[:, :28])
    _, seen = registered(half, image, image.grid, CT)
    assert seen[:26].mean() > 0.7
    # What is smooth over 3 mm draws the edge out by some millimetres, and no further.
    assert not seen[37:].any()


def test_only_what_is_believed_pulls():
    image = limb((3.0, 0.0))
    believed = limb((0, 0))
    corner = replace(believed, voxels=believed.voxels[:, :4, :4])
    moved, seen = registered(image, corner, image.grid, CT)
    assert np.abs(moved.voxels - image.voxels)[0][seen].mean() < 1.0
