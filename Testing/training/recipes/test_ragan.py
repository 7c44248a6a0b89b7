"""Relativistic average GAN against a loop written by hand; what its losses do not change with."""

from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from by_hand import alternate, assert_same, lowered, players_of, two_steps
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from MedGANLogic.chance import Normal


def relativistic(winner, loser):
    """Return the cross entropy of "more real than the average of the others", in the paper's words."""
    high, low = winner - loser.mean(), loser - winner.mean()
    return binary_cross_entropy_with_logits(high, torch.ones_like(high)) + binary_cross_entropy_with_logits(
        low, torch.zeros_like(low)
    )


def judge(discriminator, image, fake, batch):
    return relativistic(discriminator(image), discriminator(fake))


def fool(discriminator, image, fake):
    return relativistic(discriminator(fake), discriminator(image))


def test_two_steps_are_those_of_algorithm_2_written_by_hand(toy_study, toy_cohort):
    played = two_steps("ragan", toy_study, toy_cohort)
    by_hand = deepcopy(played.fresh)
    alternate(by_hand, played.batches, partial(Adam, lr=2e-4, betas=(0.5, 0.999)), judge, fool)
    # Differences of logits do not know their constant: its gradient is what rounding leaves.
    assert_same(played, by_hand, but=["discriminator.head.0.bias"])
    assert played.recipe.chance == {"noise": Normal((128,))}


@pytest.fixture
def scores():
    return torch.randn(2, 5, 1, generator=torch.Generator().manual_seed(0))


def test_real_and_fake_swapped_turn_one_players_loss_into_the_others(scores):
    players = players_of("ragan")
    game = SimpleNamespace(score_real=scores[0], score_fake=scores[1])
    swapped = SimpleNamespace(score_real=scores[1], score_fake=scores[0])
    assert lowered(players["discriminator"], game) == lowered(players["generator"], swapped)
    assert lowered(players["discriminator"], game) != lowered(players["generator"], game)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_constant_added_to_all_logits_changes_nothing(scores, player):
    players = players_of("ragan")
    losses = [
        lowered(players[player], SimpleNamespace(score_real=scores[0] + constant, score_fake=scores[1] + constant))
        for constant in (0, 7)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_the_generator_learns_from_real_images_too(scores):
    players = players_of("ragan")
    real = scores[0].clone().requires_grad_()
    (term,) = players["generator"].terms
    term.value(SimpleNamespace(score_real=real, score_fake=scores[1])).backward()
    # It wants them to look less real.
    assert (real.grad > 0).all()
