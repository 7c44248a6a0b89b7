"""Wasserstein GAN with gradient penalty against a loop written by hand; its penalty on a critic of known slope."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from by_hand import STEPS, alternate, assert_same, lowered, players_of, published, two_steps
from torch import nn
from torch.optim import Adam

from MedGANLogic.chance import Normal
from MedGANLogic.games.latent import Latent


def judge(critic, image, fake, batch):
    share = batch["mixing"].reshape(-1, 1, 1, 1, 1)
    between = (share * image + (1 - share) * fake).requires_grad_()
    real, made = critic(image), critic(fake)
    (gradients,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norms = gradients.square().sum(dim=(1, 2, 3, 4)).sqrt()
    return made.mean() - real.mean() + 10 * ((norms - 1) ** 2).mean()


def fool(critic, image, fake):
    return -critic(fake).mean()


def test_two_steps_are_those_of_algorithm_1_written_by_hand(toy_study, toy_cohort):
    played = two_steps("wgan-gp", toy_study, toy_cohort)
    assert len(played.batches) == 5 * STEPS
    by_hand = deepcopy(played.fresh)
    alternate(by_hand, played.batches, partial(Adam, lr=1e-4, betas=(0.0, 0.9)), judge, fool, turns=5)
    assert_same(played, by_hand)
    assert played.recipe.chance == {"noise": Normal((128,))}


def test_mixing_is_one_number_an_image_all_over_zero_to_one(toy_study, toy_cohort):
    played = two_steps("wgan-gp", toy_study, toy_cohort)
    mixing = torch.cat([batch["mixing"] for batch in played.batches])
    assert mixing.shape == (2 * len(played.batches), 1)
    assert mixing.unique().numel() == mixing.numel()
    assert 0 <= mixing.min() < 0.25
    assert 0.75 < mixing.max() <= 1


@pytest.mark.parametrize("slope", [0.25, 1.0, 3.0])
def test_on_a_linear_critic_of_known_slope_the_penalty_is_ten_times_its_distance_from_one_squared(slope):
    players = players_of("wgan-gp")
    critic = nn.Sequential(nn.Flatten(), nn.Linear(2 * 4 * 4, 1, bias=False))
    with torch.no_grad():
        critic[1].weight.mul_(slope / critic[1].weight.norm())
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 2, 4, 4, generator=random)
    batch = {"image": images[0], "noise": images[1], "mixing": torch.rand(3, 1, generator=random)}
    game = Latent({"generator": nn.Identity(), "discriminator": critic}, batch)
    difference = critic(images[1]).mean() - critic(images[0]).mean()
    penalty = lowered(players["critic"], game) - difference.item()
    assert penalty == pytest.approx(10 * (slope - 1) ** 2, abs=1e-4)


def test_the_critic_has_no_batch_norm():
    recipe = published("wgan-gp")
    norms = [module for module in recipe.networks["discriminator"].body if "Norm" in type(module).__name__]
    assert [type(norm) for norm in norms] == [nn.GroupNorm] * 3
    assert all(norm.num_groups == 1 for norm in norms)
