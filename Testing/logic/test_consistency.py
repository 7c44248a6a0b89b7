"""Results whose fault is known, degraded again: noise alone passes; structure, blur and offsets are named."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from MedGANLogic.evaluation.consistency import consistency, consistency_error
from MedGANLogic.evaluation.metrics import Undefined
from MedGANLogic.images import Image, ImageError

SHAPE = (144, 132, 8)
SPACING_MM = (1.2, 1.3, 3.0)
AFFINE = np.diag([*SPACING_MM, 1.0])
ROW, COLUMN, SLICE = np.indices(SHAPE)
MASK = np.ones(SHAPE, bool)


def ct_noise(seed, deviation_hu=25.0):
    """Noise as filtered back-projection leaves it: next to nothing at low frequencies."""
    white = np.random.default_rng(seed).normal(size=SHAPE)
    frequency = np.hypot(np.fft.fftfreq(SHAPE[0], 1.2)[:, None], np.fft.fftfreq(SHAPE[1], 1.3))
    shape = np.sqrt(frequency * np.exp(-((2 * np.pi * 0.5 * frequency) ** 2)))[..., None]
    noise = np.fft.ifft2(np.fft.fft2(white, axes=(0, 1)) * shape, axes=(0, 1)).real
    return deviation_hu * noise / noise.std()


def ct(voxels):
    return Image(np.asarray(voxels, np.float32)[None], AFFINE, "HU")


#: Soft tissue beside lung beside fat.
CLEAN = np.select([COLUMN < 60, COLUMN < 96], [50.0, -850.0], -100.0)
GIVEN = ct(CLEAN + ct_noise(1))


def degrade(image):
    return replace(image, voxels=image.voxels + ct_noise(2)[None])


def nodule(diameter_mm, contrast_hu):
    places = np.stack([ROW - 60, COLUMN - 30, SLICE - 4], axis=-1) * SPACING_MM
    return contrast_hu * (np.linalg.norm(places, axis=-1) < diameter_mm / 2)


def found(result):
    return consistency(GIVEN, ct(result), degrade, MASK)


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(CLEAN, id="all the noise taken away"),
        pytest.param(CLEAN + 0.5 * ct_noise(1), id="half of it"),
        pytest.param(CLEAN + 1.5 * ct_noise(3), id="all of it, and grain of its own"),
    ],
)
def test_noise_alone_is_within_noise(result):
    assert found(result).verdict == "within noise"


@pytest.mark.parametrize("contrast_hu", [20.0, -20.0])
def test_structure_that_was_added_or_taken_away_is_found_in_its_tissue(contrast_hu):
    seen = found(CLEAN + nodule(14, contrast_hu))
    assert seen.verdict.startswith("not within noise")
    assert "soft tissue: in one place" in seen.verdict
    assert "lung" not in seen.verdict


def test_blur_takes_structure_away():
    blurred = ndimage.gaussian_filter(GIVEN.voxels[0], (1, 1, 0))
    assert "the coarse part is" in found(blurred).verdict


def test_an_offset_is_told_with_its_sign():
    shifted, right = found(CLEAN - 2), found(CLEAN)
    assert "soft tissue: +2.0 HU on average" in shifted.verdict
    for one, other in zip(shifted.tissues, right.tissues, strict=True):
        assert (one.coarse, one.largest) == pytest.approx((other.coarse, other.largest), rel=0.2)


def test_noise_may_have_a_mean_of_its_own():
    biased = replace(GIVEN, voxels=GIVEN.voxels + np.float32(4))
    seen = consistency(biased, ct(CLEAN), lambda image: degrade(replace(image, voxels=image.voxels + 4)), MASK)
    assert seen.verdict == "within noise"
    assert consistency(biased, ct(CLEAN), degrade, MASK).verdict != "within noise"


def test_what_was_taken_away_is_measured_by_tissue():
    by_name = {removed.tissue: removed for removed in found(CLEAN + 0.6 * ct_noise(1)).tissues}
    assert set(by_name) == {"lung", "fat", "soft tissue"}
    for removed in by_name.values():
        assert removed.deviation_hu == pytest.approx(10, rel=0.1)
        assert removed.noise_hu == pytest.approx(25, rel=0.1)
        assert removed.mean_hu == pytest.approx(0, abs=0.3)
    assert by_name["soft tissue"].voxels == pytest.approx((COLUMN < 60).sum(), rel=0.15)


def test_only_the_mask_counts():
    mask = COLUMN < 50
    spoilt = np.where(mask, CLEAN, 3000.0)
    seen = consistency(GIVEN, ct(spoilt), degrade, mask)
    assert [removed.tissue for removed in seen.tissues] == ["soft tissue"]


def test_slices_are_axial_however_they_are_stored():
    turned = AFFINE[:, [2, 0, 1, 3]]

    def stored(image):
        return Image(image.voxels.transpose(0, 3, 1, 2), turned, "HU")

    result = ct(CLEAN + nodule(14, 20))
    upright = consistency(GIVEN, result, degrade, MASK)
    again = consistency(
        stored(GIVEN),
        stored(result),
        lambda image: stored(degrade(Image(image.voxels.transpose(0, 2, 3, 1), AFFINE, "HU"))),
        MASK.transpose(2, 0, 1),
    )
    for one, other in zip(upright.tissues, again.tissues, strict=True):
        assert (one.coarse, one.largest) == pytest.approx((other.coarse, other.largest), rel=1e-3)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ImageError, match="the result, degraded again, must be in HU on the input's grid"):
        consistency(GIVEN, GIVEN, lambda image: replace(image, voxels=image.voxels[:, ::2]), MASK)
    with pytest.raises(ImageError, match="the result must be in HU on the input's grid: found none"):
        consistency(GIVEN, replace(GIVEN, unit="none"), degrade, MASK)
    with pytest.raises(Undefined, match="adds no noise"):
        consistency(GIVEN, ct(CLEAN), lambda image: image, MASK)
    with pytest.raises(Undefined, match="no tissue has 1000 voxels"):
        consistency(GIVEN, ct(CLEAN), degrade, ~MASK)


def coarser(image):
    """Every second voxel pair along I averaged."""
    voxels = (image.voxels[:, ::2] + image.voxels[:, 1::2]) / 2
    return Image(voxels, image.grid.with_spacing((2 * SPACING_MM[0], *SPACING_MM[1:])).affine, image.unit)


def test_a_coarser_grid_must_come_out_again():
    fine = ct(CLEAN + 10 * np.sin(ROW))
    given = coarser(fine)
    mask = np.ones(given.grid.shape, bool)
    assert consistency_error(given, fine, coarser, mask) == 0
    wrong = replace(fine, voxels=fine.voxels + np.float32(9))
    assert consistency_error(given, wrong, coarser, mask) == pytest.approx(900 / np.ptp(given.voxels), rel=1e-4)
    mask[:30] = False
    half_wrong = replace(fine, voxels=np.where(ROW < 60, fine.voxels + np.float32(9), fine.voxels))
    assert consistency_error(given, half_wrong, coarser, mask) == 0


def test_a_result_for_another_grid_has_no_error():
    with pytest.raises(ImageError, match=r"degraded again, has \(72, 132, 8\) voxels in HU: not the input's"):
        consistency_error(GIVEN, GIVEN, coarser, MASK)
    with pytest.raises(Undefined, match="no voxel"):
        consistency_error(GIVEN, GIVEN, lambda image: image, ~MASK)
    with pytest.raises(Undefined, match="one value"):
        consistency_error(ct(0 * CLEAN), ct(CLEAN), lambda image: image, MASK)
