"""WGAN-VGG against a loop written by hand; its layers are in test_parts_denoising.py."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from by_hand import CPU, STEPS, assert_same, lowered, players_of, published, two_steps
from torch import nn
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.games.perceptual import Perceptual
from MedGANLogic.recipe import build
from MedGANLogic.study import StudyError

NAME = "wgan-vgg"


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


def steepness(critic, y, fake, share):
    between = torch.lerp(fake.detach().float(), y, share.reshape(-1, 1, 1, 1)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return slope.flatten(1).norm(dim=1)


def trained_by_hand(networks, batches):
    generator, critic, features = (networks[name] for name in ("generator", "discriminator", "features"))
    adam_d = Adam(critic.parameters(), lr=1e-5, betas=(0.5, 0.9))
    adam_g = Adam(generator.parameters(), lr=1e-5, betas=(0.5, 0.9))
    for number, batch in enumerate(batches):
        y, weight = batch["target"], batch["weight"]
        with autocast():
            fake = torch.where(weight > 0, generator(batch["input"]), y)
            distance = critic(y).float().mean() - critic(fake.detach()).float().mean()
        penalty = (steepness(critic, y, fake, batch["mixing"]) - 1).square().mean()
        adam_d.zero_grad()
        (10 * penalty - distance).backward()
        adam_d.step()
        if number % 4 == 3:
            critic.requires_grad_(False)
            with autocast():
                seen = (features(fake).float() - features(y).float()).square().mean()
                adversarial = -critic(fake).float().mean()
            adam_g.zero_grad()
            (adversarial + 0.1 * seen).backward()
            adam_g.step()
            critic.requires_grad_(True)


def test_two_steps_are_those_written_by_hand_with_four_turns_of_the_critic_each(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, dimensions=2, patch=16)
    assert len(played.batches) == 4 * STEPS
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches)
    assert_same(played, by_hand, spared=0.02, still=("features",))


class Constant(nn.Module):
    def forward(self, image):
        return 0 * image + 3


def test_with_a_constant_feature_net_the_generator_lowers_minus_the_critics_score_exactly():
    players = players_of(NAME)
    random = torch.Generator().manual_seed(0)
    batch = {name: torch.rand(2, 1, 16, 16, generator=random) for name in ("input", "target")}
    batch |= {"weight": torch.ones(2, 1, 16, 16), "mixing": torch.rand(2, 1, generator=random)}
    networks = {"generator": nn.Identity(), "discriminator": nn.Flatten(), "features": Constant()}
    game = Perceptual(networks, batch)
    assert lowered(players["generator"], game) == -batch["input"].mean().item()
    # A critic of slope 16 (the sum of 16² voxels): ten times its distance from 1, squared.
    summing = {**networks, "discriminator": nn.Sequential(nn.Flatten(), Sum())}
    game = Perceptual(summing, batch)
    difference = (batch["input"] - batch["target"]).sum((1, 2, 3)).mean().item()
    assert lowered(players["critic"], game) == pytest.approx(difference + 10 * 15**2, abs=1e-2)


class Sum(nn.Module):
    def forward(self, image):
        return image.sum(1)


def test_what_is_lowered_is_what_the_paper_says():
    players = players_of(NAME)
    game = SimpleNamespace(
        score_real=torch.tensor([2.0]),
        score_fake=torch.tensor([-1.0]),
        slopes_between=torch.tensor([[3.0, 0.0]]),
        features_fake=torch.tensor([4.0, 0.0]),
        features_real=torch.tensor([0.0, 0.0]),
    )
    assert lowered(players["critic"], game) == -2 - 1 + 10 * 4
    assert lowered(players["generator"], game) == pytest.approx(1 + 0.1 * 8)
    assert (players["critic"].turns, players["generator"].turns) == (4, 1)


def test_nothing_compares_voxels():
    names = {name for term in players_of(NAME)["generator"].terms for name in term.names}
    assert names == {"score_fake", "features_fake", "features_real"}


def test_the_published_critic_is_twice_as_wide_as_the_generator_and_reads_patches_of_64():
    recipe = published(NAME)
    assert recipe.networks["generator"].arguments == {
        "dimensions": 2,
        "in_channels": 1,
        "out_channels": 1,
        "width": 32,
        "layers": 8,
    }
    assert recipe.networks["discriminator"].arguments == {"dimensions": 2, "in_channels": 1, "width": 64, "size": 64}
    assert recipe.phases[0].feed.batch == 128


def test_the_generator_takes_any_matrix(toy_study):
    recipe = build(recipes.load(NAME), toy_study(2, 1, example=recipes.example(NAME)))
    assert recipe.networks["generator"].to(CPU)(torch.zeros(1, 3, 31, 18)).shape == (1, 1, 31, 18)


def test_a_study_of_volumes_is_refused(toy_study):
    with pytest.raises(StudyError, match="2 dimensions"):
        build(recipes.load(NAME), toy_study(3, 0, example=recipes.example(NAME)))
