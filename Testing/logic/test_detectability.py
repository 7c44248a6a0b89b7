"""The channelised Hotelling observer against the closed form of noise whose covariance is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, special

from MedGANLogic.evaluation.detectability import hotelling, laguerre_gauss, squares_around
from MedGANLogic.evaluation.metrics import Undefined
from MedGANLogic.phantom import centred_grid, inserts
from MedGANLogic.phantom.inserts import CLEAR_MM

SPACING_MM = (0.8, 0.8)
CHANNELS = laguerre_gauss((32, 32), SPACING_MM, width_mm=5)
DEVIATION_HU = 20.0


@pytest.fixture(scope="module")
def insert():
    """A rod of 6 mm and 8 HU in the middle of an image."""
    places = (np.arange(32) - 15.5) * 0.8
    return 8.0 * (np.hypot(places[:, None], places) < 3)


def white(random, count):
    return random.normal(0, DEVIATION_HU, (count, 32, 32))


def grainy(random, count):
    return ndimage.gaussian_filter(white(random, count), (0, 1.2, 0.7), mode="wrap") * 3


def flat(channels):
    return channels.reshape(len(channels), -1)


def d_prime_by_theory(insert, covariance):
    """√(sᵀK⁻¹s) of the channels' signal, given their covariance."""
    signal = flat(CHANNELS) @ insert.ravel()
    return np.sqrt(signal @ np.linalg.inv(covariance) @ signal)


@pytest.mark.parametrize("noise", [white, grainy])
def test_known_covariance(insert, noise):
    # The filter is symmetric: filtered channels on white noise see what channels see on filtered noise.
    seen = flat(CHANNELS if noise is white else 3 * ndimage.gaussian_filter(CHANNELS, (0, 1.2, 0.7), mode="wrap"))
    expected = d_prime_by_theory(insert, DEVIATION_HU**2 * seen @ seen.T)
    random = np.random.default_rng(0)
    found = hotelling(noise(random, 1500) + insert, noise(random, 1500), CHANNELS)
    assert found.d_prime == pytest.approx(expected, rel=0.06)
    assert found.d_prime_interval[0] < expected < found.d_prime_interval[1]
    # The share of pairs that the ideal weights put right, counted.
    answers = [flat(noise(random, 1500) + with_it) @ flat(CHANNELS).T for with_it in (insert, 0)]
    weights = np.linalg.solve(np.cov(answers[1].T), flat(CHANNELS) @ insert.ravel())
    pairs = np.subtract.outer(answers[0] @ weights, answers[1] @ weights)
    assert found.auc == pytest.approx((pairs > 0).mean(), abs=0.02)
    assert found.auc_interval[0] < found.auc < found.auc_interval[1]


def test_auc_of_d_prime(insert):
    random = np.random.default_rng(4)
    found = hotelling(white(random, 60) + insert, white(random, 60), CHANNELS)
    assert found.auc == pytest.approx(special.ndtr(found.d_prime / np.sqrt(2)))


def single_pixels(random, images, signal):
    """White noise of SD 1 in images of five pixels, each of which is a channel."""
    return random.normal(0, 1, (images, 1, 5)) + signal


def test_few_images_are_right_on_average_and_say_how_sure():
    eye, random = np.eye(5).reshape(5, 1, 5), np.random.default_rng(1)
    found = [hotelling(single_pixels(random, 20, 0.8), single_pixels(random, 25, 0), eye, seed) for seed in range(40)]
    assert np.mean([one.d_prime**2 for one in found]) == pytest.approx(5 * 0.8**2, rel=0.15)
    covered = [one.d_prime_interval[0] <= np.sqrt(5) * 0.8 <= one.d_prime_interval[1] for one in found]
    assert 0.85 <= np.mean(covered) <= 1


def test_nothing_there_is_guessing():
    random = np.random.default_rng(2)
    eye = np.eye(5).reshape(5, 1, 5)
    found = hotelling(single_pixels(random, 400, 0), single_pixels(random, 400, 0), eye)
    assert found.d_prime < 0.3
    assert found.d_prime_interval[0] < 0.1
    assert found.auc == pytest.approx(0.5, abs=0.08)


def test_same_images_and_seed_give_the_same(insert):
    random = np.random.default_rng(3)
    images = white(random, 40) + insert, white(random, 40)
    first, again, other = (hotelling(*images, CHANNELS, seed) for seed in (0, 0, 1))
    assert first == again
    assert other.d_prime == first.d_prime
    assert other.d_prime_interval != first.d_prime_interval


def test_too_few_images(insert):
    with pytest.raises(Undefined, match="12 images with and 9 without the insert are too few for 5 channels"):
        hotelling(np.zeros((12, 32, 32)), np.zeros((9, 32, 32)), CHANNELS)


def test_channels_are_those_of_the_paper():
    rows, columns = (np.arange(32) - 15.5) * 0.8, (np.arange(40) - 19.5) * 0.5
    squared = (rows[:, None] ** 2 + columns**2) / 5**2
    for order, channel in enumerate(laguerre_gauss((32, 40), (0.8, 0.5), width_mm=5)):
        expected = np.exp(-np.pi * squared) * special.eval_laguerre(order, 2 * np.pi * squared)
        assert channel / np.abs(channel).max() == pytest.approx(expected / np.abs(expected).max(), abs=1e-9)


def test_channels_are_orthonormal_on_any_voxels():
    channels = flat(laguerre_gauss((60, 96), (0.5, 0.3), width_mm=6))
    assert channels @ channels.T == pytest.approx(np.eye(5), abs=0.01)


@pytest.fixture(scope="module")
def phantom():
    """Few slices of the cylinder, of which the rods fill the upper half; its noise is another in each."""
    return inserts(0, noise_hu=12.0, grid=centred_grid((240, 240, 24), (0.8, 0.8, 2.5)))


def test_a_larger_and_a_denser_rod_are_easier_to_see(phantom):
    def seen(rod):
        heights, squares = squares_around(phantom.ct, rod.centre_mm, 2 * rod.reach_mm + 4)
        channels = laguerre_gauss(squares.shape[1:], SPACING_MM, 1.6 * rod.reach_mm, count=3)
        return hotelling(squares[heights > CLEAR_MM], squares[heights < -CLEAR_MM], channels).d_prime

    def rod(diameter_mm, contrast_hu):
        return next(r for r in phantom.rods if (r.radius_mm, r.contrast_hu) == (diameter_mm / 2, contrast_hu))

    assert seen(rod(15, 20)) > seen(rod(5, 20)) > seen(rod(2, 5))
    assert seen(rod(7, -20)) > seen(rod(7, -5))


def test_squares_lie_where_they_are_asked_for(phantom):
    ct = phantom.ct
    for rod in phantom.rods[:6]:
        heights, squares = squares_around(ct, rod.centre_mm, 12)
        assert squares.shape == (24, 17, 17)
        i, j, k, _ = np.rint(np.linalg.inv(ct.affine) @ [*rod.centre_mm, heights[5], 1]).astype(int)
        assert squares[5, 8, 8] == ct.voxels[0, i, j, k]
        turned = replace(ct, voxels=ct.voxels[:, ::-1].transpose(0, 3, 2, 1), affine=flipped(ct)[:, [2, 1, 0, 3]])
        assert np.array_equal(squares_around(turned, rod.centre_mm, 12)[1], squares)
    with pytest.raises(Undefined, match="leaves the image"):
        squares_around(ct, (93.0, 0.0), 12)


def flipped(image):
    """The affine of an image whose first axis runs the other way."""
    affine = image.affine.copy()
    affine[:, 3] += affine[:, 0] * (image.grid.shape[0] - 1)
    affine[:, 0] *= -1
    return affine
