"""Training: the step that plays every recipe, and the run around it that holds."""

import math
import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from MedGANLogic.cohort import Case
from MedGANLogic.errors import MedGANError
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.recipe import Batch, Networks, Phase, Recipe
from MedGANLogic.study import Study

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"

_REMEDY = "the last healthy checkpoint is kept; begin anew at a lower learning rate (study: changes = { rate = … })"


class TrainingError(MedGANError):
    """A run that cannot start, go on or be resumed, said in words."""


class UnhealthyError(MedGANError):
    """A loss or weight is no longer finite."""


def play(
    phase: Phase,
    networks: Networks,
    optimizers: Mapping[str, torch.optim.Optimizer],
    batches: Iterator[Batch],
    step: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """Play one step of a phase: every player in turn. Returns each term's unweighted loss by ``player/loss``.

    A tensor that an earlier player has computed is not computed again; nobody else's gradient is computed, so that
    nothing has to be detached or frozen. Autocast is bfloat16, which needs no gradient scaling; float32 for volumes
    on a CPU.
    """
    losses: dict[str, Tensor] = {}
    game = phase.game(networks, next(batches))
    for player in phase.players:
        weights = [weight for name in player.moves for weight in networks[name].parameters()]
        optimizer = optimizers[player.name]
        for turn in range(player.turns):
            if turn:
                game = phase.game(networks, next(batches))
            with _autocast(device, game.batch):
                values = [(term, term.value(game)) for term in player.terms]
            total = torch.stack([term.weight * value.float() for term, value in values]).sum()
            optimizer.zero_grad(set_to_none=True)
            # The graph may be shared with a later player's loss.
            total.backward(inputs=weights, retain_graph=player is not phase.players[-1])
            _set_rate(optimizer, player.schedule(step / phase.steps))
            optimizer.step()
            for act in player.after:
                act(networks, step)
            game.forget(player.moves)
        for number, (term, value) in enumerate(values):
            losses[f"{player.name}/{number} {term.loss.__name__}"] = value.detach()
    return losses


def _autocast(device: torch.device, batch: Batch) -> torch.autocast:
    # On a CPU oneDNN returns uninitialised memory (up to 1e37) as a bfloat16 gradient of the weights of a 3D
    # convolution whose output is two voxels wide (seen with torch 2.13): volumes are computed in float32 there.
    volumetric = any(tensor.dim() == 5 for tensor in batch.values())
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu" or not volumetric)


def _set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


@dataclass(frozen=True)
class Pace:
    """How long a run lasts and how often it looks up; steps, not seconds, so that a run can be repeated."""

    steps: int
    validate_every: int
    save_every: int


@dataclass(frozen=True)
class Progress:
    """Where a run stands: for a progress bar and a log."""

    step: int
    steps: int
    losses: Mapping[str, float]
    score: float | None
    seconds_per_step: float
    waiting: float


@dataclass
class State:
    """Everything that a run changes: what a checkpoint holds."""

    networks: Networks
    optimizers: Mapping[str, torch.optim.Optimizer]
    step: int = 0
    best_score: float = float("inf")
    best_step: int = 0


Validate = Callable[[Networks], float]


def start(recipe: Recipe, device: torch.device) -> State:
    """Return a run's first state, on a device."""
    networks = {name: _placed(network, device).train() for name, network in recipe.networks.items()}
    optimizers = {
        player.name: player.optimizer([weight for name in player.moves for weight in networks[name].parameters()])
        for phase in recipe.phases
        for player in phase.players
    }
    return State(networks, optimizers)


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network, channels last: how oneDNN and tensor cores want images. The values are the same."""
    volumetric = any(weight.dim() == 5 for weight in network.parameters())
    layout = torch.channels_last_3d if volumetric else torch.channels_last
    placed: nn.Module = network.to(device, memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it
    return placed


def save(state: State, folder: Path) -> None:
    """Write ``checkpoint.pt``, tensors and plain numbers only, whole or not at all.

    Raises UnhealthyError for weights that are not finite: the checkpoint that is there stays.
    """
    for name, network in state.networks.items():
        for key, value in network.state_dict().items():
            if not bool(torch.isfinite(value).all()):
                raise UnhealthyError(f"{name}.{key} is not finite at step {state.step}: {_REMEDY}")
    kept = {
        "step": state.step,
        "best_score": state.best_score,
        "best_step": state.best_step,
        "networks": _states(state.networks),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in state.optimizers.items()},
    }
    _save_whole(kept, folder / CHECKPOINT)


def resume(state: State, folder: Path, device: torch.device) -> None:
    """Go back to the last checkpoint, in place. Raises TrainingError where it is none of this recipe."""
    try:
        kept = torch.load(folder / CHECKPOINT, map_location=device, weights_only=True)
        for name, network in state.networks.items():
            network.load_state_dict(kept["networks"][name])
        for name, optimizer in state.optimizers.items():
            optimizer.load_state_dict(kept["optimizers"][name])
        state.step, state.best_score, state.best_step = kept["step"], kept["best_score"], kept["best_step"]
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{folder / CHECKPOINT} cannot be resumed: {error}") from error


def load_best(state: State, folder: Path, device: torch.device) -> None:
    """Put the networks with the lowest score in place of the last."""
    best = torch.load(folder / BEST, map_location=device, weights_only=True)
    for name, network in state.networks.items():
        network.load_state_dict(best[name])


def fit(
    state: State,
    recipe: Recipe,
    study: Study,
    cases: Sequence[Case],
    pace: Pace,
    folder: Path,
    validate: Validate,
    workers: int = 0,
) -> Iterator[Progress]:
    """Train from the state's step to the last, yielding after every step; killed at any moment, it can be resumed.

    On one CPU a resumed run ends with the same bytes. ``validate`` scores the networks on subjects kept apart (lower
    is better); the best are kept in ``best.pt``. A checkpoint is written after its step was yielded, so that what the
    caller logged never lacks a step that is not taken again. Raises UnhealthyError within ten steps of a loss that is
    not finite; the last checkpoint, which was healthy, stays. Raises TrainingError for a recipe of several phases.
    """
    if len(recipe.phases) != 1:
        raise TrainingError(f"{recipe.title} has {len(recipe.phases)} phases: only one can be trained yet")
    device = next(next(iter(state.networks.values())).parameters()).device
    phase = replace(recipe.phases[0], steps=pace.steps)
    loader = Loader(recipe, Pool(study, [case for case in cases if case.part == "train"]), study.seed, device, workers)
    per_step = _batches_per_step(phase)
    batches = loader.batches(state.step * per_step, pace.steps * per_step)
    began, first = time.monotonic(), state.step
    while state.step < pace.steps:
        # Dropout draws from (seed, step) too: no generator's state needs to survive.
        torch.manual_seed(seed_of(study.seed, state.step))
        losses = play(phase, state.networks, state.optimizers, batches, state.step, device)
        state.step += 1
        last = state.step == pace.steps
        shown = _plain(losses, state.step) if state.step % 10 == 0 or last else {}
        score = _validated(state, folder, validate) if state.step % pace.validate_every == 0 or last else None
        elapsed = time.monotonic() - began
        seconds_per_step = elapsed / (state.step - first)
        yield Progress(state.step, pace.steps, shown, score, seconds_per_step, loader.waited / max(elapsed, 1e-9))
        if state.step % pace.save_every == 0 or last:
            _plain(losses, state.step)
            save(state, folder)


def play_steps(state: State, recipe: Recipe, study: Study, cases: Sequence[Case], steps: int) -> Iterator[None]:
    """Play the first steps of a run and nothing else, yielding after each: for timing."""
    device = next(next(iter(state.networks.values())).parameters()).device
    loader = Loader(recipe, Pool(study, [case for case in cases if case.part == "train"]), study.seed, device, 0)
    phase = recipe.phases[0]
    batches = loader.batches(0, steps * _batches_per_step(phase))
    for step in range(steps):
        play(phase, state.networks, state.optimizers, batches, step, device)
        yield


def _batches_per_step(phase: Phase) -> int:
    return 1 + sum(player.turns - 1 for player in phase.players)


def _validated(state: State, folder: Path, validate: Validate) -> float:
    for network in state.networks.values():
        network.eval()
    score = validate(state.networks)
    for network in state.networks.values():
        network.train()
    if score < state.best_score:
        state.best_score, state.best_step = score, state.step
        _save_whole(_states(state.networks), folder / BEST)
    return score


def _plain(losses: Mapping[str, Tensor], step: int) -> dict[str, float]:
    """Return losses as numbers. Raises UnhealthyError where one is not finite."""
    plain = {name: float(value) for name, value in losses.items()}
    if broken := [name for name, value in plain.items() if not math.isfinite(value)]:
        raise UnhealthyError(f"{', '.join(broken)} is not finite at step {step}: {_REMEDY}")
    return plain


def _states(networks: Networks) -> dict[str, dict[str, Tensor]]:
    return {name: network.state_dict() for name, network in networks.items()}


class Loader:
    """Batches in order, on the device; ``waited`` counts the seconds that training waited for them."""

    def __init__(self, recipe: Recipe, pool: Pool, seed: int, device: torch.device, workers: int) -> None:
        self.data = Batches(recipe.feed, pool, seed)
        self.device, self.workers = device, workers
        self.waited = 0.0

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Yield the batches from ``first`` on, before ``last``."""
        # A generator of its own: a starting loader draws a number, which must not shift a resumed run's dropout.
        own = torch.Generator()
        numbers = range(first, last)
        loaded = iter(DataLoader(self.data, None, sampler=numbers, num_workers=self.workers, generator=own))
        while True:
            began = time.monotonic()
            try:
                batch = next(loaded)
            except StopIteration:
                return
            moved = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
            self.waited += time.monotonic() - began
            yield moved


def seed_of(seed: int, step: int) -> int:
    """Mix a seed and a step into one 63-bit seed (SplitMix64's finaliser), so that neighbours share nothing."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    return (mixed ^ (mixed >> 27)) >> 1


def _save_whole(state: Mapping[str, Any], path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        torch.save(state, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
