"""A lesion's uptake and visibility against closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest

from MedGANLogic.evaluation import compare
from MedGANLogic.evaluation.lesions import area_under_curve, contrast, peak_uptake, surroundings
from MedGANLogic.evaluation.metrics import Undefined
from MedGANLogic.images import Image, ImageError

SPACING = (1.0, 1.0, 2.0)
SHAPE = (70, 70, 35)
EVERYWHERE = np.ones(SHAPE, bool)


def away_from_the_middle():
    """Each voxel's distance from the middle of the volume in mm."""
    axes = [(np.arange(n) - n // 2) * length for n, length in zip(SHAPE, SPACING, strict=True)]
    return np.linalg.norm(np.stack(np.meshgrid(*axes, indexing="ij")), axis=0)


@pytest.fixture
def lesion():
    return away_from_the_middle() <= 10


def test_the_surroundings_are_a_shell_of_the_body_around_the_lesion(lesion):
    away = away_from_the_middle()
    body = away < 24
    shell = surroundings(lesion, body, SPACING)
    assert not shell[away < 14].any()
    assert not shell[~body].any()
    assert shell[(away > 16) & body].all()
    with pytest.raises(Undefined, match="5 to 20 mm around"):
        surroundings(lesion, lesion, SPACING)
    with pytest.raises(Undefined, match="no voxel of the lesion"):
        surroundings(~EVERYWHERE, EVERYWHERE, SPACING)


def test_the_peak_is_the_mean_over_a_cubic_centimetre_where_it_is_highest(lesion):
    centre = np.array([40, 35, 17])
    distance = np.linalg.norm((np.indices(SHAPE).transpose(1, 2, 3, 0) - centre) * SPACING, axis=-1)
    sphere = distance <= (750 / math.pi) ** (1 / 3)
    assert sphere.sum() * 2 == pytest.approx(1000, rel=0.05)
    hot = np.where(sphere, 8.0, 1.0)
    hot[tuple(centre)] = 8 + sphere.sum()
    assert peak_uptake(hot, lesion, SPACING) == pytest.approx(9)
    # Of a lesion of one voxel, the sphere reaches beyond it; not beyond the volume.
    alone = np.zeros(SHAPE, bool)
    alone[0, 0, 0] = True
    assert peak_uptake(np.full(SHAPE, 3.0), alone, SPACING) == pytest.approx(3)


def test_the_area_is_that_of_normal_values_and_ties_count_half(lesion):
    random = np.random.default_rng(0)
    shell = surroundings(lesion, EVERYWHERE, SPACING)
    values = random.normal(5, 1, SHAPE) + lesion
    expected = 0.5 * (1 + math.erf(1 / 2))  # Phi(d' / sqrt 2) of a distance of one SD
    assert area_under_curve(values, lesion, shell) == pytest.approx(expected, abs=0.015)
    assert area_under_curve(np.ones(SHAPE), lesion, shell) == 0.5
    assert area_under_curve(-1.0 * lesion, lesion, shell) == 0
    assert contrast(1.0 + 3 * lesion, lesion, shell) == 4
    with pytest.raises(Undefined, match="surroundings' mean is 0"):
        contrast(1.0 * lesion, lesion, shell)


@pytest.fixture
def images(lesion):
    """A reference with a hot lesion in a body, a prediction that lost most of it, and the lesion's map."""
    body = away_from_the_middle() < 30
    pet = np.where(body, 1.0, 0.0) + 5 * lesion
    pet[35, 35, 17] = 9
    flat = np.where(body, 1.0, 0.0) + 0.5 * lesion
    image = Image(pet[None].astype(np.float32), np.diag([*SPACING, 1.0]), "SUV")
    marked = replace(image, voxels=3 * lesion[None].astype(np.uint8), unit="label")
    return image, replace(image, voxels=flat[None].astype(np.float32)), marked


def test_a_report_says_how_far_off_the_lesions_are(images, lesion):
    reference, prediction, marked = images
    report = compare(reference, prediction, lesions=marked)
    count = int(lesion.sum())
    found = {row.metric: (row.value, row.voxels) for row in report.rows if row.region == "lesions"}
    assert found["SUVmean error"] == (pytest.approx(1.5 - 6 - 3 / count), count)
    assert found["SUVmax error"] == (pytest.approx(1.5 - 9), count)
    assert found["SUVmax of reference"] == (pytest.approx(9), count)
    # The hottest voxel, of 2 mm³, is one of those of a cubic centimetre.
    assert found["SUVpeak error"] == (pytest.approx(1.5 - 6 - 3 * 2 / 1000, abs=1e-3), count)
    assert found["AUC"][0] == found["AUC of reference"][0] == 1
    assert found["contrast"][0] == pytest.approx(1.5)
    assert found["contrast of reference"][0] == pytest.approx(6 + 3 / count)
    assert "AUC: how often" in report.to_text()
    report.to_text().encode("cp1252")


def test_a_lesion_outside_of_the_mask_has_no_number_but_a_reason(images, lesion):
    reference, prediction, marked = images
    report = compare(reference, prediction, replace(marked, voxels=~lesion[None]), lesions=marked)
    assert report.value("SUVmax error", "lesions") is None
    assert "no voxel of the lesion lies in the mask" in report.to_text()
    assert report.value("MAE", "mask") == 0


def test_lesions_are_for_suv_and_on_the_same_grid(images):
    reference, prediction, marked = images
    with pytest.raises(ImageError, match="lesions are measured in SUV"):
        compare(replace(reference, unit="none"), replace(prediction, unit="none"), lesions=marked)
    with pytest.raises(ImageError, match="the map of lesions lies on another grid"):
        compare(reference, prediction, lesions=replace(marked, affine=np.eye(4)))
