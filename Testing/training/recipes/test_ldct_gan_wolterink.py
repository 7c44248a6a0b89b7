"""The GAN for low-dose CT against a loop written by hand, in each of the paper's three forms."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from by_hand import CPU, assert_same, lowered, published, two_steps
from torch import nn
from torch.nn.functional import softplus
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.inference.predict import predict
from MedGANLogic.recipe import build

NAME = "ldct-gan-wolterink"
#: The paper's three networks, by what they change of the recipe.
FORMS = {"mse": {"adversarial": 0}, "both": {}, "adv": {"pixel": 0, "adversarial": 1}}
#: The weights of squared error and adversary in each.
WEIGHTS = {"mse": (1, 0), "both": (1, 1e-3), "adv": (0, 1)}


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture
def study_of(toy_study):
    """Return a maker of studies for one of the three forms; three layers take three voxels off every side."""

    def make(form="both", dimensions=3, neighbours=0, **further):
        study = toy_study(dimensions, neighbours, example=recipes.example(NAME), patch=16, **further)
        return replace(study, changes={**study.changes, **FORMS[form]})

    return make


def trained_by_hand(networks, batches, of_squares, of_adversary):
    generator, discriminator = networks["generator"], networks.get("discriminator")
    adam_g = Adam(generator.parameters(), lr=1e-4, betas=(0.9, 0.999))
    adam_d = discriminator and Adam(discriminator.parameters(), lr=1e-4, betas=(0.9, 0.999))
    for batch in batches:
        y, weight = (batch[name][:, :, 3:-3, 3:-3, 3:-3] for name in ("target", "weight"))
        fake = generator(batch["input"])
        shown = torch.where(weight > 0, fake, y)
        squares = ((fake - y) ** 2 * weight).sum((1, 2, 3, 4)) / weight.sum((1, 2, 3, 4))
        loss = of_squares * squares.mean()
        if discriminator:
            adam_d.zero_grad()
            real, made = discriminator(y), discriminator(shown.detach())
            (softplus(-real).mean() + softplus(made).mean()).backward()
            adam_d.step()
            discriminator.requires_grad_(False)
            loss = loss + of_adversary * softplus(-discriminator(shown)).mean()
            discriminator.requires_grad_(True)
        adam_g.zero_grad()
        loss.backward()
        adam_g.step()


def test_two_steps_of_each_form_are_those_written_by_hand(study_of, toy_cohort, form):
    played = two_steps(NAME, lambda *_, **__: study_of(form), toy_cohort)
    assert ("discriminator" in played.networks) == (form != "mse")
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches, *WEIGHTS[form])
    assert_same(played, by_hand, spared=0.1)


def test_mse_builds_no_discriminator_and_adv_has_no_pixel_term(study_of, form):
    recipe = build(recipes.load(NAME), study_of(form))
    (phase,) = recipe.phases
    read = {player.name: [set(term.names) for term in player.terms] for player in phase.players}
    pixels, scores = {"fake_b", "real_b", "weight"}, {"score_fake"}
    assert read["generator"] == {"mse": [pixels], "both": [pixels, scores], "adv": [scores]}[form]
    assert ("discriminator" in recipe.networks) == ("discriminator" in read) == (form != "mse")
    expected = {f"{name} {value:g}" for name, value in FORMS[form].items()}
    assert {text.split(" (paper")[0] for text in recipe.departures} >= expected


def test_what_is_lowered_is_what_the_paper_says(study_of, form):
    (phase,) = build(recipes.load(NAME), study_of(form)).phases
    players = {player.name: player for player in phase.players}
    game = SimpleNamespace(
        score_real=torch.tensor([[2.0]]),
        score_fake=torch.tensor([[-1.0]]),
        fake_b=torch.full((1, 1, 2, 2, 2), 0.5),
        real_b=torch.zeros(1, 1, 2, 2, 2),
        weight=torch.ones(1, 1, 2, 2, 2),
    )
    of_squares, of_adversary = WEIGHTS[form]
    expected = of_squares * 0.25 + of_adversary * 1.313262
    assert lowered(players["generator"], game) == pytest.approx(expected, abs=1e-6)
    if form != "mse":
        assert lowered(players["discriminator"], game) == pytest.approx(0.126928 + 0.313262, abs=1e-5)


def test_a_cube_of_25_is_compared_in_its_inner_11():
    recipe = published(NAME)
    (phase,) = recipe.phases
    (pair,) = phase.feed.sources
    assert pair.patch == (25, 25, 25)
    shown = {name: torch.empty(2, 1, 25, 25, 25, device="meta") for name in ("input", "target", "weight")}
    game = phase.game(recipe.networks, shown)
    assert game.fake_b.shape == game.real_b.shape == game.weight.shape == (2, 1, 11, 11, 11)
    assert game.score_fake.shape == (2, 1)
    assert recipe.passes[0].margin == 7


@pytest.mark.parametrize(("dimensions", "neighbours"), [(2, 0), (2, 1), (3, 0)])
def test_an_untrained_network_gives_back_the_inner_part_of_its_own_slices(study_of, toy_cohort, dimensions, neighbours):
    study = study_of(dimensions=dimensions, neighbours=neighbours)
    recipe = build(recipes.load(NAME), study)
    batch = Batches(recipe.phases[0].feed, Pool(study, toy_cohort(study)[:2]), (0,))[0]
    game = recipe.phases[0].game(recipe.networks, batch)
    inner = (..., *[slice(3, 13)] * dimensions)
    assert torch.equal(game.fake_b, batch["input"][:, neighbours : neighbours + 1][inner])
    assert torch.equal(game.real_b, batch["target"][inner])
    assert torch.equal(game.weight, batch["weight"][inner])
    assert not torch.equal(game.fake_b, game.real_b)


def test_what_is_predicted_lies_where_it_was_read_in_windows_of_any_size(study_of):
    recipe = build(recipes.load(NAME), study_of())
    network = recipe.networks["generator"]
    volume = np.random.default_rng(0).uniform(-1, 1, (10, 37, 41)).astype(np.float32)

    def predicted(memory_bytes):
        done = predict(recipe.passes, {"generator": network}, {"low": volume}, CPU, memory_bytes=memory_bytes)
        return done.volumes["full"], done.account[0]

    assert np.array_equal(predicted(2e8)[0], volume)
    nn.init.normal_(network.residual[-1].weight)
    (whole, one), (parts, several) = predicted(2e8), predicted(1.5e7)
    assert " 1 windows" in one
    assert " 1 windows" not in several
    assert np.allclose(whole, parts, atol=1e-5)
