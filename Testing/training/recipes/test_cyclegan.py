"""CycleGAN against a loop written by hand: its cycles, its history of translations, its decay."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from by_hand import CPU, STEPS, Played, assert_same, lowered, published
from torch import nn
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.games.cycle import Cycle
from MedGANLogic.parts.image_pool import ImagePool
from MedGANLogic.recipe import build
from MedGANLogic.training import play, start


@pytest.fixture
def played(toy_study, toy_cohort):
    """Return a maker of two steps from a step on, with histories that are full after the first."""

    def make(first):
        study = toy_study(3, 0, patch=24)
        recipe = build(recipes.load("cyclegan"), study)
        phase, state = recipe.phases[0], start(recipe, CPU)
        for name in ("pool_a", "pool_b"):
            state.networks[name].size = 2
        drawn = Batches(phase.feed, Pool(study, toy_cohort(study)[:2]), (study.seed,))
        batches = [drawn[number] for number in range(STEPS)]
        fresh, left = deepcopy(dict(state.networks)), iter(batches)
        for step in range(first, first + STEPS):
            torch.manual_seed(step)
            losses = play(phase, state.networks, state.optimizers, left, step, CPU)
        return Played(recipe, phase, fresh, state.networks, batches, losses)

    return make


def players_of(recipe):
    return {player.name: player for player in recipe.phases[0].players}


def trained_by_hand(networks, batches, first, rates):
    there, back = networks["a_to_b"], networks["b_to_a"]
    judge_a, judge_b = networks["discriminator_a"], networks["discriminator_b"]
    adam_d = Adam([*judge_a.parameters(), *judge_b.parameters()], lr=2e-4, betas=(0.5, 0.999))
    adam_g = Adam([*there.parameters(), *back.parameters()], lr=2e-4, betas=(0.5, 0.999))
    for step, (batch, rate) in enumerate(zip(batches, rates, strict=True), start=first):
        torch.manual_seed(step)
        a, b = batch["a"], batch["b"]
        for adam in (adam_d, adam_g):
            adam.param_groups[0]["lr"] = rate
        # The discriminators' order of draws from the histories is that of the terms: a, then b.
        fake_a = back(b)
        old_a = networks["pool_a"](fake_a.detach())
        fake_b = there(a)
        old_b = networks["pool_b"](fake_b.detach())
        loss_a = ((judge_a(a) - 1) ** 2).mean() / 2 + (judge_a(old_a) ** 2).mean() / 2
        loss_b = ((judge_b(b) - 1) ** 2).mean() / 2 + (judge_b(old_b) ** 2).mean() / 2
        adam_d.zero_grad()
        (loss_a + loss_b).backward()
        adam_d.step()

        fooled = ((judge_a(fake_a) - 1) ** 2).mean() + ((judge_b(fake_b) - 1) ** 2).mean()
        cycled = (back(fake_b) - a).abs().mean() + (there(fake_a) - b).abs().mean()
        adam_g.zero_grad()
        (fooled + 10 * cycled).backward()
        adam_g.step()


@pytest.mark.parametrize(("first", "rates"), [(0, [2e-4, 2e-4]), (19, [2e-4, 2e-4]), (30, [1e-4, 0.9e-4])])
def test_two_steps_are_those_written_by_hand(played, first, rates):
    steps = played(first)
    by_hand = deepcopy(steps.fresh)
    trained_by_hand(by_hand, steps.batches, first, rates)
    assert_same(steps, by_hand)


def test_what_is_lowered_is_what_the_paper_says():
    recipe = published("cyclegan")
    players = players_of(recipe)
    a = {"score_real_a": 3.0, "score_pooled_a": -2.0, "score_fake_a": 0.5, "cycled_a": 0.25, "real_a": -0.25}
    b = {"score_real_b": 0.0, "score_pooled_b": 1.0, "score_fake_b": 2.0, "cycled_b": 0.0, "real_b": 0.75}
    game = type("Said", (), {name: torch.tensor([value]) for name, value in {**a, **b}.items()})
    halves = ((3 - 1) ** 2 + 2**2) / 2 + ((0 - 1) ** 2 + 1) / 2
    assert lowered(players["discriminators"], game) == pytest.approx(halves)
    assert lowered(players["generators"], game) == pytest.approx(0.5**2 + 1 + 10 * (0.5 + 0.75))
    assert [recipe.networks[name].size for name in ("pool_a", "pool_b")] == [50, 50]


@pytest.mark.parametrize(("done", "factor"), [(0.0, 1.0), (0.5, 1.0), (0.75, 0.5), (0.99, 0.02)])
def test_the_rate_stays_for_half_of_the_steps_and_then_falls_in_a_line(done, factor):
    players = players_of(published("cyclegan"))
    assert [player.schedule(done) for player in players.values()] == [pytest.approx(factor)] * 2


class Line(nn.Module):
    def __init__(self, slope, offset):
        super().__init__()
        self.slope, self.offset = slope, offset

    def forward(self, image):
        return self.slope * image + self.offset


def lines(forth, back):
    score = {name: nn.Conv2d(1, 1, 1) for name in ("discriminator_a", "discriminator_b")}
    pools = {"pool_a": ImagePool(3), "pool_b": ImagePool(3)}
    return {"a_to_b": forth, "b_to_a": back, **score, **pools}


def images(seed, count=2):
    random = torch.Generator().manual_seed(seed)
    return {name: 2 * torch.rand(count, 1, 4, 4, generator=random) - 1 for name in ("a", "b")}


def test_there_and_back_by_inverse_lines_costs_nothing():
    players = players_of(published("cyclegan"))
    game = Cycle(lines(Line(0.5, 0.25), Line(2.0, -0.5)), images(0))
    cycles = [term.value(game).item() for term in players["generators"].terms if term.loss.__name__ == "l1"]
    assert cycles == [pytest.approx(0, abs=1e-6)] * 2
    askew = Cycle(lines(Line(0.5, 0.25), Line(2.0, 0.0)), images(0))
    cycles = [term.value(askew).item() for term in players["generators"].terms if term.loss.__name__ == "l1"]
    assert cycles == [pytest.approx(0.5), pytest.approx(0.25)]


def test_a_cycle_reads_no_pairing():
    batch = images(0)
    own = Cycle(lines(Line(0.5, 0.25), Line(3.0, 0.0)), batch)
    shuffled = Cycle(own.networks, {**batch, "b": batch["b"].flip(0)})
    assert torch.equal(own.cycled_a, shuffled.cycled_a)
    assert torch.equal(own.cycled_b.flip(0), shuffled.cycled_b)


def test_the_discriminators_alone_see_the_history():
    networks = lines(Line(1.0, 0.0), Line(1.0, 0.0))
    for number in range(20):
        torch.manual_seed(number)
        game = Cycle(networks, images(number, count=1))
        fresh = networks["discriminator_b"](game.fake_b)
        assert torch.equal(game.score_fake_b, fresh)
        pooled = game.score_pooled_b
        before = len(networks["pool_b"].history)
        assert torch.equal(game.score_pooled_b, pooled)
        assert len(networks["pool_b"].history) == before == min(number + 1, 3)
        assert len(networks["pool_a"].history) == 0
    seen = [not torch.equal(Cycle(networks, images(n, count=1)).score_pooled_b, networks["discriminator_b"](
        images(n, count=1)["a"])) for n in range(20)]  # fmt: skip
    assert 3 < sum(seen) < 17


def test_what_the_history_returns_teaches_no_generator():
    forth = nn.Conv2d(1, 1, 1)
    game = Cycle(lines(forth, Line(1.0, 0.0)), images(0))
    game.score_pooled_b.sum().backward()
    assert forth.weight.grad is None


def test_a_and_b_are_drawn_from_subjects_and_places_that_know_nothing_of_each_other(toy_study, toy_cohort):
    study = toy_study(2, 0)
    recipe = build(recipes.load("cyclegan"), study)
    feed = recipe.phases[0].feed
    assert [(source.name, *source.roles) for source in feed.sources] == [("a", "mr"), ("b", "ct")]
    drawn = Batches(feed, Pool(study, toy_cohort(study)[:2]), (study.seed,))
    alike = [
        abs(np.corrcoef(a.flatten(), b.flatten())[0, 1])
        for number in range(20)
        for a, b in zip(*(drawn[number][name].numpy() for name in ("a", "b")), strict=True)
    ]
    # In the toy's body CT follows from MR: a patch of one place would agree with itself.
    assert np.mean(alike) < 0.8
    assert np.mean(np.array(alike) > 0.97) < 0.1
