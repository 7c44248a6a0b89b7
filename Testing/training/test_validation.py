"""How good networks are while they train: by pairs where there are any, else by the distance of two sets of images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from MedGANLogic import recipes
from MedGANLogic.cohort import CohortError
from MedGANLogic.evaluation.distribution import sliced_wasserstein
from MedGANLogic.images import Image
from MedGANLogic.inference.cases import predict_case
from MedGANLogic.recipe import build
from MedGANLogic.study import SEGMENTATION, TRANSLATION
from MedGANLogic.validation import case_error, refuse_incomparable, validate


def evaluated(name, toy_study, toy_cohort, cases=None):
    example = recipes.example(name)
    study = toy_study(example.dimensions, example.neighbours, example=example)
    recipe = build(recipes.load(name), study)
    for network in recipe.networks.values():
        network.eval()
    cases = cases or [case for case in toy_cohort(study) if case.part == "validation"]
    return validate(recipe.networks, recipe, study, cases)


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("pix2pix", "MAE in HU"),
        ("segan", "1 - Dice"),
        ("srgan", "MAE"),
        ("dcgan", "sliced Wasserstein distance"),
        ("anogan", "sliced Wasserstein distance"),
    ],
)
def test_each_kind_of_system_is_scored_by_what_its_cohort_allows(name, measure, toy_study, toy_cohort):
    score = evaluated(name, toy_study, toy_cohort)
    assert score.measure == measure
    assert 0 < score.value < 5000
    assert score.picture.ndim == 2
    assert score.picture.dtype == np.float32


def test_cases_that_lack_a_volume_are_left_out_while_others_have_it(toy_study, toy_cohort):
    study = toy_study()
    whole, *_, kept = toy_cohort(study)
    bare = replace(whole, volumes={"mr": whole.volumes["mr"]})
    alone, together = (evaluated("pix2pix", toy_study, toy_cohort, cases) for cases in ([kept], [bare, kept]))
    assert alone.value == together.value


def test_where_no_case_is_a_pair_unpaired_sets_are_compared(toy_study, toy_cohort):
    study = toy_study(example=recipes.example("cyclegan"))
    first, second, *_ = toy_cohort(study)
    apart = [replace(first, volumes={"mr": first.volumes["mr"]}), replace(second, volumes={"ct": second.volumes["ct"]})]
    assert evaluated("cyclegan", toy_study, toy_cohort, apart).measure == "sliced Wasserstein distance"
    assert evaluated("cyclegan", toy_study, toy_cohort).measure == "MAE in HU"


def test_a_prediction_without_a_unit_has_the_brightness_of_what_it_was_made_from(toy_study, toy_cohort):
    example = recipes.example("srgan")
    study = toy_study(2, 0, example=example)
    recipe = build(recipes.load("srgan"), study)
    case = toy_cohort(study)[3]
    for network in recipe.networks.values():
        network.eval()
    predicted = predict_case(recipe.passes, recipe.networks, study, case)
    # The toy's MR lies between 120 and 480; a network that knows nothing answers in the middle.
    assert 200 < np.median(predicted.voxels) < 400


def test_a_game_that_makes_nothing_alike_needs_pairs(toy_study, toy_cohort):
    study = toy_study(example=recipes.example("segan"))
    recipe = build(recipes.load("segan"), study)
    case = toy_cohort(study)[2]
    assert "lesion" not in case.volumes
    with pytest.raises(CohortError, match="kept for validation has all of mr, lesion"):
        refuse_incomparable(recipe, study, [case])


def test_a_game_that_is_scored_by_what_it_makes_needs_what_it_is_played_with(toy_study, toy_cohort):
    study = toy_study(example=recipes.example("cyclegan"))
    recipe, case = build(recipes.load("cyclegan"), study), toy_cohort(study)[3]
    for role in ("mr", "ct"):
        alone = replace(case, volumes={role: case.volumes[role]})
        with pytest.raises(CohortError, match="no subject of part 'validation' has"):
            refuse_incomparable(recipe, study, [alone])


def test_an_average_is_scored_where_it_predicts(toy_study, toy_cohort):
    example = recipes.example("pgan")
    study = toy_study(2, 0, example=example)
    recipe = build(recipes.load("pgan"), study)
    cases = toy_cohort(study)[3:4]
    for network in recipe.networks.values():
        network.eval()
    before = validate(recipe.networks, recipe, study, cases).value
    with torch.no_grad():
        for weight in recipe.networks["generator"].parameters():
            weight.zero_()
    assert validate(recipe.networks, recipe, study, cases).value == before
    with torch.no_grad():
        for weight in recipe.networks["generator_average"].parameters():
            weight.zero_()
    assert validate(recipe.networks, recipe, study, cases).value != before


# --- by hand --------------------------------------------------------------------------------------------------------


def test_an_error_is_the_mean_where_the_case_is_valid_body(toy_case):
    case = toy_case("S", "validation", 0)
    off = case.volumes["ct"].astype(np.float32) + np.where(case.body & case.valid, 7, 1000)
    assert case_error(case, Image(off[None], case.affine, "HU"), TRANSLATION) == pytest.approx(7, rel=1e-4)


def test_dice_is_missed_by_what_is_missed(toy_cohort):
    case = toy_cohort(SEGMENTATION)[0]
    truth = case.volumes["lesion"] * (case.body & case.valid)
    assert case_error(case, Image(truth[None], case.affine, "label"), SEGMENTATION) == 0
    assert case_error(case, Image(0 * truth[None], case.affine, "label"), SEGMENTATION) == 1
    half = truth.copy()
    half[np.nonzero(truth)[0][::2], np.nonzero(truth)[1][::2], np.nonzero(truth)[2][::2]] = 0
    share = half.sum() / truth.sum()
    expected = 1 - 2 * share / (1 + share)
    assert case_error(case, Image(half[None], case.affine, "label"), SEGMENTATION) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(8, 1, 40, 36), (4, 2, 12, 20, 20)])
def test_a_set_is_at_no_distance_from_itself_and_farther_the_more_it_changes(shape):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    others = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert sliced_wasserstein(images, images) == 0
    assert sliced_wasserstein(images.flip(0), images) < 0.02
    shifted = [sliced_wasserstein(images + shift, images) for shift in (0.1, 0.2, 0.4)]
    assert shifted[0] < shifted[1] < shifted[2]
    # Another draw of the same is nearer than one colour.
    assert sliced_wasserstein(others, images) < 0.2 * sliced_wasserstein(0 * images, images)
    with pytest.raises(ValueError, match="one size"):
        sliced_wasserstein(images[:2], images)
