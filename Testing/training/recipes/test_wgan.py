"""Wasserstein GAN against a loop written by hand; its clip, its turns, its losses."""

from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from by_hand import CPU, STEPS, alternate, assert_same, lowered, players_of, two_steps
from torch.optim import RMSprop

from MedGANLogic.chance import Normal
from MedGANLogic.training import optimizers_of, play


def judge(critic, image, fake, batch):
    return -(critic(image).mean() - critic(fake).mean())


def fool(critic, image, fake):
    return -critic(fake).mean()


def clip(critic):
    for weight in critic.parameters():
        weight.data = weight.data.clip(-0.01, 0.01)


def test_two_steps_are_those_of_algorithm_1_written_by_hand(toy_study, toy_cohort):
    played = two_steps("wgan", toy_study, toy_cohort)
    assert len(played.batches) == 5 * STEPS
    by_hand = deepcopy(played.fresh)
    alternate(by_hand, played.batches, partial(RMSprop, lr=5e-5), judge, fool, turns=5, after=clip)
    assert_same(played, by_hand)
    assert played.recipe.chance == {"noise": Normal((100,))}


def test_after_every_turn_of_the_critic_no_weight_exceeds_a_hundredth(toy_study, toy_cohort):
    played = two_steps("wgan", toy_study, toy_cohort)
    critic, largest = played.fresh["discriminator"], []

    def watch(game, player, weights):
        # Called after a backward pass: the weights are those that the turn before has left.
        largest.append(max(weight.abs().max().item() for weight in critic.parameters()))

    optimizers = optimizers_of(played.phase, played.fresh)
    play(played.phase, played.fresh, optimizers, iter(played.batches), 0, CPU, watch)
    first, *others = largest
    assert first > 0.01
    assert others == [pytest.approx(0.01)] * 5


def test_losses_are_differences_of_mean_scores():
    players = players_of("wgan")
    game = SimpleNamespace(score_real=torch.tensor([3.0, 5.0]), score_fake=torch.tensor([-2.0, 1.0]))
    assert lowered(players["critic"], game) == -4.5
    assert lowered(players["generator"], game) == 0.5
