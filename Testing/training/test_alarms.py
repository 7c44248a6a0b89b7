"""GANs broken on purpose: every alarm goes off in a real run, and none in a healthy one."""

import json
import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.optim import SGD, Adam

from MedGANLogic import recipes, training
from MedGANLogic.experiment import Experiment, train
from MedGANLogic.feeds import Feed, Pair, Pool
from MedGANLogic.parts.losses.voxelwise import l1
from MedGANLogic.recipe import Linear, Term, build
from MedGANLogic.recorder import OnAlarm
from MedGANLogic.training import BEST, CHECKPOINT, Pace, Run, UnhealthyError, fit, start

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def recorded_often(monkeypatch):
    import sys

    monkeypatch.setattr(training, "RECORD_EVERY", 2)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


@pytest.fixture
def flown(toy_study, toy_cases, tmp_path):
    """Return a maker of runs: alarms that were told, and the error that ended the run, if any."""

    def fly(recipe, steps, on_alarm=OnAlarm.STOP, save_every=10):
        state, told, ended = start(recipe, CPU), [], None
        pool, pace = Pool(toy_study(), toy_cases[:2]), Pace(steps, steps, save_every)
        try:
            for progress in fit(Run(recipe, pool, pace, tmp_path, lambda _: 1.0, on_alarm), state):
                told += progress.alarms
        except UnhealthyError as error:
            ended = str(error)
        return told, ended, state

    return fly


@pytest.fixture
def pix2pix(toy_study):
    return build(recipes.load("pix2pix"), toy_study())


def changed(recipe, name, **changes):
    """Return a recipe of one phase with one player changed."""
    (phase,) = recipe.phases
    players = tuple(replace(player, **changes) if player.name == name else player for player in phase.players)
    return replace(recipe, phases=(replace(phase, players=players),))


def names(alarms):
    return {alarm.name for alarm in alarms}


def test_a_healthy_run_raises_none(flown, pix2pix, tmp_path):
    told, ended, _ = flown(pix2pix, 300)
    assert (names(told) - {"feed starved"}, ended) == (set(), None)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 300


def test_a_critic_that_has_won_is_told(flown, pix2pix):
    frozen = changed(pix2pix, "generator", optimizer=partial(SGD, lr=0.0), after=())
    strong = changed(frozen, "discriminator", optimizer=partial(Adam, lr=5e-3))
    told, ended, _ = flown(strong, 600)
    assert "critic saturated" in names(told)
    assert "opponent no longer learns" in ended


def test_a_generator_that_makes_one_image_is_told(flown, pix2pix):
    told, ended, _ = flown(changed(pix2pix, "generator", optimizer=partial(Adam, lr=1.0)), 300)
    assert "generator collapsed" in names(told) or "exploding gradient" in names(told)
    assert ended


def test_a_collapse_alone_is_told_by_its_name(flown, pix2pix):
    # Pulled to one grey value by a term, whatever goes in.
    grey = Term(1e4, lambda fake: fake.float().square().mean(), "fake_b")
    told, ended, _ = flown(changed(pix2pix, "generator", terms=(grey,), optimizer=partial(Adam, lr=2e-3)), 300)
    assert "generator collapsed" in names(told)
    assert "same image whatever it is given" in ended


def test_a_gradient_that_explodes_is_told_before_the_weights_are_lost(flown, pix2pix, tmp_path):
    exploding = Term(Linear(1.0, 1e12, begin=0.7, end=0.75), l1, "fake_b", "real_b")
    told, ended, _ = flown(changed(pix2pix, "generator", terms=(exploding,), optimizer=partial(Adam, lr=1e-4)), 100)
    assert names(told) == {"exploding gradient"}
    assert "generator" in ended
    kept = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert 0 < kept["step"] <= 75


def test_hunger_is_told_and_harms_nobody(flown, pix2pix):
    (phase,) = pix2pix.phases

    class Slow(Pair):
        def draw(self, pool, rng):
            time.sleep(0.05)
            return super().draw(pool, rng)

    slow = Feed(phase.feed.batch, *(Slow(source.patch, source.augmentation) for source in phase.feed.sources))
    told, ended, state = flown(replace(pix2pix, phases=(replace(phase, feed=slow),)), 16)
    assert names(told) == {"feed starved"}
    assert (ended, state.step) == (None, 16)


# --- back to the last healthy checkpoint ----------------------------------------------------------------------------


def poisoned(recipe, calls):
    """Return the recipe whose generator loses its way at the given calls of a loss."""
    count = iter(range(10**6))

    def poison(tensor):
        return tensor.float().mean() * (float("nan") if next(count) in calls else 0.0)

    (generator,) = (player for player in recipe.phases[0].players if player.name == "generator")
    return changed(recipe, "generator", terms=(*generator.terms, Term(1.0, poison, "fake_b")))


def test_a_run_that_may_goes_back_and_on_with_other_batches_at_half_the_rate(flown, pix2pix):
    told, ended, state = flown(poisoned(pix2pix, {15}), 40, OnAlarm.ROLL_BACK)
    assert ended is None
    assert names(told) - {"feed starved"} == {"not finite", "rolled back"}
    assert (state.step, state.retreats) == (40, 1)
    rates = {group["lr"] for optimizer in state.optimizers.values() for group in optimizer.param_groups}
    assert rates == {1e-4}


def test_a_run_goes_back_three_times_and_no_more(flown, pix2pix):
    told, ended, state = flown(poisoned(pix2pix, set(range(15, 10**4))), 40, OnAlarm.ROLL_BACK)
    assert [alarm.name for alarm in told].count("rolled back") == 3
    assert "nan" in ended
    assert state.retreats == 3


def test_the_best_networks_outlive_a_roll_back(pix2pix, toy_study, toy_cases, tmp_path):
    # Validated at 4, 8 and 12; back from 16 to 10; at 12 and so on again.
    scores = iter([5.0, 4.0, 1.0, 3.0, 3.0, 2.0, 2.0])
    recipe, pool = poisoned(pix2pix, {15}), Pool(toy_study(), toy_cases[:2])
    state = start(recipe, CPU)
    one = Run(recipe, pool, Pace(24, 4, 10), tmp_path, lambda _: next(scores), OnAlarm.ROLL_BACK)
    assert [p.rolled_back_to for p in fit(one, state) if p.rolled_back_to is not None] == [10]
    kept = torch.load(tmp_path / BEST, weights_only=True)
    assert (kept["score"], kept["step"]) == (state.best_score, state.best_step) == (1.0, 12)


def test_the_log_says_what_happened_and_a_resumed_run_remembers_it(toy_study, packed_toy_cohort, tmp_path, monkeypatch):
    study = toy_study()
    made = recipes.load("pix2pix")
    monkeypatch.setattr("MedGANLogic.experiment.load", lambda _: lambda study: poisoned(made(study), {15}))
    one = Experiment("pix2pix", study, packed_toy_cohort(study), tmp_path, CPU, "medgan train", OnAlarm.ROLL_BACK)
    list(train(one, Pace(24, 24, 10), None, False))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").open(encoding="utf-8")]
    (back,) = (line for line in lines if "rolled_back_to" in line)
    assert (back["step"], back["rolled_back_to"]) == (16, 10)
    assert [line["step"] for line in lines] == [*range(2, 18, 2), 16, *range(12, 26, 2)]
    assert list(train(one, Pace(24, 24, 10), None, True)) == []


def test_what_one_process_finds_all_of_them_hear(flown, pix2pix, monkeypatch):
    # As the second of two processes, whose own losses are fine, hears of the first one's.
    calls = iter(range(10**6))
    monkeypatch.setattr(training.processes, "any_says", lambda flag, _: flag or next(calls) == 3)
    told, ended, _ = flown(pix2pix, 40)
    assert told == [] or names(told) == {"feed starved"}
    assert "another process has found something wrong" in ended
