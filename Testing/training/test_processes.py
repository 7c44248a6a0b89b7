"""Several processes on one machine end with the weights of one."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from MedGANLogic import processes, recipes
from MedGANLogic.__main__ import main
from MedGANLogic.feeds import Augmentation, Batches, Feed, Pair, Pool
from MedGANLogic.processes import ProcessesError
from MedGANLogic.recipe import build
from MedGANLogic.training import Pace, Run

#: So low that the game makes no more of rounding: Adam's first steps are as long for a gradient that rounding leaves.
RATE = 2e-6


@pytest.fixture
def packed(toy_study, packed_toy_cohort):
    """Return a cohort for CycleGAN on volumes: no batch statistics, and float32 on a CPU."""
    study = toy_study(dimensions=3, neighbours=0, width=4, levels=1, patch=24, batch=2, rate=RATE)
    return packed_toy_cohort(study)


LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def train(packed, folder):
    """Return the arguments of the command that trains three steps."""
    return ["train", "--recipe", "cyclegan", "--cohort", str(packed), "--out", str(folder), "--steps", "3"]


def ended(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def together(packed, folder):
    """Train in two processes and return the last checkpoint."""
    command = [*LAUNCHER, "-m", "MedGANLogic", *train(packed, folder), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(": a bundle;") == 1
    return ended(folder)


@pytest.fixture
def trained(packed, capsys, monkeypatch):
    """Return a function that trains in this process by the same command and returns the last checkpoint."""
    # It takes longer to import than three steps to train.
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)

    def alone(folder):
        assert main([*train(packed, folder), "--device", "cpu"]) == 0
        assert capsys.readouterr().out.count(": a bundle;") == 1
        return ended(folder)

    return alone


def test_two_processes_end_with_the_weights_of_one(packed, trained, tmp_path):
    shared = together(packed, tmp_path / "two")
    alone = trained(tmp_path / "one")
    other = trained(tmp_path / "other")
    assert shared["networks"].keys() == alone["networks"].keys()
    for name, network in alone["networks"].items():
        for key, value in network.items():
            # What one process repeats bit by bit, two repeat but for the order in which they add.
            assert torch.equal(value, other["networks"][name][key])
            off = (shared["networks"][name][key] - value).abs()
            assert (off > (1e-3 if key == "history" else RATE / 10)).double().mean() < 0.02, (name, key)
    for name, player in alone["optimizers"].items():
        for key, state in player["state"].items():
            gradient = state["exp_avg"]
            assert (shared["optimizers"][name]["state"][key]["exp_avg"] - gradient).norm() < 0.01 * gradient.norm()
    assert (tmp_path / "two" / "bundle" / "manifest.json").exists()


SHOWN = """
import torch
from MedGANLogic import processes
from MedGANLogic.parts.image_pool import ImagePool

pool, answers = ImagePool(3), []
with processes.joined(torch.device("cpu")):
    mine = list(processes.share(4))
    for batch in torch.arange(40.0).reshape(10, 4, 1, 1):
        answers += processes.jointly(pool, batch[mine]).flatten().tolist()
    # One string is one write: the processes share a stream.
    print(f"{answers} | {pool.history.flatten().tolist()}\\n", end="", flush=True)
"""


def test_processes_share_one_history_of_images(tmp_path):
    script = tmp_path / "shown.py"
    script.write_text(SHOWN, encoding="utf-8")

    def shown(*launcher):
        done = subprocess.run([*launcher, str(script)], capture_output=True, text=True, timeout=240, check=True)
        return sorted([json.loads(part) for part in line.split("|")] for line in done.stdout.splitlines())

    ((alone, history),) = shown(sys.executable)
    split = shown(*LAUNCHER)
    halves = [[number for place, number in enumerate(alone) if place % 4 // 2 == half] for half in (0, 1)]
    assert split == sorted([half, history] for half in halves)


def test_a_table_is_packed_before_several_processes_read_it(toy_table, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    command = ["train", "--recipe", "l1", "--cohort", str(toy_table), "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert "cohort pack" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_shares_of_a_batch_make_it_whole(toy_study, toy_cases):
    study = toy_study()
    feed, pool = Feed(4, Pair((16, 16), Augmentation(bent=0.5))), Pool(study, toy_cases[:2])
    whole = Batches(feed, pool, (0,))[5]
    halves = [Batches(feed, pool, (0,), share)[5] for share in (range(2), range(2, 4))]
    for name, value in whole.items():
        assert torch.equal(value, torch.cat([half[name] for half in halves]))


def test_a_batch_that_cannot_be_dealt_evenly_is_refused(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    assert processes.share(4) == range(2)
    with pytest.raises(ProcessesError, match=r"batch of 3.*2 processes"):
        processes.share(3)


@pytest.mark.parametrize(
    ("device", "together", "expected"),
    [("cuda:0", "2", "cuda:1"), ("cuda", "2", "cuda:1"), ("cpu", "2", "cpu"), ("cuda:0", "1", "cuda:0")],
)
def test_each_process_has_a_gpu_to_itself(device, together, expected, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", together)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert processes.own(torch.device(device)) == torch.device(expected)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ProcessesError, match="process 2 of this machine has no GPU: torch sees 1"):
        processes.own(torch.device("cuda:0"))


def test_a_batch_that_cannot_be_dealt_is_refused_before_a_run(toy_study, toy_cases, monkeypatch, tmp_path):
    study = toy_study(batch=3)
    recipe = build(recipes.load("l1"), study)
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(ProcessesError, match="batch of 3"):
        Run(recipe, Pool(study, toy_cases[:2]), Pace(4, 4, 4), tmp_path, lambda _: 1.0)


def test_one_process_changes_nothing(toy_study):
    network = recipes.load("l1")(replace(toy_study())).networks["generator"]
    weight = next(network.parameters())
    weight.grad = torch.ones_like(weight)
    processes.average_gradients([weight])
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert processes.any_says(True, torch.device("cpu")) is True
    assert (processes.count(), processes.number()) == (1, 0)
