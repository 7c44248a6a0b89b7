"""InfoGAN against a loop written by hand; what the information's terms reach, and that codes come to be read."""

import math
from copy import deepcopy
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bundled import bundled
from by_hand import CPU, STEPS, assert_same, lowered, players_of, two_steps
from torch.distributions import Normal
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.optim import Adam

from MedGANLogic.chance import Category, ChanceError, Codes, Uniform
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.inference.translate import sample
from MedGANLogic.recipe import build
from MedGANLogic.recipes import load
from MedGANLogic.study import GENERATION
from MedGANLogic.training import play, start


@pytest.fixture(scope="module")
def once(toy_study, toy_cohort):
    return two_steps("infogan", toy_study, toy_cohort)


@pytest.fixture
def played(once):
    return deepcopy(once)


def said(logits, truth):
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def test_two_steps_are_those_of_equation_6_written_by_hand(played):
    networks = deepcopy(played.fresh)
    generator, discriminator, auxiliary = (networks[name] for name in ("generator", "discriminator", "auxiliary"))
    of_discriminator = Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    of_generator = Adam([*generator.parameters(), *auxiliary.parameters()], lr=1e-3, betas=(0.5, 0.999))
    assert len(played.batches) == STEPS
    for batch in played.batches:
        category, codes = batch["category"], batch["codes"]
        fake = generator(torch.cat([batch["noise"], category, codes], dim=1))
        of_discriminator.zero_grad()
        (said(discriminator(batch["image"]), 1.0) + said(discriminator(fake.detach()), 0.0)).backward()
        of_discriminator.step()
        of_generator.zero_grad()
        features = discriminator.body(fake)
        logits, mean, log_variance = auxiliary(features).split([10, 2, 2], dim=1)
        information = cross_entropy(logits, category.argmax(1))
        surprise = -Normal(mean, (log_variance / 2).exp()).log_prob(codes).sum(1).mean()
        (said(discriminator.head(features), 1.0) + information + 0.1 * surprise).backward()
        of_generator.step()
    assert_same(played, networks)


def test_the_objective_at_known_readings():
    players = players_of("infogan")
    game = SimpleNamespace(
        score_fake=torch.zeros(1),
        category_read=torch.zeros(1, 10),
        category=torch.eye(10)[:1],
        codes=torch.tensor([[0.5, -1.0]]),
        codes_read=torch.tensor([[0.5, 1.0, 0.0, math.log(4)]]),
    )
    # -log N(.5 | .5, 1) - log N(-1 | 1, 4)
    surprise = math.log(2 * math.pi) + math.log(2) + 0.5
    assert lowered(players["generator"], game) == pytest.approx(math.log(2) + math.log(10) + 0.1 * surprise)


def gradients(value, network):
    return torch.autograd.grad(value, list(network.parameters()), allow_unused=True, retain_graph=True)


def test_information_teaches_generator_and_reader_and_never_the_head_that_tells_real_from_fake(played):
    game = played.phase.game(played.networks, played.batches[0])
    terms = {term.names: term for player in played.phase.players for term in player.terms}
    for names in (("category_read", "category"), ("codes", "codes_read")):
        value = terms[names].value(game)
        for network in ("generator", "auxiliary"):
            assert all(gradient.any() for gradient in gradients(value, played.networks[network]))
        assert gradients(value, played.networks["discriminator"].head) == (None, None)
    # The discriminator's own player knows nothing of codes.
    assert {name for term in played.phase.players[0].terms for name in term.names} == {"score_real", "score_fake"}


def test_codes_are_drawn_as_in_the_paper(played):
    assert played.recipe.chance == {
        "noise": Uniform((62,), -1, 1),
        "category": Category(10),
        "codes": Codes((2,), -1, 1),
    }
    drawn = {name: torch.cat([batch[name] for batch in played.batches]) for name in played.recipe.chance}
    assert torch.equal(drawn["category"].sum(1), torch.ones(2 * STEPS))
    assert drawn["codes"].unique().numel() == drawn["codes"].numel()


def test_the_reader_learns_which_category_was_drawn(toy_study, toy_cohort):
    study = toy_study(2, 0, example=GENERATION, patch=8, batch=24)
    recipe = build(load("infogan"), study)
    phase, state = recipe.phases[0], start(recipe, CPU)
    drawn = Batches(phase.feed, Pool(study, toy_cohort(study)), (0,))
    batches = (drawn[number] for number in count())

    def accuracy():
        found = [phase.game(state.networks, drawn[number]) for number in range(1000, 1008)]
        return np.mean([(game.category_read.argmax(1) == game.category.argmax(1)).float().mean() for game in found])

    before = accuracy()
    for step in range(80):
        play(phase, state.networks, state.optimizers, batches, step, CPU)
    assert before < 0.25
    assert accuracy() > 0.4


def test_category_and_codes_can_be_asked_for(played, toy_study, tmp_path):
    study = toy_study(3, 0, example=GENERATION, patch=16)
    bundle = bundled(played.recipe, played.networks, study, tmp_path)

    def made(**choices):
        return sample(bundle, seed=5, choices=choices, device="cpu")[0].image.voxels

    first = made(category="3", code0="0.5")
    assert np.array_equal(first, made(category="3", code0="0.5"))
    assert not np.array_equal(first, made(category="4", code0="0.5"))
    assert not np.array_equal(first, made(category="3", code0="-0.5"))
    for choices in ({"category": "10"}, {"code1": "1.5"}, {"code2": "0"}):
        with pytest.raises(ChanceError):
            made(**choices)
