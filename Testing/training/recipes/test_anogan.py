"""AnoGAN against a loop written by hand, and its search on a toy volume."""

from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from bundled import bundled
from by_hand import alternate, assert_same, published, two_steps
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from MedGANLogic.degradation import Predicted
from MedGANLogic.domain import CT, MR, UNLIKENESS
from MedGANLogic.inference.search import search
from MedGANLogic.inference.translate import translate
from MedGANLogic.passes import Search
from MedGANLogic.recipe import build
from MedGANLogic.recipes import load
from MedGANLogic.study import ANOMALY, SEGMENTATION, StudyError


def said(logits, truth):
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def test_two_steps_are_those_of_a_dcgan_written_by_hand(toy_study, toy_cohort):
    played = two_steps("anogan", toy_study, toy_cohort)
    by_hand = deepcopy(played.fresh)
    alternate(
        by_hand,
        played.batches,
        partial(Adam, lr=2e-4, betas=(0.5, 0.999)),
        lambda discriminator, image, fake, _: said(discriminator(image), 1.0) + said(discriminator(fake), 0.0),
        lambda discriminator, _, fake: said(discriminator(fake), 1.0),
    )
    assert_same(played, by_hand, spared=1e-3)


def test_it_searches_as_published():
    recipe = published("anogan")
    (one, _) = recipe.passes
    assert (one.steps, one.balance, one.latent) == (500, 0.1, 100)
    assert (one.multiple, one.largest, one.judge) == (64, 64, "discriminator")
    widths = [layer.out_channels for layer in recipe.networks["generator"].modules() if hasattr(layer, "kernel_size")]
    assert widths == [512, 256, 128, 64, 1]


@pytest.fixture(params=[2, 3])
def found(request, toy_study, toy_case, tmp_path):
    """Return a toy image, what was found in it, and the bundle that found it."""
    domains = {"anomaly": UNLIKENESS, "score": UNLIKENESS, "nearest": MR}
    every = replace(ANOMALY, targets=domains, made=dict.fromkeys(domains, Predicted()))
    study = toy_study(request.param, 0, example=every, patch=16, levels=None)
    recipe = build(load("anogan"), study)
    networks = dict(recipe.networks)
    # Fresh weights make all images alike, and dark ones at that.
    torch.nn.init.normal_(networks["generator"].image[-2].weight, std=3.0)
    short = tuple(replace(one, steps=3) if isinstance(one, Search) else one for one in recipe.passes)
    bundle = bundled(replace(recipe, passes=short), networks, study, tmp_path)
    image = toy_case("T", "test", 9).image("mr", MR)
    return image, translate(bundle, image, device="cpu", force=True), bundle


def test_the_map_is_the_distance_from_the_nearest_image_in_shares_of_the_window(found):
    image, done, _ = found
    nearest = done.further["nearest"].image.voxels
    scale = MR.window.scale(image.voxels)
    shown = [scale.to_network(image.voxels), (nearest - scale.low) / (scale.high - scale.low) * 2 - 1]
    assert np.ptp(nearest) > 0.1 * np.ptp(image.voxels)
    assert np.allclose(done.image.voxels, np.abs(shown[0] - shown[1]) / 2, atol=1e-4)


def test_a_patchs_score_is_that_of_the_patch_alone(found):
    image, done, bundle = found
    one = bundle.card.passes[0]
    shown = np.moveaxis(MR.window.scale(image.voxels).to_network(image.voxels)[0], 2, 0)
    edge = 16 if one.dimensions == 3 else 1
    place = np.s_[0:edge, 16:32, 16:32]
    window = np.pad(shown, [(0, edge - 12 if edge > 12 else 0), (0, 0), (0, 0)], constant_values=-1)[place]
    window = torch.from_numpy(window).reshape(1, 1, *[16] * one.dimensions)
    alone = search(one, bundle.networks["generator"], bundle.networks["discriminator"], window)
    score = np.moveaxis(done.further["score"].image.voxels[0], 2, 0)[place]
    assert np.ptp(score) == pytest.approx(0, abs=1e-6)
    assert score.mean() == pytest.approx((float(alone[0, 1].mean()) + 1) / 2, abs=1e-4)
    assert len(np.unique(done.further["score"].image.voxels)) > 4


@pytest.mark.parametrize(
    "asked",
    [
        {"inputs": {"mr": MR, "ct": CT}},
        {"neighbours": 1},
        {"inputs": {"seg": next(iter(SEGMENTATION.targets.values()))}},
        {"targets": SEGMENTATION.targets},
        {"targets": {"anomaly": UNLIKENESS, "ct": CT}},
        {"targets": {"score": UNLIKENESS}},
        {"inputs": {}},
    ],
    ids=["two images", "neighbours", "labels in", "labels out", "a second target", "a score alone", "nothing"],
)
def test_a_study_that_cannot_be_searched_is_refused(asked):
    with pytest.raises(StudyError, match="reads one image"):
        build(load("anogan"), replace(ANOMALY, **{"made": {}, **asked}))


@pytest.mark.parametrize("target", [CT, UNLIKENESS], ids=["CT", "anomaly"])
def test_a_target_that_a_file_holds_is_refused(target):
    with pytest.raises(StudyError, match=r'made.wanted = \{ kind = "Predicted" \}'):
        build(load("anogan"), replace(ANOMALY, targets={"wanted": target}, made={}))


def test_an_anomaly_in_hu_is_refused():
    with pytest.raises(StudyError, match="ct cannot be HU"):
        build(load("anogan"), replace(ANOMALY, targets={"ct": CT}, made={"ct": Predicted()}))
