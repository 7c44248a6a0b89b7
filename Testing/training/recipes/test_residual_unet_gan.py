"""The residual U-Net against a judge of grain: a loop written by hand, and what the judge can and cannot see."""

import math
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from by_hand import STEPS, assert_same, follow, lowered, players_of, two_steps
from torch import nn
from torch.nn.functional import avg_pool3d
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.games.denoising import Grained
from MedGANLogic.parts.discriminators.patch import NormFreePatchDiscriminator
from MedGANLogic.recipe import build
from MedGANLogic.study import DENOISING, StudyError

NAME = "residual-unet-gan"


def judged(image):
    """Return what the discriminator is shown of a volume."""
    smoothed = image
    for _ in range(2):
        smoothed = avg_pool3d(smoothed, 9, stride=1, padding=4, count_include_pad=False)
    return 20 * (image - smoothed)


def trained_by_hand(networks, batches, steps):
    generator, discriminator = networks["generator"], networks["discriminator"]
    adam_d = Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for step, batch in enumerate(batches):
        for adam in (adam_d, adam_g):
            adam.param_groups[0]["lr"] = 2e-4 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item()) / 2
        y, weight = batch["target"], batch["weight"]
        fake = generator(batch["input"])
        shown = torch.where(weight > 0, fake, y)
        adam_d.zero_grad()
        real, made = discriminator(judged(y)), discriminator(judged(shown.detach()))
        (((real - 1) ** 2).mean() / 2 + (made**2).mean() / 2).backward()
        adam_d.step()

        squares = ((fake - y) ** 2 * weight).sum((1, 2, 3, 4)) / weight.sum((1, 2, 3, 4))
        adam_g.zero_grad()
        discriminator.requires_grad_(False)
        ((squares + 1e-6).log().mean() + 5 * ((discriminator(judged(shown)) - 1) ** 2).mean() / 2).backward()
        discriminator.requires_grad_(True)
        adam_g.step()
        follow(generator, networks["generator_average"], step)


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort)
    assert len(played.batches) == STEPS
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches, played.phase.steps)
    assert_same(played, by_hand, spared=0.05)


def test_what_is_lowered_is_least_squares_and_the_logarithm_of_l2():
    players = players_of(NAME)
    images = {"fake_b": torch.full((1, 1, 1, 1), 0.5), "real_b": torch.zeros(1, 1, 1, 1)}
    game = SimpleNamespace(
        score_real=torch.tensor([2.0]), score_fake=torch.tensor([-1.0]), weight=torch.ones(1, 1, 1, 1), **images
    )
    assert lowered(players["discriminator"], game) == 0.5 + 0.5
    assert lowered(players["generator"], game) == pytest.approx(math.log(0.25) + 5 * 2, rel=1e-4)


@pytest.fixture
def game():
    random = torch.Generator().manual_seed(0)
    batch = {name: torch.rand(1, 1, 32, 32, generator=random) for name in ("input", "target")}
    batch["weight"] = torch.ones(1, 1, 32, 32)
    torch.manual_seed(0)
    return Grained({"generator": nn.Identity(), "discriminator": NormFreePatchDiscriminator(2, 1, 4, 2)}, batch)


def test_the_judge_does_not_see_a_shift_of_hu_and_does_see_how_strong_noise_is(game):
    def score(image):
        shown = {**game.batch, "input": image}
        return Grained(game.networks, shown).score_fake

    image = game.batch["input"]
    assert torch.allclose(score(image), score(image - 0.4), atol=1e-5)
    assert not torch.allclose(score(image), score(image / 2), atol=1e-4)


def test_the_adversary_pushes_no_mean_up_or_down(game):
    game.batch["input"].requires_grad_()
    (slope,) = torch.autograd.grad((game.score_fake - 1).square().mean(), game.batch["input"])
    assert slope.abs().sum() > 0
    # Far from the border what is pushed up here is pushed down beside it.
    assert slope.sum().abs() < 0.02 * slope.abs().sum()


def test_where_a_voxel_does_not_count_the_judge_is_shown_the_target(game):
    game.batch["weight"][..., :16] = 0
    assert torch.equal(game.shown_b[..., :16], game.real_b[..., :16])
    assert torch.allclose(game.grain_fake[..., :8], game.grain_real[..., :8], atol=1e-5)
    assert not torch.allclose(game.grain_fake[..., 24:], game.grain_real[..., 24:], atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, {"generator", "generator_average", "discriminator"}),
        ({"adversarial": 0}, {"generator", "generator_average"}),
        ({"pixel": 0}, {"generator", "generator_average", "discriminator"}),
    ],
)
def test_a_term_without_weight_is_left_out_and_so_is_who_has_no_other(toy_study, changes, names):
    study = toy_study(2, 0, example=DENOISING)
    recipe = build(recipes.load(NAME), replace(study, changes={**study.changes, **changes}))
    assert recipe.networks.keys() == names
    (phase,) = recipe.phases
    assert [player.name for player in phase.players] == ["discriminator"] * ("discriminator" in names) + ["generator"]
    assert all(term.weight for player in phase.players for term in player.terms)
    assert {f"{name} 0 " in " ".join(recipe.departures) for name in changes} <= {True}


def test_a_study_that_leaves_nothing_to_learn_is_refused(toy_study):
    study = replace(toy_study(2, 0, example=DENOISING), changes={"pixel": 0, "adversarial": 0})
    with torch.device("meta"), pytest.raises(StudyError, match="nothing to learn"):
        build(recipes.load(NAME), study)
