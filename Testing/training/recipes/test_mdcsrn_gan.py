"""mDCSRN-GAN against loops written by hand, and what its input is; its layers are in test_parts_super_resolution.py."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from by_hand import assert_same, lowered, published, two_steps
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.degradation import Averaged, ZeroFilled
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.recipe import build
from MedGANLogic.study import StudyError

NAME = "mdcsrn-gan"


def rebuilt(networks, batches):
    generator = networks["generator"]
    adam = Adam(generator.parameters(), lr=1e-4)
    for batch in batches:
        adam.zero_grad()
        (generator(batch["input"]) - batch["target"]).abs().mean().backward()
        adam.step()


def judged(critic, adam, y, fake, mixing):
    share = mixing.reshape(-1, 1, 1, 1, 1)
    between = (share * y + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    adam.zero_grad()
    (critic(fake).mean() - critic(y).mean() + 10 * penalty).backward()
    adam.step()


def refined(networks, batches, turns, generator_plays):
    generator, critic = networks["generator"], networks["discriminator"]
    adam_d, adam_g = (Adam(network.parameters(), lr=5e-6) for network in (critic, generator))
    for number, batch in enumerate(batches):
        y, made = batch["target"], generator(batch["input"])
        fake = torch.where(batch["weight"] > 0, made, y)
        judged(critic, adam_d, y, fake.detach(), batch["mixing"])
        if generator_plays and number % turns == turns - 1:
            adam_g.zero_grad()
            ((made - y).abs().mean() - 1e-3 * critic(fake).mean()).backward()
            adam_g.step()


def test_at_first_the_generator_alone_learns_and_only_likeness(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, patch=8, width=2)
    by_hand = deepcopy(played.fresh)
    rebuilt(by_hand, played.batches)
    assert_same(played, by_hand, still=("discriminator",), spared=0.02)


@pytest.mark.parametrize(("place", "turns", "still"), [(1, 1, {"generator"}), (2, 7, set())])
def test_then_the_critic_alone_and_both_at_last_as_written_by_hand(toy_study, toy_cohort, place, turns, still):
    played = two_steps(NAME, toy_study, toy_cohort, place=place, patch=8, width=2)
    assert len(played.batches) == 2 * turns
    by_hand = deepcopy(played.fresh)
    refined(by_hand, played.batches, turns, generator_plays=not still)
    # What nobody moves still notes the mean and variance of what it sees.
    assert {player for one in played.phase.players for player in one.moves} == {"generator", "discriminator"} - still
    assert_same(played, by_hand, spared=0.02)


def test_the_critic_is_first_alone_then_has_seven_turns_and_two_hundred_more_after_every_five_hundred_steps():
    alone, both = published(NAME).phases[1:]
    assert [(player.name, player.turns_at(500)) for player in alone.players] == [("critic", 1)]
    critic, generator = both.players
    assert [critic.turns_at(step) for step in (0, 1, 499, 500, 501, 1000)] == [7, 7, 7, 207, 7, 207]
    assert {generator.turns_at(step) for step in (0, 500)} == {1}


def test_most_steps_are_for_likeness_alone_an_eighth_for_the_critic_and_a_quarter_for_both():
    assert [phase.steps for phase in published(NAME).phases] == [50_000, 10_000, 20_000]


def test_what_is_lowered_is_what_the_paper_says():
    pixels, alone, both = published(NAME).phases
    game = SimpleNamespace(
        score_real=torch.tensor([2.0]),
        score_fake=torch.tensor([-1.0]),
        slopes_between=torch.tensor([[3.0, 0.0]]),
        fake_b=torch.tensor([4.0, 0.0]),
        real_b=torch.tensor([0.0, 0.0]),
    )
    assert lowered(pixels.players[0], game) == 2
    assert lowered(alone.players[0], game) == lowered(both.players[0], game) == -2 - 1 + 10 * 4
    assert lowered(both.players[1], game) == pytest.approx(2 + 1e-3)


def test_its_input_has_the_kept_centre_of_k_space_and_nothing_else(toy_study, toy_cohort):
    study = toy_study(3, 0, example=recipes.example(NAME))
    assert study.made == {"mr": ZeroFilled("fine", (1, 2, 2))}
    pool = Pool(study, [case for case in toy_cohort(study) if case.part == "train"])
    (filled,), fine = pool.degraded[0]["mr"], pool.volumes[0]["fine"]
    spectra = [np.fft.fftshift(np.fft.fftn(volume)) for volume in (filled, fine)]
    shape = np.array(fine.shape)
    frequencies = np.abs(np.indices(shape) - (shape // 2).reshape(3, 1, 1, 1))
    kept = (frequencies < (shape / (1, 2, 2) / 2).reshape(3, 1, 1, 1))[1:].all(axis=0)
    largest = np.abs(spectra[1]).max()
    assert kept.mean() == pytest.approx(1 / 4, abs=0.03)
    assert np.abs(spectra[0][~kept]).max() < 1e-6 * largest
    assert np.abs((spectra[0] - spectra[1])[kept]).max() < 1e-6 * largest
    assert np.abs(spectra[1][~kept]).max() > 1e-3 * largest


def test_input_and_target_lie_on_one_grid_and_so_does_the_result(toy_study, toy_cohort):
    study = toy_study(3, 0, example=recipes.example(NAME), patch=16)
    recipe = build(recipes.load(NAME), study)
    pool = Pool(study, [case for case in toy_cohort(study) if case.part == "train"])
    batch = Batches(recipe.phases[0].feed, pool, (0,))[0]
    assert batch["input"].shape == batch["target"].shape == (2, 1, 16, 16, 16)
    assert recipe.networks["generator"](batch["input"]).shape == batch["target"].shape
    assert recipe.passes[0].times == study.finer_axes == (1, 1, 1)
    assert study.task == "super-resolution"


def test_an_input_on_a_coarser_grid_is_refused_with_what_to_do(toy_study):
    study = replace(toy_study(3, 0, example=recipes.example(NAME)), made={"mr": Averaged("fine", (1, 2, 2))})
    with pytest.raises(StudyError, match=r"1×2×2 times finer \(ZeroFilled"):
        build(recipes.load(NAME), study)
