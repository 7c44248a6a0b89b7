"""The thin-slice GAN against a loop written by hand, and where its slices lie."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bundled import bundled
from by_hand import assert_same, lowered, players_of, published, two_steps
from torch.nn.functional import softplus
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.degradation import Averaged
from MedGANLogic.images import Image
from MedGANLogic.inference.translate import translate
from MedGANLogic.recipe import build
from MedGANLogic.study import StudyError

NAME = "thinslice-3dsrgan"


def variation(volume):
    axes = (volume[:, :, 1:] - volume[:, :, :-1], volume[:, :, :, 1:] - volume[:, :, :, :-1])
    return sum(axis.abs().mean() for axis in (*axes, volume[..., 1:] - volume[..., :-1]))


def trained_by_hand(networks, batches):
    generator, discriminator = networks["generator"], networks["discriminator"]
    adam_d, adam_g = (Adam(network.parameters(), lr=1e-4) for network in (discriminator, generator))
    for batch in batches:
        y, made = batch["target"], generator(batch["input"])
        fake = torch.where(batch["weight"] > 0, made, y)
        adam_d.zero_grad()
        (softplus(-discriminator(y)).mean() + softplus(discriminator(fake.detach())).mean()).backward()
        adam_d.step()

        adam_g.zero_grad()
        squared_weights = sum(weight.square().sum() for weight in generator.parameters())
        likeness = (made - y).square().mean() + 1e-4 * variation(made)
        (likeness + 1e-3 * softplus(-discriminator(fake)).mean() + 1e-5 * squared_weights).backward()
        adam_g.step()


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, width=2, patch=8)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches)
    assert_same(played, by_hand, spared=0.02)


def test_a_patch_is_a_cube_of_thick_slices_and_three_times_as_many_thin_ones(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, width=2, patch=8)
    for batch in played.batches:
        assert batch["input"].shape == (2, 1, 8, 8, 8)
        assert batch["target"].shape == batch["weight"].shape == (2, 1, 24, 8, 8)
        # A thick slice is the mean of its three, where the image is.
        means = batch["target"].unflatten(2, (8, 3)).mean(dim=3)
        inside = batch["weight"].unflatten(2, (8, 3)).amin(dim=3) > 0
        assert inside.any()
        assert (means - batch["input"]).abs()[inside].median() < 1e-3
    assert published(NAME).networks["discriminator"].arguments == {
        "dimensions": 3,
        "in_channels": 1,
        "width": 32,
        "size": 32,
        "times": 3,
    }


def test_what_is_lowered_is_what_the_review_says():
    players = players_of(NAME)
    ramp = torch.arange(4.0).reshape(1, 1, 4, 1, 1).expand(1, 1, 4, 2, 2)
    scores = {"score_real": torch.tensor([[2.0]]), "score_fake": torch.tensor([[-1.0]])}
    game = SimpleNamespace(fake_b=ramp, real_b=ramp + 2, **scores)
    assert lowered(players["discriminator"], game) == pytest.approx(0.126928 + 0.313262, abs=1e-5)
    assert lowered(players["generator"], game) == pytest.approx(4 + 1e-3 * 1.313262 + 1e-4 * 1, abs=1e-6)


def test_the_generators_weights_alone_decay_with_the_gradient_of_their_squares():
    weight = torch.nn.Parameter(torch.tensor([3.0]))
    decays = {
        name: player.optimizer([weight]).param_groups[0]["weight_decay"] for name, player in players_of(NAME).items()
    }
    assert decays == {"generator": 2 * 1e-5, "discriminator": 0}


@pytest.fixture
def thin(toy_study, tmp_path):
    study = toy_study(3, 0, example=recipes.example(NAME))
    recipe = build(recipes.load(NAME), study)
    return bundled(recipe, recipe.networks, study, tmp_path)


def oblique():
    """Return an affine whose third axis runs most nearly down, and a rotation between the two others."""
    cosine, sine = np.cos(0.3), np.sin(0.3)
    affine = np.array([[cosine, -sine, 0, 11], [sine, cosine, 0, -7], [0, 0, -1, 5], [0, 0, 0, 1]])
    affine[:3, :3] *= (2.0, 2.0, 6.0)
    return affine


@pytest.mark.parametrize("affine", [np.diag([2.0, 2.0, 6.0, 1.0]), oblique()], ids=["upright", "oblique"])
def test_only_the_slice_axis_grows_over_the_same_box_from_an_origin_two_thirds_of_a_spacing_before(thin, affine):
    voxels = np.random.default_rng(0).uniform(100, 400, (1, 14, 12, 5)).astype(np.float32)
    made = translate(thin, Image(voxels, affine, "none"), device="cpu", force=True).image
    assert made.grid.shape == (14, 12, 15)
    assert made.grid.spacing_mm == pytest.approx((2, 2, 2))
    # (r - 1) / 2 = 1 new spacing along the slice axis, whichever way that runs.
    assert made.affine[:3, 3] == pytest.approx(affine[:3, 3] - affine[:3, 2] / 3, abs=1e-9)
    corners = [
        image @ np.array([*(np.array(shape) * at - 0.5), 1])
        for image, shape in ((affine, (14, 12, 5)), (made.affine, (14, 12, 15)))
        for at in (0, 1)
    ]
    assert np.allclose(corners[:2], corners[2:])


@pytest.mark.parametrize("by", [2, (1, 2, 2), (3, 2, 1)], ids=str)
def test_what_grows_along_another_axis_is_refused_with_what_to_do(toy_study, by):
    study = replace(toy_study(3, 0, example=recipes.example(NAME)), made={"mr": Averaged("fine", by)})
    with pytest.raises(StudyError, match=r"thin slices of thick ones.*by = \[3, 1, 1\]"):
        build(recipes.load(NAME), study)
