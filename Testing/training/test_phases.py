"""Runs of several phases: their steps in proportion, new optimizers, volumes predicted beforehand, weights in time."""

import json
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from torch.optim import SGD

from MedGANLogic import recipes
from MedGANLogic.experiment import Experiment, train
from MedGANLogic.feeds import Augmentation, Batches, Feed, Pair, Pool
from MedGANLogic.games.paired import Paired
from MedGANLogic.inference.cases import predicted_volumes
from MedGANLogic.parts.losses.voxelwise import masked_l1
from MedGANLogic.passes import slices_first
from MedGANLogic.recipe import Clip, ExtraTurns, Linear, Phase, Player, Term, build
from MedGANLogic.training import CHECKPOINT, Pace, Run, TrainingError, fit, paced_phases, start

CPU = torch.device("cpu")
PLAIN = Augmentation(mirrored=False, quarter_turns=False, contrast=0)


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def two_phased(recipe):
    """Return a recipe that first trains by one rate, then by another, on what it has learnt so far."""
    (phase,) = recipe.phases
    (player,) = phase.players
    first = replace(phase, steps=100, players=(replace(player, optimizer=partial(SGD, lr=0.01)),))
    second = replace(phase, steps=300, players=(replace(player, optimizer=partial(SGD, lr=0.001)),))
    return replace(recipe, phases=(first, second))


@pytest.mark.parametrize(("steps", "expected"), [(400, [100, 300]), (8, [2, 6]), (2, [1, 1]), (3, [1, 2])])
def test_phases_keep_their_proportions_and_none_is_left_out(toy_study, steps, expected):
    recipe = two_phased(build(recipes.load("l1"), toy_study()))
    assert [phase.steps for phase in paced_phases(recipe, steps)] == expected


def test_fewer_steps_than_phases_are_refused(toy_study):
    with pytest.raises(TrainingError, match="2 phases: 1 steps are too few"):
        paced_phases(two_phased(build(recipes.load("l1"), toy_study())), 1)


def test_every_phase_begins_with_optimizers_of_its_own(toy_study, toy_cases, tmp_path):
    study = replace(toy_study(), changes={**toy_study().changes, "rate": 0.01})
    recipe = two_phased(build(recipes.load("l1"), study))
    state = start(recipe, CPU)
    rates = []
    for _ in fit(Run(recipe, Pool(study, toy_cases[:2]), Pace(8, 8, 2), tmp_path, lambda _: 1.0), state):
        (group,) = state.optimizers["generator"].param_groups
        rates.append(group["initial_lr"])
    assert rates == [0.01, 0.01, *[0.001] * 6]
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["phase"] == 1


def test_the_best_is_one_of_the_last_phase(toy_study, toy_cases, tmp_path):
    study = toy_study()
    recipe = two_phased(build(recipes.load("l1"), study))
    state = start(recipe, CPU)
    scores = iter([1.0, 5.0, 4.0, 6.0])
    list(fit(Run(recipe, Pool(study, toy_cases[:2]), Pace(8, 2, 8), tmp_path, lambda _: next(scores)), state))
    assert (state.best_step, state.best_score) == (6, 4.0)


def test_extra_turns_come_after_every_so_many_steps():
    rhythm = ExtraTurns(7, extra=200, every=500)
    assert [rhythm(step) for step in (0, 1, 499, 500, 501, 1000)] == [7, 7, 7, 207, 7, 207]


def with_extra_turns(recipe):
    """Return a recipe whose player has two turns a step, and three more after every second step."""
    (phase,) = recipe.phases
    (player,) = phase.players
    return replace(recipe, phases=(replace(phase, players=(replace(player, turns=ExtraTurns(2, 3, every=2)),)),))


@pytest.mark.parametrize("first", [0, 2, 3])
def test_extra_turns_take_a_batch_each_also_in_a_run_that_is_resumed(
    toy_study, toy_cases, tmp_path, monkeypatch, first
):
    recipe, asked = with_extra_turns(build(recipes.load("l1"), toy_study())), []
    real = Batches.__getitem__
    monkeypatch.setattr(Batches, "__getitem__", lambda self, number: asked.append(number) or real(self, number))
    pool, state = Pool(toy_study(), toy_cases[:2]), start(recipe, CPU)
    state.step = first
    list(fit(Run(recipe, pool, Pace(5, 5, 5), tmp_path, None), state))
    # Turns 2, 2, 5, 2, 5: where each step begins, and where the last one ends.
    assert asked == list(range([0, 2, 4, 9, 11][first], 16))


@pytest.mark.parametrize("stopped_after", [1, 2, 3, 7])
def test_a_run_of_two_phases_is_resumed_in_either(toy_study, packed_toy_cohort, tmp_path, monkeypatch, stopped_after):
    made = recipes.load("l1")
    monkeypatch.setattr("MedGANLogic.experiment.load", lambda _: lambda study: two_phased(made(study)))
    study = toy_study()
    packed, ends = packed_toy_cohort(study), []
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        one = Experiment("l1", study, packed, tmp_path / name, CPU, "medgan train")
        if name == "stopped":
            list(islice(train(one, Pace(8, 8, 1), None, False), stopped_after))
        list(train(one, Pace(8, 8, 1), None, name == "stopped"))
        ends.append((one.folder / "bundle" / "models" / "weights.safetensors").read_bytes())
        assert [json.loads(line)["step"] for line in (one.folder / "log.jsonl").open(encoding="utf-8")] == [8]
    assert ends[0] == ends[1]


def test_batches_of_two_phases_are_others(toy_study, toy_cases):
    study = toy_study()
    feed, pool = Feed(2, Pair((16, 16), PLAIN)), Pool(study, toy_cases[:2])
    first, second = (Batches(feed, pool, (0, phase, 0))[0]["input"] for phase in (0, 1))
    assert not torch.equal(first, second)


def test_what_is_predicted_beforehand_lies_where_the_volumes_lie(toy_study, toy_cases, tmp_path):
    study = toy_study(neighbours=0)
    recipe = build(recipes.load("l1"), study)
    (phase,) = recipe.phases
    seen = []

    class Looking(Paired):
        def remembered(self, name, compute):
            seen.append(self.batch)
            return super().remembered(name, compute)

    feed = Feed(2, Pair((16, 16), PLAIN, also=("ct",)))
    looking = replace(phase, feed=feed, game=Looking, beforehand=recipe.passes)
    state = start(recipe, CPU)
    for network in state.networks.values():
        network.eval()
    expected = [predicted_volumes(recipe.passes, state.networks, study, case)["ct"] for case in toy_cases[:2]]
    for network in state.networks.values():
        network.train()
    staged = replace(recipe, phases=(looking,))
    list(fit(Run(staged, Pool(study, toy_cases[:2]), Pace(1, 1, 1), tmp_path, lambda _: 1.0), state))
    (batch, *_) = seen
    inputs = [slices_first(case.volumes["mr"], "axial") for case in toy_cases[:2]]
    for patch, predicted in zip(batch["input"].numpy(), batch["ct"].numpy(), strict=True):
        assert any(_found(patch[0], predicted[0], case, *pair) for case, *pair in zip(
            toy_cases[:2], inputs, expected, strict=True
        ))  # fmt: skip


def _found(patch, predicted, case, stored, volume):
    """Return whether a patch of the input, and of the prediction there, are cut from one place."""
    scaled = case.scale("mr", recipes.example("l1").inputs["mr"]).to_network(stored.astype(np.float32))
    windows = np.lib.stride_tricks.sliding_window_view(scaled, (1, 16, 16))[:, :, :, 0]
    places = np.argwhere(np.abs(windows - patch).max(axis=(3, 4)) < 1e-6)
    return any(np.array_equal(volume[s, r : r + 16, c : c + 16], predicted) for s, r, c in places)


# --- in time --------------------------------------------------------------------------------------------------------


def test_a_weight_may_change_with_the_share_that_is_done(toy_study, toy_cases):
    from MedGANLogic.training import play

    study = toy_study()
    recipe = build(recipes.load("l1"), study)
    (phase,) = recipe.phases
    batches = Batches(phase.feed, Pool(study, toy_cases[:2]), (0,))
    ends = []
    for weight, step in ((Linear(0.0, 2.0), 0), (Linear(0.0, 2.0), 5), (1.0, 5)):
        built = build(recipes.load("l1"), study)
        term = Term(weight, masked_l1, "fake_b", "real_b", "weight")
        player = Player("generator", ("generator",), partial(SGD, lr=0.1), (term,))
        state = start(replace(built, phases=(Phase(10, phase.feed, Paired, (player,)),)), CPU)
        before = [weight.detach().clone() for weight in state.networks["generator"].parameters()]
        play(Phase(10, phase.feed, Paired, (player,)), state.networks, state.optimizers, iter([batches[0]]), step, CPU)
        ends.append([a - b for a, b in zip(state.networks["generator"].parameters(), before, strict=True)])
    assert all(not moved.any() for moved in ends[0])
    # Half way a ramp from 0 to 2 weighs 1.
    assert all(torch.equal(half, plain) for half, plain in zip(ends[1], ends[2], strict=True))
    assert any(moved.any() for moved in ends[1])


def test_a_ramp_waits_climbs_and_stays():
    ramp = Linear(0.0, 0.05, begin=0.2, end=0.7)
    assert [ramp(done) for done in (0, 0.2, 0.45, 0.7, 1)] == pytest.approx([0, 0, 0.025, 0.05, 0.05])


def test_clipping_keeps_every_weight_in_its_bounds_and_moves_no_other_network(toy_study):
    networks = build(recipes.load("pix2pix"), toy_study()).networks
    before = {key: value.clone() for key, value in networks["generator"].state_dict().items()}
    Clip("discriminator", 0.01)(Paired(networks, {}))
    assert max(
        float(weight.detach().abs().max()) for weight in networks["discriminator"].parameters()
    ) == pytest.approx(0.01)
    assert all(torch.equal(value, before[key]) for key, value in networks["generator"].state_dict().items())
