"""LSGAN against a loop written by hand, and at known outputs."""

from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from by_hand import alternate, assert_same, lowered, players_of, two_steps
from torch.nn.functional import mse_loss
from torch.optim import Adam

from MedGANLogic.chance import Uniform


def half_squared(outputs, wanted):
    return mse_loss(outputs, torch.full_like(outputs, wanted)) / 2


def judge(discriminator, image, fake, batch):
    return half_squared(discriminator(image), 1.0) + half_squared(discriminator(fake), 0.0)


def fool(discriminator, image, fake):
    return half_squared(discriminator(fake), 1.0)


def test_two_steps_are_those_of_a_loop_written_by_hand(toy_study, toy_cohort):
    played = two_steps("lsgan", toy_study, toy_cohort)
    by_hand = deepcopy(played.fresh)
    alternate(by_hand, played.batches, partial(Adam, lr=2e-4, betas=(0.5, 0.999)), judge, fool)
    assert_same(played, by_hand)
    assert played.recipe.chance == {"noise": Uniform((100,))}


# A sigmoid, or any other activation, fails here.
@pytest.mark.parametrize(
    ("real", "fake", "judged", "fooled"), [(2.0, -1.0, 1.0, 2.0), (1.0, 0.0, 0.0, 0.5), (0.0, 1.0, 1.0, 0.0)]
)
def test_losses_at_known_outputs(real, fake, judged, fooled):
    players = players_of("lsgan")
    game = SimpleNamespace(score_real=torch.tensor([real]), score_fake=torch.tensor([fake]))
    assert lowered(players["discriminator"], game) == judged
    assert lowered(players["generator"], game) == fooled


def test_the_generator_loses_by_an_output_beyond_real():
    players = players_of("lsgan")
    losses = [lowered(players["generator"], SimpleNamespace(score_fake=torch.tensor([at]))) for at in (1.0, 3.0)]
    assert losses == [0.0, 2.0]
