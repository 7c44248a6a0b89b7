"""SRGAN against a loop written by hand: pixels first, then features and a discriminator."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from by_hand import CPU, assert_same, lowered, two_steps
from torch import nn
from torch.nn.functional import avg_pool2d, softplus
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.degradation import Averaged
from MedGANLogic.games.perceptual import Perceptual
from MedGANLogic.recipe import build
from MedGANLogic.study import SUPER_RESOLUTION, StudyError


@pytest.fixture
def srgan(toy_study):
    return build(recipes.load("srgan"), toy_study(2, 0, example=SUPER_RESOLUTION))


def players_of(phase):
    return {player.name: player for player in phase.players}


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


def trained_on_pixels(networks, batches):
    generator = networks["generator"]
    adam = Adam(generator.parameters(), lr=1e-4)
    for batch in batches:
        with autocast():
            fake = generator(batch["input"])
        adam.zero_grad()
        (fake.float() - batch["target"]).square().mean().backward()
        adam.step()


def trained_on_features(networks, batches, rate):
    generator, discriminator, features = (networks[name] for name in ("generator", "discriminator", "features"))
    adam_d = Adam(discriminator.parameters(), lr=rate, betas=(0.9, 0.999))
    adam_g = Adam(generator.parameters(), lr=rate, betas=(0.9, 0.999))
    for batch in batches:
        y, weight = batch["target"], batch["weight"]
        with autocast():
            real = softplus(-discriminator(y)).mean()
            fake = torch.where(weight > 0, generator(batch["input"]), y)
            made = softplus(discriminator(fake.detach())).mean()
        adam_d.zero_grad()
        (real.float() + made.float()).backward()
        adam_d.step()

        discriminator.requires_grad_(False)
        with autocast():
            seen = ((features(fake).float() - features(y).float()) / 12.75).square().mean()
            adversarial = softplus(-discriminator(fake)).mean()
        adam_g.zero_grad()
        (seen + 1e-3 * adversarial.float()).backward()
        adam_g.step()
        discriminator.requires_grad_(True)


def test_at_first_pixels_alone_are_learnt_and_nobody_judges(toy_study, toy_cohort):
    played = two_steps("srgan", toy_study, toy_cohort, dimensions=2, patch=32)
    by_hand = deepcopy(played.fresh)
    trained_on_pixels(by_hand, played.batches)
    assert_same(played, by_hand, still=("discriminator", "features"))
    assert [player.name for player in played.phase.players] == ["generator"]


@pytest.mark.parametrize(("place", "rate"), [(1, 1e-4), (2, 1e-5)])
def test_then_two_steps_are_those_written_by_hand(toy_study, toy_cohort, place, rate):
    played = two_steps("srgan", toy_study, toy_cohort, place=place, dimensions=2, patch=32)
    by_hand = deepcopy(played.fresh)
    trained_on_features(by_hand, played.batches, rate)
    assert_same(played, by_hand, still=("features",))


def test_half_of_the_steps_are_for_pixels_and_a_quarter_for_each_rate(srgan):
    assert [phase.steps for phase in srgan.phases] == [20, 10, 10]


@pytest.mark.parametrize("place", [1, 2])
def test_features_that_are_constant_leave_a_thousandth_of_the_non_saturating_term(srgan, place):
    class Constant(nn.Module):
        def forward(self, image):
            return 0 * image + 3

    random = torch.Generator().manual_seed(0)
    batch = {
        "input": torch.rand(2, 1, 8, 8, generator=random),
        "target": torch.rand(2, 1, 32, 32, generator=random),
        "weight": torch.ones(2, 1, 32, 32),
    }
    game = Perceptual({**srgan.networks, "features": Constant()}, batch)
    expected = 1e-3 * -torch.log(torch.sigmoid(game.score_fake)).mean()
    assert lowered(players_of(srgan.phases[place])["generator"], game) == pytest.approx(expected.item(), rel=1e-5)


def test_what_is_lowered_is_what_the_paper_says(srgan):
    scores = {"score_real": torch.tensor([[2.0]]), "score_fake": torch.tensor([[-1.0]])}
    images = {"fake_b": torch.tensor([3.0]), "real_b": torch.tensor([1.0])}
    seen = {"features_fake": torch.tensor([0.0]), "features_real": torch.tensor([12.75])}
    game = SimpleNamespace(**scores, **images, **seen)
    assert lowered(players_of(srgan.phases[0])["generator"], game) == 4
    for phase in srgan.phases[1:]:
        judged = lowered(players_of(phase)["discriminator"], game)
        refined = lowered(players_of(phase)["generator"], game)
        assert judged == pytest.approx(0.126928 + 0.313262, abs=1e-5)
        assert refined == pytest.approx(1 + 1e-3 * 1.313262, abs=1e-6)


def test_the_fine_image_has_four_voxels_along_either_axis_for_one(srgan):
    assert srgan.networks["generator"](torch.zeros(2, 1, 9, 7)).shape == (2, 1, 36, 28)
    assert srgan.passes[0].finer == 4


@pytest.mark.parametrize(("by", "doublings"), [(2, 1), (8, 3)])
def test_another_power_of_two_takes_other_doublings(toy_study, by, doublings):
    study = replace(toy_study(2, 0, example=SUPER_RESOLUTION), made={"mr": Averaged("fine", by)})
    networks = build(recipes.load("srgan"), study).networks
    assert networks["generator"].arguments["doublings"] == doublings


@pytest.mark.parametrize("made", [{"mr": Averaged("fine", 3)}, {}])
def test_what_doubling_cannot_reach_is_refused(toy_study, made):
    study = replace(toy_study(2, 0, example=SUPER_RESOLUTION), made=made)
    with pytest.raises(StudyError, match="2, 4, 8 or 16"):
        build(recipes.load("srgan"), study)


def test_a_coarse_voxel_is_the_mean_of_its_fine_ones(toy_study, toy_cohort):
    played = two_steps("srgan", toy_study, toy_cohort, dimensions=2, patch=32)
    for batch in played.batches:
        # Where nothing saturates; a contrast of the input alone would be another image.
        apart = (avg_pool2d(batch["target"], 4) - batch["input"]).abs()
        assert apart.median() < 1e-5


def test_features_are_looked_at_and_never_moved(srgan):
    features = srgan.networks["features"]
    assert not any(weight.requires_grad for weight in features.parameters())
    assert not {"features"} & {name for phase in srgan.phases for player in phase.players for name in player.moves}
    assert features.departures[0] in srgan.departures
    image = torch.zeros(1, 1, 16, 16, device=CPU, requires_grad=True)
    features(image).sum().backward()
    assert image.grad.abs().sum() > 0
