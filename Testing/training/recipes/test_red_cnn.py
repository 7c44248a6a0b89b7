"""RED-CNN against a loop written by hand; its layers are in test_parts_denoising.py."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from by_hand import assert_same, lowered, players_of, published, two_steps
from torch.optim import Adam

NAME = "red-cnn"


def trained_by_hand(networks, batches, steps):
    generator = networks["generator"]
    adam = Adam(generator.parameters(), lr=1e-4, betas=(0.9, 0.999))
    for step, batch in enumerate(batches):
        adam.param_groups[0]["lr"] = 1e-4 * (1 - 0.9 * step / steps)
        weight = batch["weight"]
        squares = (generator(batch["input"]) - batch["target"]) ** 2 * weight
        adam.zero_grad()
        (squares.sum((1, 2, 3, 4)) / weight.sum((1, 2, 3, 4))).mean().backward()
        adam.step()


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches, played.phase.steps)
    assert_same(played, by_hand, spared=0.01)


def test_what_is_lowered_is_the_squared_error_alone():
    (player,) = players_of(NAME).values()
    game = SimpleNamespace(
        fake_b=torch.full((1, 1, 2, 2), 0.3), real_b=torch.zeros(1, 1, 2, 2), weight=torch.ones(1, 1, 2, 2)
    )
    assert lowered(player, game) == pytest.approx(0.09)


def test_the_rate_falls_from_1e_4_to_1e_5():
    (player,) = players_of(NAME).values()
    assert (player.schedule(0), player.schedule(0.5), player.schedule(1)) == pytest.approx((1, 0.55, 0.1))


def test_the_published_network_reads_patches_of_55_and_any_window_that_a_pass_cuts():
    recipe = published(NAME)
    (pair,) = recipe.phases[0].feed.sources
    assert pair.patch == (55, 55)
    assert recipe.networks["generator"](torch.empty(1, 1, 55, 55, device="meta")).shape == (1, 1, 55, 55)
    edge = recipe.passes[0].multiple
    assert recipe.networks["generator"](torch.empty(1, 1, edge, edge, device="meta")).shape == (1, 1, edge, edge)
