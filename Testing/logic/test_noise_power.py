"""The noise-power spectrum against closed forms, its patches against images that say where they may lie, and on CTs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from MedGANLogic.evaluation import body_mask
from MedGANLogic.evaluation.metrics import Undefined
from MedGANLogic.evaluation.noise import flat_patches, noise_power, noise_power_distance
from MedGANLogic.images import read

SPACING_MM = (0.8, 0.5, 3.0)
SHAPE = (150, 240, 10)
FLAT = np.full(SHAPE, 50.0)
EVERYWHERE = np.ones(SHAPE, bool)


@pytest.fixture(scope="module")
def patches():
    return flat_patches(FLAT, EVERYWHERE, SPACING_MM)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).normal(0, 20, SHAPE)


def test_white_noise_has_one_power_at_all_frequencies(patches, noise):
    found = noise_power(FLAT + noise, patches)
    assert found.deviation_hu == pytest.approx(20, rel=0.02)
    # The second-order surface takes noise of the lowest frequencies along.
    assert found.power_hu2_mm2[2:] == pytest.approx(20**2 * 0.8 * 0.5, rel=0.1)
    assert found.power_hu2_mm2.mean() == pytest.approx(20**2 * 0.8 * 0.5, rel=0.05)
    assert found.frequency_per_mm[-1] == pytest.approx(1 / (2 * 0.8), abs=0.02)
    assert found.mean_frequency_per_mm() == pytest.approx(1 / (4 * 0.8), rel=0.1)


def test_filtered_noise_has_the_power_of_its_filter(patches, noise):
    blur_mm = 0.9
    found = noise_power(ndimage.gaussian_filter(noise, (blur_mm / 0.8, blur_mm / 0.5, 0), mode="wrap"), patches)
    expected = 20**2 * 0.8 * 0.5 * np.exp(-((2 * np.pi * blur_mm * found.frequency_per_mm) ** 2))
    # Below, the surface takes its part; above, a patch's edges let the strong frequencies leak into the faint ones.
    there = (found.frequency_per_mm > 0.07) & (found.frequency_per_mm < 0.3)
    assert there.sum() >= 5
    assert found.power_hu2_mm2[there] == pytest.approx(expected[there], rel=0.12)
    # Parseval: the variance is the integral over the plane, 1 / (4π blur²).
    assert found.deviation_hu**2 == pytest.approx(20**2 * 0.8 * 0.5 / (4 * np.pi * blur_mm**2), rel=0.08)


@pytest.mark.parametrize(("axis", "step_mm"), [(0, 0.8), (1, 0.5)])
def test_a_wave_lies_at_its_frequency_in_millimetres(patches, axis, step_mm):
    wave = 10 * np.sin(2 * np.pi * 0.25 * step_mm * np.arange(SHAPE[axis]))
    found = noise_power(wave[:, None, None] * np.ones(SHAPE) if axis == 0 else wave[:, None] * np.ones(SHAPE), patches)
    assert found.frequency_per_mm[found.power_hu2_mm2.argmax()] == pytest.approx(0.25, abs=0.02)
    assert found.deviation_hu == pytest.approx(10 / np.sqrt(2), rel=0.05)


def test_a_smooth_surface_is_no_noise(patches, noise):
    i, j, k = np.indices(SHAPE)
    surface = 3 * i - 2 * j + 0.02 * i * i - 0.01 * i * j + 40 * k
    bare, tilted = noise_power(noise, patches), noise_power(noise + surface, patches)
    assert tilted.power_hu2_mm2 == pytest.approx(bare.power_hu2_mm2)


def test_distance_is_a_share_of_the_references_noise(patches, noise):
    reference = noise_power(noise, patches)
    assert noise_power_distance(reference, reference) == 0
    assert noise_power_distance(noise_power(noise / 2, patches), reference) == pytest.approx(0.75)
    assert noise_power_distance(noise_power(FLAT, patches), reference) == pytest.approx(1)
    assert noise_power_distance(noise_power(2 * noise, patches), reference) == pytest.approx(3)


def test_distance_weighs_a_ring_by_its_length(patches):
    reference = noise_power(FLAT, patches)
    ones = np.ones(len(reference.frequency_per_mm))
    reference = replace(reference, power_hu2_mm2=ones, deviation_hu=1.0)
    without_highest = replace(reference, power_hu2_mm2=np.where(np.arange(len(ones)) == len(ones) - 1, 0, ones))
    share = reference.frequency_per_mm[-1] / reference.frequency_per_mm.sum()
    assert noise_power_distance(without_highest, reference) == pytest.approx(share)


def test_patches_lie_in_flat_soft_tissue_inside_the_mask_and_nowhere_twice(noise):
    i, j = np.indices(SHAPE[:2])
    fat, striped, masked = j < 60, (j >= 60) & (j < 150), (i >= 20) & (i < 130)
    hu = np.where(fat, -90.0, np.where(striped & (i // 10 % 2 == 0), 100.0, 50.0))[:, :, None] + noise
    mask = np.repeat(masked[:, :, None], SHAPE[2], axis=2)
    patches = flat_patches(hu, mask, SPACING_MM)
    hits = np.zeros(SHAPE, int)
    for a, b, c in patches.corners:
        hits[a : a + patches.shape[0], b : b + patches.shape[1], c] += 1
    assert hits.max() == 1
    assert patches.voxels == hits.sum()
    assert np.array(patches.shape) * SPACING_MM[:2] == pytest.approx([24, 24], rel=0.1)
    flat = (masked & (j >= 150))[:, :, None]
    assert not hits[~np.broadcast_to(flat, SHAPE)].any()


def test_the_flatter_half_is_taken(noise):
    # Waves of 40 mm in one half of the slices: soft tissue and flat enough, but not as flat as the other half.
    wave = 6 * np.sin(2 * np.pi / 14 * 0.8 * np.arange(SHAPE[0]))[:, None, None] * (np.arange(SHAPE[2]) < 5)
    found = flat_patches(FLAT + wave + noise / 20, EVERYWHERE, SPACING_MM)
    assert found.corners[:, 2].min() >= 5


def test_no_number_where_there_is_nothing_to_measure(patches):
    with pytest.raises(Undefined, match=r"voxels of 4\.5 mm are too large"):
        flat_patches(FLAT, EVERYWHERE, (4.5, 1.0, 1.0))
    with pytest.raises(Undefined, match=r"0 flat patches of soft tissue \(24 mm wide\) in the mask: at least 8"):
        flat_patches(FLAT - 1000, EVERYWHERE, SPACING_MM)
    with pytest.raises(Undefined, match="0 flat patches"):
        flat_patches(FLAT[:20, :20], EVERYWHERE[:20, :20], SPACING_MM)
    still = noise_power(FLAT, patches)
    with pytest.raises(Undefined, match="no noise"):
        still.mean_frequency_per_mm()
    with pytest.raises(Undefined, match="no noise"):
        noise_power_distance(still, still)


def test_two_kernels_of_one_scan(shared_data):
    smooth = read(shared_data / "chest_ct" / "lung_dx_a0002_B40f.nii.gz", "HU")
    smooth = replace(smooth, voxels=smooth.voxels[..., 9:19])
    sharp = read(shared_data / "chest_ct" / "lung_dx_a0002_B70f.nii.gz", "HU").voxels[0]
    patches = flat_patches(smooth.voxels[0], body_mask(smooth), smooth.grid.spacing_mm)
    spacing = smooth.grid.spacing_mm[0]
    b40, b70, blurred = (
        noise_power(of, patches)
        for of in (
            smooth.voxels[0],
            sharp,
            ndimage.gaussian_filter(smooth.voxels[0].astype(float), (0.7 / spacing, 0.7 / spacing, 0)),
        )
    )
    assert blurred.deviation_hu < 0.7 * b40.deviation_hu < 0.3 * b70.deviation_hu
    assert blurred.mean_frequency_per_mm() < 0.7 * b40.mean_frequency_per_mm() < 0.5 * b70.mean_frequency_per_mm()
    assert 0.5 < noise_power_distance(blurred, b40) < 1
    assert noise_power_distance(b70, b40) > 5
    # Both kernels pass low frequencies alike, since they are of the same rays.
    assert b70.power_hu2_mm2[:2] == pytest.approx(b40.power_hu2_mm2[:2], rel=0.6)
