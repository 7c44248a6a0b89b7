"""CT to PET by FCN and cGAN: each against a loop written by hand, and blended in SUV."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus
from torch.optim import Adam

from MedGANLogic.domain import CT, PET, FixedWindow
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.inference.predict import predict
from MedGANLogic.recipe import build
from MedGANLogic.recipes import example, load
from MedGANLogic.study import TRANSLATION, StudyError
from MedGANLogic.training import optimizers_of, play, seed_of, start

CPU = torch.device("cpu")
FCN, CGAN = 0, 1
STEPS = 2


@pytest.fixture(params=[(2, 0), (3, 0)], ids=["2D", "3D"])
def study(request, toy_study):
    return toy_study(*request.param, example=example("ct2pet-fcn-cgan"))


@pytest.fixture
def system(study):
    return build(load("ct2pet-fcn-cgan"), study)


@pytest.fixture
def batches(system, study, toy_cohort):
    """Return a maker of a phase's first batches."""
    pool = Pool(study, [case for case in toy_cohort(study) if case.part == "train"])

    def make(place):
        drawn = Batches(system.phases[place].feed, pool, (study.seed,))
        return [drawn[number] for number in range(STEPS)]

    return make


def autocast(study):
    return torch.autocast("cpu", torch.bfloat16, enabled=study.dimensions == 2)


def of_each(costs, weight):
    """Return every sample's weighted mean."""
    return (costs * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)


def regressed_by_hand(networks, batches, study):
    regressor = networks["regressor"]
    adam = Adam(regressor.parameters(), lr=1e-4)
    for step, batch in enumerate(batches):
        torch.manual_seed(seed_of(study.seed, step))
        with autocast(study):
            found = regressor(batch["input"])
        suv = 10 * (batch["target"] + 1)
        costs = (1 + suv) * (found.float() - batch["target"]) ** 2
        adam.zero_grad()
        of_each(costs, batch["weight"]).mean().backward()
        adam.step()


def translated_by_hand(networks, batches, study):
    """pix2pix: D's halved loss on (CT, PET), then NS + 100·L1."""
    generator, discriminator = networks["generator"], networks["discriminator"]
    adam_d, adam_g = (Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (discriminator, generator))
    for step, batch in enumerate(batches):
        x, y, weight = batch["input"], batch["target"], batch["weight"]
        torch.manual_seed(seed_of(study.seed, step))
        with autocast(study):
            real = softplus(-discriminator(torch.cat([x, y], 1))).mean()
            fake = generator(x)
            shown = torch.where(weight > 0, fake, y)
            false = softplus(discriminator(torch.cat([x, shown.detach()], 1))).mean()
        adam_d.zero_grad()
        ((real.float() + false.float()) / 2).backward()
        adam_d.step()

        discriminator.requires_grad_(False)
        with autocast(study):
            adversarial = softplus(-discriminator(torch.cat([x, shown], 1))).mean()
            difference = of_each((fake.float() - y).abs(), weight).mean()
        adam_g.zero_grad()
        (adversarial.float() + 100 * difference).backward()
        adam_g.step()
        discriminator.requires_grad_(True)


@pytest.mark.parametrize(
    ("place", "train"), [(FCN, regressed_by_hand), (CGAN, translated_by_hand)], ids=["FCN", "cGAN"]
)
def test_two_steps_of_each_branch_are_those_of_a_loop_written_by_hand(system, study, batches, place, train):
    state = start(system, CPU)
    by_hand = deepcopy(dict(state.networks))
    phase, drawn = system.phases[place], batches(place)
    train(by_hand, drawn, study)
    optimizers = optimizers_of(phase, state.networks)
    for step, batch in enumerate(drawn):
        torch.manual_seed(seed_of(study.seed, step))
        play(phase, state.networks, optimizers, iter([batch]), step, CPU)
    for name, network in by_hand.items():
        found = state.networks[name].state_dict()
        assert all(torch.equal(value, found[key]) for key, value in network.state_dict().items()), name


def test_the_branches_share_neither_weights_nor_players(system):
    moved = [{name for player in phase.players for name in player.moves} for phase in system.phases]
    assert moved == [{"regressor"}, {"generator", "discriminator"}]
    weights = [id(weight) for network in system.networks.values() for weight in network.parameters()]
    assert len(weights) == len(set(weights))


def test_each_branch_gets_half_of_the_steps_and_the_fcn_four_times_the_batch(system, study):
    assert [phase.steps for phase in system.phases] == [20, 20]
    assert [phase.feed.batch for phase in system.phases] == [8, 2]
    published = build(load("ct2pet-fcn-cgan"), replace(study, changes={"width": 4}))
    assert [phase.feed.batch for phase in published.phases] == [4, 1]
    assert [phase.steps for phase in published.phases] == [40_000, 40_000]


@pytest.mark.parametrize(("suv", "weighs"), [(0, 1), (2.5, 3.5), (20, 21)])
def test_the_same_error_costs_the_fcn_more_where_uptake_is_high(system, batches, suv, weighs):
    (batch, _), phase = batches(FCN), system.phases[FCN]
    target = torch.full_like(batch["target"], suv / 10 - 1)
    game = phase.game({"regressor": lambda _image: target + 0.1}, {**batch, "target": target})
    (term,) = phase.players[0].terms
    assert term.weight * term.value(game).item() == pytest.approx(weighs * 0.1**2, rel=1e-4)


def test_what_the_fcn_said_is_forgotten_when_it_moves(system, batches):
    game = system.phases[FCN].game(system.networks, batches(FCN)[0])
    regressed, suv = game.regressed_b, game.suv_b
    game.forget(("regressor",))
    assert game.regressed_b is not regressed
    assert game.suv_b is suv


def test_suv_is_that_of_the_studys_window(study, batches):
    narrow = replace(PET, window=FixedWindow(-1.0, 9.0, body_above=0.1))
    system = build(load("ct2pet-fcn-cgan"), replace(study, targets={"pet": narrow}))
    target = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 1, 3, 1)
    assert system.phases[FCN].game({}, {"target": target}).suv_b.flatten().tolist() == [-1, 4, 9]
    assert system.passes[-1].at == pytest.approx(2 * (2.5 + 1) / 10 - 1)


def test_where_the_fcn_exceeds_2_5_suv_the_blend_is_the_fcn_and_elsewhere_the_cgan(system):
    random = np.random.default_rng(0)
    fcn_suv, cgan_suv = random.uniform(0, 5, (2, 8, 8, 8))
    fcn_suv[0, 0, :3] = 2.5, 2.51, 2.49
    scale = PET.window.scale(fcn_suv)
    blend = system.passes[-1]
    named = dict(zip(blend.reads, (scale.to_network(fcn_suv), scale.to_network(cgan_suv)), strict=True))
    blended = scale.to_unit(predict([blend], {}, named, CPU).volumes["pet"])
    assert blended == pytest.approx(np.where(fcn_suv > 2.5, fcn_suv, cgan_suv), abs=1e-5)


def test_the_fcn_is_what_the_blend_reads_first(system):
    by_fcn, by_cgan, blend = system.passes
    assert (by_fcn.network, by_cgan.network) == ("regressor", "generator")
    assert blend.reads == by_fcn.writes + by_cgan.writes
    assert blend.writes == ("pet",)


def test_the_discriminator_sees_ct_and_pet_and_the_fcn_has_none(system):
    assert system.networks["discriminator"].arguments["in_channels"] == 2
    names = [name for player in system.phases[FCN].players for term in player.terms for name in term.names]
    assert not any("score" in name or "fake" in name for name in names)


@pytest.mark.parametrize("target", [{"other": CT}, {"pet": replace(PET, window=TRANSLATION.inputs["mr"].window)}])
def test_a_study_whose_target_is_not_in_suv_of_a_fixed_window_is_refused(study, target):
    with pytest.raises(StudyError, match="SUV in a fixed window"):
        build(load("ct2pet-fcn-cgan"), replace(study, targets=target))
