"""Runs that hold: killed and resumed, gone wrong, begun from a model; and that they learn."""

import importlib
import itertools
import json
import math
import pkgutil
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from MedGANLogic import games, recipes, training
from MedGANLogic.__main__ import main
from MedGANLogic.bundle import BundleError, open_bundle
from MedGANLogic.catalogue import read
from MedGANLogic.cohort import CohortError, Row, pack, packed_study, prepare
from MedGANLogic.domain import CT
from MedGANLogic.experiment import (
    BUNDLE,
    COHORT,
    RUN,
    Experiment,
    paced,
    refuse_early,
    train,
)
from MedGANLogic.feeds import Augmentation, Feed, Pair, Pool
from MedGANLogic.recipe import ExponentialAverage, Game, Term, build, cosine
from MedGANLogic.recipes import load
from MedGANLogic.study import Study
from MedGANLogic.training import (
    BEST,
    CHECKPOINT,
    Loader,
    Pace,
    Run,
    TrainingError,
    UnhealthyError,
    fit,
    load_best,
    resume,
    start,
)
from MedGANLogic.validation import validate

CPU = torch.device("cpu")
STEADY = Augmentation(mirrored=False, quarter_turns=False, contrast=0.0)
#: Recipes that learn from pairs alone, and quickly: what holds of a run is tried on these.
PAIRED = ("l1", "pix2pix", "pix2pix-plain")
LOG = "log.jsonl"
WEIGHTS = f"{BUNDLE}/models/weights.safetensors"


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch):
    # It takes longer to import than a toy run to train.
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


@pytest.fixture
def toy(toy_study, packed_toy_cohort, tmp_path):
    """Return a maker of experiments on a toy cohort that fits the recipe, each in a folder of its own."""

    def make(folder, recipe="pix2pix", **changes):
        (tmp_path / folder).mkdir(exist_ok=True)
        example = recipes.example(recipe)
        study = replace(toy_study(example.dimensions, example.neighbours, example=example), **changes)
        packed = tmp_path / f"{recipe}.zip"
        packed = packed if packed.exists() else packed_toy_cohort(study, packed.name)
        return Experiment(recipe, study, packed, tmp_path / folder, CPU, "medgan train")

    return make


def run(experiment, pace=None, start_from=None, resumed=False):
    return list(train(experiment, pace or (None if resumed else paced(4)), start_from, resumed))


def toy_run(recipe, study, cases, pace, folder, validate=lambda _: 1.0):
    """Return a run on the cases to learn from."""
    return Run(recipe, Pool(study, [case for case in cases if case.part == "train"]), pace, folder, validate)


def logged(experiment):
    return [json.loads(line) for line in (experiment.folder / LOG).read_text(encoding="utf-8").splitlines()]


def checkpoint(folder, name=CHECKPOINT):
    return torch.load(folder / name, weights_only=True)


def equal(some, other):
    """Compare nested tables and lists of tensors and numbers, bit by bit."""
    if isinstance(some, dict):
        return some.keys() == other.keys() and all(equal(some[key], other[key]) for key in some)
    if isinstance(some, list | tuple):
        return len(some) == len(other) and all(map(equal, some, other))
    return torch.equal(some, other) if isinstance(some, torch.Tensor) else some == other


def assert_ended_alike(one, other):
    assert (one.folder / WEIGHTS).read_bytes() == (other.folder / WEIGHTS).read_bytes()
    assert equal(checkpoint(one.folder), checkpoint(other.folder))
    assert equal(checkpoint(one.folder, BEST), checkpoint(other.folder, BEST))
    timings = ("seconds_per_step", "waiting")
    untimed = [[{k: v for k, v in line.items() if k not in timings} for line in logged(e)] for e in (one, other)]
    assert untimed[0] == untimed[1]


# --- killed and resumed ---------------------------------------------------------------------------------------------

PACE = Pace(steps=12, validate_every=5, save_every=4)


@pytest.mark.parametrize("stopped_after", [2, 7, 12])
def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_bytes(toy, stopped_after):
    whole, stopped = toy("whole"), toy("stopped")
    run(whole, PACE)
    assert len(list(islice(train(stopped, PACE, None, False), stopped_after))) == stopped_after
    run(stopped, PACE, resumed=True)
    assert_ended_alike(whole, stopped)
    steps = [line["step"] for line in logged(stopped)]
    assert steps == [5, 10, 12]


@pytest.mark.parametrize("name", recipes.names())
def test_every_system_is_resumed_in_the_middle_of_its_phases(toy, name):
    whole, stopped, pace = toy("whole", name), toy("stopped", name), Pace(7, 7, 3)
    run(whole, pace)
    assert len(list(islice(train(stopped, pace, None, False), 5))) == 5
    run(stopped, pace, resumed=True)
    assert_ended_alike(whole, stopped)


def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(toy, toy_study):
    whole, killed = toy("whole"), toy("killed")
    steps, survived, moment = 80, 0, random.Random()
    begun = time.monotonic()
    run(whole, paced(steps))
    took = time.monotonic() - begun
    command = [sys.executable, "-m", "MedGANLogic", "train", "--recipe", "pix2pix", "--cohort", str(killed.cohort)]
    command += ["--out", str(killed.folder), "--device", "cpu", "--steps", str(steps)]
    assert packed_study(killed.cohort) == killed.study
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not (killed.folder / RUN).exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        # Well before it is done, however fast this machine is.
        time.sleep(moment.uniform(0, took / 3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    if (killed.folder / CHECKPOINT).exists():
        survived = checkpoint(killed.folder)["step"]
    assert survived < steps
    assert not (killed.folder / BUNDLE).exists()
    taken = [progress.step for progress in run(killed, paced(steps), resumed=True)]
    assert taken == list(range(survived + 1, steps + 1))
    assert_ended_alike(whole, killed)
    logged_steps = [line["step"] for line in logged(killed)]
    assert logged_steps == sorted(set(logged_steps))
    assert set(range(10, steps + 1, 10)) <= set(logged_steps)
    assert not list(killed.folder.glob(".*.partial-*"))


def test_loading_draws_nothing_from_the_generator_that_dropout_draws_from(toy_study, toy_cases):
    study = toy_study()
    loader = Loader(build(load("l1"), study).phases[0].feed, Pool(study, toy_cases[:2]), (0,), CPU, 0)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert len(list(loader.batches(0, 2))) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_a_log_line_that_was_cut_short_is_written_again(toy):
    whole, cut = toy("whole"), toy("cut")
    run(whole, PACE)
    list(islice(train(cut, PACE, None, False), 6))
    with (cut.folder / LOG).open("a", encoding="utf-8") as log:
        log.write('{"step": 4, "gener')
    run(cut, PACE, resumed=True)
    assert_ended_alike(whole, cut)


def test_a_step_is_told_before_it_is_saved_so_that_no_log_lacks_it(toy_study, toy_cases, tmp_path):
    study = toy_study()
    recipe = build(load("l1"), study)
    state = start(recipe, CPU)
    for progress in fit(toy_run(recipe, study, toy_cases, Pace(5, 5, 1), tmp_path), state):
        saved = checkpoint(tmp_path)["step"] if (tmp_path / CHECKPOINT).exists() else 0
        assert saved == progress.step - 1
    assert checkpoint(tmp_path)["step"] == 5


def test_every_validation_and_tenth_step_is_logged_once(toy):
    experiment = toy("run")
    run(experiment, Pace(steps=13, validate_every=4, save_every=1))
    assert [line["step"] for line in logged(experiment)] == [4, 8, 10, 12, 13]
    assert [line["step"] for line in logged(experiment) if "validation" in line] == [4, 8, 12, 13]
    losses = ["discriminator/0 called_real(score_real_pair)", "discriminator/1 called_fake(score_fake_pair)"]
    assert [line["step"] for line in logged(experiment) if set(losses) <= set(line.get("losses", ()))] == [10, 13]


def test_a_finished_run_that_is_resumed_leaves_the_same_bundle(toy):
    experiment = toy("run")
    run(experiment)
    before = (experiment.folder / WEIGHTS).read_bytes(), read(experiment.folder / BUNDLE).card
    assert run(experiment, resumed=True) == []
    assert ((experiment.folder / WEIGHTS).read_bytes(), read(experiment.folder / BUNDLE).card) == before


def test_another_run_is_not_resumed(toy, toy_study, toy_cases, tmp_path):
    experiment = toy("run")
    run(experiment)
    state = checkpoint(experiment.folder)
    with pytest.raises(TrainingError, match="recipe changed"):
        run(replace(experiment, recipe="l1"), resumed=True)
    for change in ({"seed": 3}, {"changes": {**experiment.study.changes, "rate": 1e-5}}, {"neighbours": 0}):
        with pytest.raises(TrainingError, match="study changed"):
            run(replace(experiment, study=replace(experiment.study, **change)), resumed=True)
    other = tmp_path / "other.zip"
    rows = [Row(case.subject, case.part, {}) for case in toy_cases]
    cases = {case.subject: replace(case, part="validation" if case.part == "test" else case.part) for case in toy_cases}
    assert list(pack(rows, toy_study(), other, lambda row, _: cases[row.subject]))
    with pytest.raises(TrainingError, match="cohort_sha256 changed"):
        run(replace(experiment, cohort=other), resumed=True)
    with pytest.raises(TrainingError, match="begun_from_sha256 changed"):
        run(experiment, start_from=open_bundle(read(experiment.folder / BUNDLE)), resumed=True)
    assert equal(checkpoint(experiment.folder), state)


def test_a_checkpoint_of_another_network_is_refused(toy):
    experiment = toy("run")
    run(experiment)
    wider = replace(experiment.study, changes={**experiment.study.changes, "width": 8})
    with pytest.raises(TrainingError, match="cannot be resumed"):
        recipe = build(load("pix2pix"), wider)
        resume(start(recipe, CPU), recipe, experiment.folder)
    for content in (b"", b"not a checkpoint", (experiment.folder / CHECKPOINT).read_bytes()[:2000]):
        (experiment.folder / CHECKPOINT).write_bytes(content)
        with pytest.raises(TrainingError, match=r"cannot be resumed|no checkpoint"):
            run(experiment, resumed=True)


def test_what_a_killed_process_left_half_written_is_swept(toy):
    experiment = toy("run")
    run(experiment)
    (experiment.folder / f".{CHECKPOINT}.partial-1").write_bytes(b"half")
    (experiment.folder / f".{BUNDLE}.partial-1").mkdir()
    run(experiment, resumed=True)
    assert not list(experiment.folder.glob(".*"))


@pytest.mark.parametrize("asked", [paced(5), 5.0])
def test_a_run_is_not_resumed_for_another_time(toy, asked):
    experiment = toy("run")
    run(experiment, paced(4))
    with pytest.raises(TrainingError, match=r"holds a run of 4 steps: resume it without another --steps or --minutes"):
        run(experiment, asked, resumed=True)
    assert run(experiment, paced(4), resumed=True) == []


def test_nothing_is_resumed_where_there_is_no_run(toy):
    with pytest.raises(TrainingError, match="no run to resume"):
        run(toy("empty"), resumed=True)


def test_a_folder_with_a_run_is_not_overwritten(toy):
    experiment = toy("run")
    run(experiment)
    kept = {path: path.read_bytes() for path in experiment.folder.rglob("*") if path.is_file()}
    for other in (experiment, replace(experiment, recipe="l1")):
        with pytest.raises(TrainingError, match="holds a run already"):
            run(other)
    assert {path: path.read_bytes() for path in experiment.folder.rglob("*") if path.is_file()} == kept


# --- what a run refuses ---------------------------------------------------------------------------------------------


def test_a_cohort_packed_for_another_study_is_refused(toy):
    experiment = toy("run")
    for change in (
        {"spacing_mm": (1.0, 1.0, 1.0)},
        {"targets": {"pet": CT}},
        {"targets": {"ct": replace(CT, background=0.0)}},
    ):
        with pytest.raises(TrainingError, match="packed for another study"):
            run(replace(experiment, study=replace(experiment.study, **change)))
    assert not list(experiment.folder.iterdir())


def test_a_cohort_without_subjects_to_learn_from_is_refused(toy):
    with pytest.raises(CohortError, match="'train' in the table"):
        run(replace(toy("run"), tested=["S0", "S1", "S2", "S3", "S4"]))


def test_networks_that_no_bundle_may_hold_are_refused_before_anything_is_packed(toy):
    experiment = toy("run")
    narrow = replace(experiment.study, changes={**experiment.study.changes, "width": 1})
    with pytest.raises(BundleError, match="width is 1, allowed is 2"):
        refuse_early(experiment.recipe, narrow, experiment.folder, resumed=False)


def lacking(role, part):
    """Return a change of cases: those of a part lack a role."""

    def without(case):
        kept = {name: slope for name, slope in case.slopes.items() if case.part != part or name != role}
        return replace(case, volumes={name: case.volumes[name] for name in kept}, slopes=kept)

    return without


def unsaid(case):
    """Say nothing of the second subject."""
    return replace(case, said={}) if case.subject == "S1" else case


@pytest.mark.parametrize(
    ("recipe", "spoil", "pace", "said"),
    [
        ("dan", lacking("lesion", "train"), 4, "no subject of part 'train' has lesion, mr"),
        ("cyclegan", lacking("ct", "validation"), 4, "no subject of part 'validation' has ct"),
        ("cgan", unsaid, 4, r"subject S1 \(train\): nothing is said of class"),
        ("dan", lambda case: case, 1, "2 phases: 1 steps are too few"),
    ],
)
def test_what_can_be_refused_is_refused_before_anything_is_written(recipe, spoil, pace, said, toy, toy_cohort):
    experiment = toy("run", recipe)
    healthy = experiment.cohort.read_bytes()
    cases = {case.subject: spoil(case) for case in toy_cohort(experiment.study)}
    rows = [Row(case.subject, case.part, {}) for case in cases.values()]
    assert list(pack(rows, experiment.study, experiment.cohort, lambda row, _: cases[row.subject]))
    with pytest.raises(ValueError, match=said):
        run(experiment, paced(pace))
    assert not list(experiment.folder.iterdir())
    experiment.cohort.write_bytes(healthy)
    assert run(experiment, paced(2))


def test_a_start_that_fails_in_its_first_step_leaves_a_folder_that_can_be_used(toy, monkeypatch):
    experiment = toy("run")
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="out of memory"):
        patched.setattr(training, "play", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
        run(experiment)
    with pytest.raises(TrainingError, match="no run to resume"):
        run(experiment, resumed=True)
    whole = toy("whole")
    run(experiment)
    run(whole)
    assert_ended_alike(whole, experiment)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--recipe", "nobody"], "no recipe is called 'nobody'"),
        (["--recipe", "segan"], "has no labels"),
        (["--recipe", "l1", "--resume"], "holds no run to resume"),
    ],
)
def test_no_table_is_packed_for_a_run_that_is_refused(more, said, toy_table, tmp_path, capsys):
    assert main(["train", "--cohort", str(toy_table), "--out", str(tmp_path / "run"), *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_another_start_leaves_a_runs_cohort_alone(toy_table, tmp_path, capsys):
    for name in (RUN, COHORT):
        (tmp_path / name).write_bytes(b"{}")
    assert main(["train", "--cohort", str(toy_table), "--out", str(tmp_path), "--recipe", "l1"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (tmp_path / COHORT).read_bytes() == b"{}"


# --- gone wrong -----------------------------------------------------------------------------------------------------


def broken_from(step, recipe):
    """Return the recipe with a player's loss that is no number from a step on."""
    calls = {"made": 0}

    def breaking(tensor):
        calls["made"] += 1
        return tensor.mean() * (float("nan") if calls["made"] > step else 1.0)

    (phase,) = recipe.phases
    *others, last = phase.players
    last = replace(last, terms=(*last.terms, Term(1.0, breaking, "fake_b")))
    return replace(recipe, phases=(replace(phase, players=(*others, last)),))


@pytest.mark.parametrize("name", PAIRED)
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_healthy_checkpoint(
    name, toy_study, toy_cases, tmp_path
):
    study = toy_study()
    recipe = broken_from(7, build(load(name), study))
    state = start(recipe, CPU)
    steps = []
    with pytest.raises(UnhealthyError, match=r"breaking\(fake_b\) is nan.*learning rate"):
        for progress in fit(toy_run(recipe, study, toy_cases, Pace(40, 40, 3), tmp_path), state):
            steps.append(progress.step)
    assert 7 <= steps[-1] <= 10
    healthy = build(load(name), study)
    again = start(healthy, CPU)
    resume(again, healthy, tmp_path)
    assert again.step == 6
    for network in again.networks.values():
        assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_weights_that_are_no_number_are_not_saved(toy_study, tmp_path):
    state = start(build(load("l1"), toy_study()), CPU)
    training.save(state, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with torch.no_grad():
        next(state.networks["generator"].parameters())[0] = float("inf")
    with pytest.raises(UnhealthyError, match="not finite"):
        training.save(state, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


# --- what a run keeps and says --------------------------------------------------------------------------------------


def test_the_best_networks_by_validation_are_kept_and_become_the_bundle(toy_study, toy_cases, tmp_path):
    study = toy_study()
    recipe = build(load("l1"), study)
    state = start(recipe, CPU)
    scores = {2: 5.0, 4: 3.0, 6: 4.0, 8: 3.0}
    seen = {}

    def validate(networks):
        assert not any(network.training for network in networks.values())
        step = 2 * (len(seen) + 1)
        seen[step] = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in networks.items()}
        return scores[step]

    found = {p.step: p.score for p in fit(toy_run(recipe, study, toy_cases, Pace(8, 2, 8), tmp_path, validate), state)}
    assert {step: score for step, score in found.items() if score is not None} == scores
    assert (state.best_step, state.best_score) == (4, 3.0)
    assert all(network.training for network in state.networks.values())
    assert not equal(seen[4], seen[8])
    load_best(state, tmp_path)
    assert equal({name: dict(network.state_dict()) for name, network in state.networks.items()}, seen[4])


@pytest.mark.parametrize("name", PAIRED)
def test_the_bundle_holds_the_best_networks_in_half_precision_and_says_where_they_come_from(toy, name):
    experiment = toy("run", name)
    run(experiment, paced(6))
    best = checkpoint(experiment.folder, BEST)
    model = read(experiment.folder / BUNDLE)
    opened = open_bundle(model)
    for network, found in opened.networks.items():
        weights = best["networks"][network]
        expected = {key: value.to(torch.float16).to(value.dtype) for key, value in weights.items()}
        assert equal({k: v.float() for k, v in expected.items()}, {k: v.float() for k, v in found.state_dict().items()})
    said = model.card.training
    assert said["recipe"] == name
    assert Study.from_json(said["study"]) == experiment.study
    assert said["steps"] == 6
    assert (said["best_step"], said["validation"]["value"]) == (best["step"], round(best["score"], 4))
    assert said["subjects"] == {"train": 3, "validation": 1, "test": 1}
    assert said["test_subjects"] == ["S4"]
    assert said["validation"]["measure"] == "MAE in HU"


def test_a_fold_keeps_nobody_for_validation_and_its_last_networks_are_the_model(toy):
    experiment = replace(toy("run"), tested=["S1", "S3"])
    run(experiment, paced(6))
    last = checkpoint(experiment.folder, CHECKPOINT)
    opened = open_bundle(read(experiment.folder / BUNDLE))
    for network, found in opened.networks.items():
        expected = {key: value.to(torch.float16).float() for key, value in last["networks"][network].items()}
        assert equal(expected, {key: value.float() for key, value in found.state_dict().items()})
    said = opened.card.training
    assert said["test_subjects"] == ["S1", "S3"]
    assert said["subjects"] == {"train": 3, "validation": 0, "test": 2}
    assert (said["best_step"], said["validation"]) == (6, None)
    assert not (experiment.folder / BEST).exists()
    with pytest.raises(TrainingError, match="tested changed"):
        run(replace(experiment, tested=["S1"]), None, resumed=True)
    with pytest.raises(CohortError, match="no subject nobody"):
        run(replace(toy("other"), tested=["nobody"]), paced(6))


def test_a_run_that_is_shorter_than_the_papers_says_so_on_the_card(toy):
    experiment = toy("run")
    run(experiment, paced(6))
    departures = read(experiment.folder / BUNDLE).card.departures
    published = recipes.published("pix2pix").steps
    assert [one for one in departures if one.startswith("steps")] == [f"steps 6 (paper: {published})"]


def test_checkpoints_hold_tensors_and_plain_numbers_only(toy):
    experiment = toy("run")
    run(experiment)
    kept = checkpoint(experiment.folder)
    assert kept["step"] == 4
    assert set(kept["networks"]) == set(build(load("pix2pix"), experiment.study).networks)
    assert set(kept["optimizers"]) == {"discriminator", "generator"}
    assert checkpoint(experiment.folder, BEST)["networks"].keys() == kept["networks"].keys()


def test_progress_counts_steps_and_says_what_share_of_time_was_spent_waiting(toy):
    found = run(toy("run"), Pace(20, 10, 10))
    assert [progress.step for progress in found] == list(range(1, 21))
    assert all(progress.steps == 20 for progress in found)
    assert all(0 <= progress.waiting <= 1 for progress in found)
    assert all(progress.seconds_per_step > 0 for progress in found)
    assert [progress.step for progress in found if progress.record] == [10, 20]
    assert [progress.step for progress in found if progress.score is not None] == [10, 20]


def replace_sources(feed, kind):
    """Return a feed whose pairs are of another kind."""
    return Feed(feed.batch, *(kind(source.patch, source.augmentation) for source in feed.sources))


def test_waiting_for_slow_data_shows(toy_study, toy_cases, tmp_path):
    study = toy_study()
    recipe = build(load("l1"), study)

    class Slow(Pair):
        def draw(self, pool, rng):
            time.sleep(0.15)
            return super().draw(pool, rng)

    (phase,) = recipe.phases
    slow = replace(phase, feed=replace_sources(phase.feed, Slow))
    state = start(recipe, CPU)
    *_, last = fit(toy_run(replace(recipe, phases=(slow,)), study, toy_cases, Pace(3, 9, 9), tmp_path), state)
    assert 0.5 < last.waiting <= 1


def test_minutes_become_a_pace_that_is_fixed_once(toy, monkeypatch):
    timed, plain = toy("timed"), toy("plain")
    found = run(timed, 0.01)
    pace = json.loads((timed.folder / RUN).read_text(encoding="utf-8"))["pace"]
    assert found[-1].step == found[-1].steps == pace["steps"] >= 1
    # The same number of steps asked for as such ends with the same bytes: timing leaves no trace.
    run(plain, Pace(**pace))
    assert_ended_alike(timed, plain)
    monkeypatch.setattr("MedGANLogic.experiment._steps_within", lambda *_: pytest.fail("timed again"))
    assert run(timed, resumed=True) == []
    assert json.loads((timed.folder / RUN).read_text(encoding="utf-8"))["pace"] == pace


def test_more_minutes_are_more_steps_and_every_phase_is_timed(toy, monkeypatch):
    from MedGANLogic import experiment
    from MedGANLogic.cohort import unpack

    monkeypatch.setattr(experiment, "_TIMED", 6)
    times = {"l1": 280 - 8 // 2, "dan": 276 - 8 // 2}
    for name, expected in times.items():
        one, clock = toy(f"run-{name}", name), itertools.count(0, 2)
        monkeypatch.setattr(experiment, "_clock", lambda _, clock=clock: next(clock))
        cases = unpack(one.cohort)
        recipe = build(load(name), one.study)
        monitor = experiment._Monitor(one, recipe, [case for case in cases if case.part == "validation"])
        pool = Pool(one.study, [case for case in cases if case.part == "train"])
        # Two seconds a step and a validation: 600 seconds hold what each phase begins with, twenty validations, steps.
        assert experiment._steps_within(600.0, one, pool, monitor) == expected
        assert experiment._steps_within(1.0, one, pool, monitor) == len(recipe.phases)


@pytest.mark.parametrize("steps", [1, 7, 20, 1000, 60_000])
def test_a_pace_validates_about_twenty_times_and_saves_no_more_rarely(steps):
    pace = paced(steps)
    assert pace.steps == steps
    assert min(steps, 20) <= steps // pace.validate_every < 40
    assert pace.save_every <= min(200, pace.validate_every)


@pytest.mark.parametrize("name", PAIRED)
def test_a_run_begun_from_a_bundle_begins_with_its_weights(toy, name):
    first, second = toy("first", name), toy("second", name)
    run(first)
    bundle = open_bundle(read(first.folder / BUNDLE))
    stopped = train(second, Pace(3, 1, 1), bundle, False)
    begun = build(load(name), second.study)
    from MedGANLogic.experiment import _begin_from

    _begin_from(begun, bundle)
    (one,) = begun.passes
    acts = [act for phase in begun.phases for player in phase.players for act in player.after]
    followed = {act.into: act.of for act in acts if isinstance(act, ExponentialAverage)}
    for network in (one.network, followed[one.network]):
        assert equal(dict(begun.networks[network].state_dict()), dict(bundle.networks[one.network].state_dict()))
    # And so does the run itself: one step away from the bundle it is nearer to it than fresh weights are.
    list(stopped)
    after = checkpoint(second.folder)["networks"][one.network]
    fresh = build(load(name), second.study).networks[one.network].state_dict()
    weights = [key for key, _ in begun.networks[one.network].named_parameters()]

    def distance(some, other):
        return sum(float((some[key] - other[key]).square().sum()) for key in weights)

    assert distance(after, bundle.networks[one.network].state_dict()) < distance(after, fresh)
    assert json.loads((second.folder / RUN).read_text(encoding="utf-8"))["begun_from_sha256"] == bundle.model.sha256


def test_a_bundle_of_another_width_is_no_beginning(toy):
    first = toy("first")
    run(first)
    bundle = open_bundle(read(first.folder / BUNDLE))
    wider = toy("second", changes={**first.study.changes, "width": 8})
    with pytest.raises(TrainingError, match="does not fit"):
        run(wider, start_from=bundle)


# --- schedules ------------------------------------------------------------------------------------------------------


def test_cosine_falls_from_one_to_nothing():
    assert [cosine(done) for done in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert all(np.diff([cosine(done) for done in np.linspace(0, 1, 50)]) < 0)


def test_a_schedule_runs_over_the_pace_and_reaches_nothing_at_its_end(toy_study, toy_cases, tmp_path):
    study = toy_study()
    recipe = build(load("l1"), study)
    (phase,) = recipe.phases
    (player,) = phase.players
    recipe = replace(recipe, phases=(replace(phase, players=(replace(player, schedule=cosine),)),))
    state = start(recipe, CPU)
    rates = []
    first = state.optimizers[player.name].param_groups[0]["lr"]
    # The recipe's own number of steps is not the run's.
    assert phase.steps != 30
    for progress in fit(toy_run(recipe, study, toy_cases, Pace(30, 30, 30), tmp_path), state):
        (rate,) = {group["lr"] for group in state.optimizers[player.name].param_groups}
        assert rate == pytest.approx(first * (1 + math.cos(math.pi * (progress.step - 1) / 30)) / 2)
        rates.append(rate)
    assert rates[0] == first
    assert rates[-1] < 0.003 * first
    assert cosine(progress.step / progress.steps) == 0


def test_resumed_schedules_go_on_from_where_they_were(toy, monkeypatch):
    seen = []

    def noting(done):
        seen.append(done)
        return 0.5 ** (4 * done)

    made = load("l1")

    def scheduled(study):
        recipe = made(study)
        (phase,) = recipe.phases
        players = tuple(replace(player, schedule=noting) for player in phase.players)
        return replace(recipe, phases=(replace(phase, players=players),))

    monkeypatch.setattr("MedGANLogic.experiment.load", lambda _: scheduled)
    experiment = toy("run", "l1")
    list(islice(train(experiment, Pace(8, 8, 2), None, False), 5))
    rate = experiment.study.adapted(recipes.l1.PUBLISHED).rate
    run(experiment, resumed=True)
    assert seen == [step / 8 for step in (*range(5), *range(4, 8))]
    (group,) = checkpoint(experiment.folder)["optimizers"]["generator"]["param_groups"]
    assert group["lr"] == pytest.approx(rate * 0.5 ** (4 * 7 / 8))
    assert group["initial_lr"] == rate


# --- learning -------------------------------------------------------------------------------------------------------


def factor_of_learning(name, study, cases, steps, folder):
    """Return by what factor the error of what predicts falls on the pair that it is trained on."""
    recipe = build(load(name), study)
    (phase,) = recipe.phases
    (pair,) = phase.feed.sources
    steady = replace(phase, feed=Feed(phase.feed.batch, replace(pair, augmentation=STEADY)))
    recipe = replace(recipe, phases=(steady,))
    state = start(recipe, CPU)

    def error():
        for network in state.networks.values():
            network.eval()
        score = validate(state.networks, recipe, study, cases).value
        for network in state.networks.values():
            network.train()
        return score

    before = error()
    for progress in fit(toy_run(recipe, study, cases, Pace(steps, steps, steps), folder), state):
        assert progress.record is None or all(math.isfinite(loss) for loss in progress.record.losses.values())
    return before / error()


@pytest.mark.parametrize("name", PAIRED)
def test_one_toy_pair_is_learnt_by_heart_in_200_steps(name, toy_study, toy_case, tmp_path):
    study = toy_study(neighbours=0, width=8, batch=4, rate=2e-3)
    assert factor_of_learning(name, study, [toy_case("S", "train", 0)], 200, tmp_path) > 3


def test_loss_falls_on_a_real_pair(request, tmp_path):
    try:
        data = request.getfixturevalue("shared_data")
    except pytest.FixtureLookupError:
        pytest.skip("no fixture shared_data")
    folder = data / "sarcoma_mr_ct_pet"
    study = Study.from_json({"inputs": ["mr"], "targets": ["ct"], "spacing_mm": [4, 4, 6]})
    study = replace(study, changes={"width": 8, "levels": 3, "patch": 32, "batch": 4, "rate": 2e-3})
    case = prepare(Row("STS_002", "train", {role: folder / f"STS_002_{role}.nii.gz" for role in ("mr", "ct")}), study)
    assert factor_of_learning("pix2pix", study, [case], 40, tmp_path) > 1.5


def test_every_game_is_played_by_some_recipe():
    modules = [
        importlib.import_module(f"{games.__name__}.{found.name}") for found in pkgutil.iter_modules(games.__path__)
    ]
    there = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Game) and value.__module__ == module.__name__
    }
    played = set()
    for name in recipes.names():
        with torch.device("meta"):
            recipe = build(load(name), replace(recipes.example(name), changes={"width": 4}))
        played |= {owner for phase in recipe.phases for owner in phase.game.__mro__}
    assert there <= played
