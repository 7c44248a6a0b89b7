"""Training: the step that plays every recipe, and the run around it that holds."""

import os
import pickle
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from MedGANLogic import processes
from MedGANLogic.errors import MedGANError
from MedGANLogic.feeds import Batches, Feed, Pool
from MedGANLogic.inference.cases import predicted_volumes
from MedGANLogic.recipe import Batch, Game, Networks, Phase, Player, Recipe
from MedGANLogic.recorder import (
    ROLL_BACKS,
    Alarm,
    Gallery,
    OnAlarm,
    Record,
    Recorder,
    Spread,
    loss_name,
    measure_scores,
)

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"

#: Steps from one record of the flight recorder to the next.
RECORD_EVERY = 10


class TrainingError(MedGANError):
    """A run that cannot start, go on or be resumed, said in words."""


class UnhealthyError(MedGANError):
    """An alarm that ends a run; the last checkpoint is healthy."""


#: Called after a player's backward pass, with the game, the player and the weights that it moves.
Watch = Callable[[Game, Player, Sequence[Tensor]], None]


def unwatched(_game: Game, _player: Player, _weights: Sequence[Tensor]) -> None:
    """Look at nothing."""


def play(
    phase: Phase,
    networks: Networks,
    optimizers: Mapping[str, torch.optim.Optimizer],
    batches: Iterator[Batch],
    step: int,
    device: torch.device,
    watch: Watch = unwatched,
    rate: float = 1.0,
) -> dict[str, Tensor]:
    """Play one step of a phase: every player in turn. Returns each term's unweighted loss by its ``loss_name``.

    A tensor that an earlier player has computed is not computed again; nobody else's gradient is computed, so that
    nothing has to be detached or frozen. Autocast is bfloat16, which needs no gradient scaling; float32 for volumes
    on a CPU. ``rate`` multiplies every learning rate. Where several processes train, gradients are averaged.
    """
    losses: dict[str, Tensor] = {}
    done = step / phase.steps
    game = phase.game(networks, next(batches), step, done)
    for player in phase.players:
        weights = [weight for name in player.moves for weight in networks[name].parameters()]
        optimizer = optimizers[player.name]
        for turn in range(player.turns_at(step)):
            if turn:
                game = phase.game(networks, next(batches), step, done)
            with _autocast(device, game.batch):
                values = [(term, term.value(game)) for term in player.terms]
            total = torch.stack([term.weight_at(done) * value.float() for term, value in values]).sum()
            optimizer.zero_grad(set_to_none=True)
            # The graph may be shared with a later player's loss.
            total.backward(inputs=weights, retain_graph=player is not phase.players[-1])
            processes.average_gradients(weights)
            watch(game, player, weights)
            _set_rate(optimizer, rate * player.schedule(done))
            optimizer.step()
            for act in player.after:
                act(game)
            game.forget(player.moves)
        for number, (term, value) in enumerate(values):
            losses[loss_name(player.name, number, term.loss.__name__, term.names)] = value.detach()
    return losses


def _autocast(device: torch.device, batch: Batch) -> torch.autocast:
    # On a CPU oneDNN returns uninitialised memory (up to 1e37) as a bfloat16 gradient of the weights of a 3D
    # convolution whose output is a few voxels wide (seen with torch 2.13): volumes are computed in float32 there.
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
    """Where a run stands: for a progress bar and a log.

    ``seconds_per_step`` and ``waiting``, the share of the time spent waiting for data, are of the phase ``phase`` so
    far. ``rolled_back_to``: the step that an alarm sent the run back to.
    """

    step: int
    steps: int
    phase: int
    record: Record | None = None
    score: float | None = None
    seconds_per_step: float = 0.0
    waiting: float = 0.0
    alarms: tuple[Alarm, ...] = ()
    rolled_back_to: int | None = None


@dataclass
class State:
    """Everything that a run changes: what a checkpoint holds. ``optimizers`` are those of the phase ``phase``.

    ``best_score`` and ``best_step`` are of the networks of this phase in ``best.pt``, which holds them too.
    """

    networks: Networks
    optimizers: Mapping[str, torch.optim.Optimizer]
    device: torch.device
    step: int = 0
    phase: int = 0
    best_score: float = float("inf")
    best_step: int = 0
    retreats: int = 0
    galleries: dict[str, Gallery] = field(default_factory=lambda: {"made": Gallery(), "real": Gallery()})


Validate = Callable[[Networks], float]


def start(recipe: Recipe, device: torch.device) -> State:
    """Return a run's first state, on a device."""
    networks = {name: _placed(network, device).train() for name, network in recipe.networks.items()}
    return State(networks, optimizers_of(recipe.phases[0], networks), device)


def optimizers_of(phase: Phase, networks: Networks) -> dict[str, torch.optim.Optimizer]:
    """Return a phase's optimizers, by player."""
    return {
        player.name: player.optimizer([weight for name in player.moves for weight in networks[name].parameters()])
        for player in phase.players
    }


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
    if broken := _not_finite(state.networks):
        raise UnhealthyError(f"{broken} is not finite at step {state.step}: the networks have diverged")
    kept = {
        **{name: getattr(state, name) for name in _NUMBERS},
        "networks": _states(state.networks),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in state.optimizers.items()},
        "galleries": {name: gallery.images for name, gallery in state.galleries.items()},
    }
    _save_whole(kept, folder / CHECKPOINT)


_NUMBERS = ("step", "phase", "retreats")


def _not_finite(networks: Networks) -> str:
    """Return the name of a tensor that holds NaN or infinity, or nothing."""
    named = (
        (f"{name}.{key}", value) for name, network in networks.items() for key, value in network.state_dict().items()
    )
    return next((name for name, value in named if not bool(torch.isfinite(value).all())), "")


def resume(state: State, recipe: Recipe, folder: Path) -> None:
    """Go back to the last checkpoint, in place. Raises TrainingError where it is none of this recipe."""
    kept = _opened(folder / CHECKPOINT, state.device)
    with _explained(folder / CHECKPOINT):
        for name, network in _kept(state.networks).items():
            network.load_state_dict(kept["networks"][name])
        state.optimizers = optimizers_of(recipe.phases[kept["phase"]], state.networks)
        for name, optimizer in state.optimizers.items():
            optimizer.load_state_dict(kept["optimizers"][name])
        for name in _NUMBERS:
            setattr(state, name, kept[name])
        state.galleries = {name: Gallery(images) for name, images in kept["galleries"].items()}
    state.best_score, state.best_step = float("inf"), 0
    if (folder / BEST).exists():
        best = _opened(folder / BEST, state.device)
        with _explained(folder / BEST):
            if best["phase"] == state.phase:
                state.best_score, state.best_step = best["score"], best["step"]


def load_best(state: State, folder: Path) -> None:
    """Put the networks with the lowest score in place of the last. Raises TrainingError where there are none."""
    best = _opened(folder / BEST, state.device)
    with _explained(folder / BEST):
        for name, network in _kept(state.networks).items():
            network.load_state_dict(best["networks"][name])
        state.best_score, state.best_step = best["score"], best["step"]


def _opened(path: Path, device: torch.device) -> dict[str, Any]:
    with _explained(path):
        opened: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return opened


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with what a run has saved into a TrainingError."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise TrainingError(f"{path} is no checkpoint: {error}") from error
    except (OSError, EOFError, RuntimeError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise TrainingError(f"{path} cannot be resumed: {error}") from error


def paced_phases(recipe: Recipe, steps: int) -> tuple[Phase, ...]:
    """Return a recipe's phases, in their proportions, for so many steps in all.

    Raises TrainingError for fewer steps than phases.
    """
    if steps < len(recipe.phases):
        raise TrainingError(f"{recipe.title} has {len(recipe.phases)} phases: {steps} steps are too few")
    asked = sum(phase.steps for phase in recipe.phases)
    ends, done = [0], 0
    for left, phase in zip(reversed(range(len(recipe.phases))), recipe.phases, strict=True):
        done += phase.steps
        ends.append(min(max(round(steps * done / asked), ends[-1] + 1), steps - left))
    return tuple(
        replace(phase, steps=end - begin) for phase, begin, end in zip(recipe.phases, ends, ends[1:], strict=False)
    )


@dataclass(frozen=True)
class Run:
    """What a run is from its first step to its last; ``State`` is what it changes.

    ``pool`` holds the subjects to learn from. ``validate`` scores the networks on subjects kept apart (lower is
    better), where there are any. Raises, as it is made, TrainingError for fewer steps than phases, ProcessesError for a
    batch that cannot be shared, and CohortError for a pool that lacks what a phase draws from.
    """

    recipe: Recipe
    pool: Pool
    pace: Pace
    folder: Path
    validate: Validate | None
    on_alarm: OnAlarm = OnAlarm.STOP
    workers: int = 0
    phases: tuple[Phase, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "phases", paced_phases(self.recipe, self.pace.steps))
        for phase in self.phases:
            Batches(phase.feed, self.pool, (), processes.share(phase.feed.batch))


def fit(run: Run, state: State, records: Sequence[Record] = ()) -> Iterator[Progress]:
    """Train from the state's step to the last, yielding after every step; killed at any moment, it can be resumed.

    On one CPU a resumed run ends with the same bytes. The best networks of the last phase are kept in ``best.pt``. A
    checkpoint is written after its step was yielded, so that what the caller logged never lacks a step that is not
    taken again, and never while the flight recorder suspects something; ``records`` are those of a resumed run. An
    alarm that harms ends the run with UnhealthyError, or sends it back to the last checkpoint, to go on with other
    batches at half the rate.
    """
    if state.step == 0:
        _save_for_all(state, run.folder)
    while state.step < run.pace.steps:
        try:
            yield from _played(run, state, records)
        except UnhealthyError as alarm:
            if run.on_alarm is OnAlarm.STOP or state.retreats == ROLL_BACKS:
                raise UnhealthyError(f"{alarm} The last healthy checkpoint is kept in {run.folder}.") from alarm
            before, retreats = state.step, state.retreats + 1
            resume(state, run.recipe, run.folder)
            state.retreats = retreats
            told = Alarm("rolled back", f"{alarm} Back to step {state.step}, at half the learning rates.", False)
            yield Progress(before, run.pace.steps, state.phase, alarms=(told,), rolled_back_to=state.step)
        records = ()


def _played(run: Run, state: State, records: Sequence[Record]) -> Iterator[Progress]:
    """Train to the end of the phase that the state is in. Raises UnhealthyError at an alarm that harms."""
    device, steps = state.device, run.pace.steps
    ends = [*accumulate(phase.steps for phase in run.phases)]
    place = bisect(ends, state.step)
    phase, first = run.phases[place], ends[place] - run.phases[place].steps
    if place != state.phase:
        state.optimizers = optimizers_of(phase, state.networks)
        state.phase, state.best_score = place, float("inf")
    predict_beforehand(run.pool, phase, state)
    recorder = Recorder(record for record in records if first < record.step <= state.step)
    loader = Loader(phase.feed, run.pool, (run.pool.study.seed, place, state.retreats), device, run.workers)
    batches = loader.batches(batches_before(phase, state.step - first), batches_before(phase, phase.steps))
    recorded = began = _Moment.now(state, loader)
    while state.step < ends[place]:
        # Dropout draws from (seed, step) too: no generator's state needs to survive.
        torch.manual_seed(seed_of(run.pool.study.seed + processes.number(), state.step))
        last = state.step + 1 == steps
        watch = _Watch() if last or (state.step + 1) % RECORD_EVERY == 0 else None
        step, rate = state.step - first, 0.5**state.retreats
        losses = play(phase, state.networks, state.optimizers, batches, step, device, watch or unwatched, rate)
        state.step += 1
        record, alarms, score, harm = None, [], None, ""
        if watch:
            now = _Moment.now(state, loader)
            record = watch.record(state, losses, recorded, now)
            alarms, recorded = recorder.add(record), now
            harm = next((alarm.text for alarm in alarms if alarm.harms), "")
        if not harm and (last or state.step % run.pace.validate_every == 0):
            score = _validated(run, state)
        spent, waiting = _Moment.now(state, loader).since(began)
        yield Progress(state.step, steps, place, record, score, spent, waiting, tuple(alarms))
        if watch:
            _refuse_jointly(harm, device)
        if last or state.step % run.pace.save_every == 0:
            _refuse_jointly(_broken(losses, state.step), device)
            if last or not processes.any_says(recorder.suspects, device):
                _save_for_all(state, run.folder)


def _save_for_all(state: State, folder: Path) -> None:
    """Write a checkpoint, by one process for all; what it finds wrong, all raise."""
    broken = ""
    if processes.number() == 0:
        try:
            save(state, folder)
        except UnhealthyError as error:
            broken = str(error)
    _refuse_jointly(broken, state.device)


def _refuse_jointly(broken: str, device: torch.device) -> None:
    """Raise UnhealthyError in all processes where one has found something broken."""
    if processes.any_says(bool(broken), device):
        raise UnhealthyError(broken or "another process has found something wrong: it says what.")


def _validated(run: Run, state: State) -> float | None:
    """Score the networks, by one process for all, and keep them where they are the best of the phase."""
    if processes.number() or run.validate is None:
        return None
    with evaluating(state.networks):
        score = run.validate(state.networks)
    if score < state.best_score and not _not_finite(state.networks):
        state.best_score, state.best_step = score, state.step
        best = {"score": score, "step": state.step, "phase": state.phase, "networks": _states(state.networks)}
        _save_whole(best, run.folder / BEST)
    return score


def _broken(losses: Mapping[str, Tensor], step: int) -> str:
    """Say which losses are no numbers, between two records and before a checkpoint; nothing where all are."""
    broken = [f"the loss {name} is {float(value)}" for name, value in losses.items() if not torch.isfinite(value)]
    if not broken:
        return ""
    return (
        f"step {step}: {', '.join(broken)}. The networks have diverged: go back to the last healthy checkpoint and "
        "train at a lower learning rate (study: changes = { rate = … })."
    )


@contextmanager
def evaluating(networks: Networks) -> Iterator[None]:
    """Put networks into evaluation mode for a while, and back into training mode."""
    for network in networks.values():
        network.eval()
    yield
    for network in networks.values():
        network.train()


def predict_beforehand(pool: Pool, phase: Phase, state: State) -> None:
    """Predict, for every training case that lacks no role, what the phase's feed reads beside the volumes."""
    if not phase.beforehand:
        return
    with evaluating(state.networks):
        for place in pool.having(pool.study.domains):
            found = predicted_volumes(phase.beforehand, state.networks, pool.study, pool.cases[place])
            pool.prepared[place] = dict(found)


@dataclass(frozen=True)
class _Moment:
    """When, after how many steps, and after how many seconds of waiting for data."""

    seconds: float
    waited: float
    step: int

    @classmethod
    def now(cls, state: State, loader: "Loader") -> Self:
        return cls(time.monotonic(), loader.waited, state.step)

    def since(self, before: "_Moment") -> tuple[float, float]:
        """Return the seconds a step, and the share of them spent waiting, since a moment before."""
        seconds = self.seconds - before.seconds
        return seconds / (self.step - before.step), (self.waited - before.waited) / max(seconds, 1e-9)


class _Watch:
    """What one step shows: the flight recorder's record of it."""

    def __init__(self) -> None:
        self.gradients: dict[str, float] = {}
        self.scores: dict[str, Spread] = {}
        self.images: dict[str, Tensor] = {}

    def __call__(self, game: Game, player: Player, weights: Sequence[Tensor]) -> None:
        norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        self.gradients[player.name] = float(norm)
        known = {name: value for name in game.scores if (value := game.known(name)) is not None}
        self.scores |= measure_scores({name: value for name, value in known.items() if name not in self.scores})
        for kind, name in (("made", game.made), ("real", game.real)):
            if (images := game.known(name)) is not None:
                self.images[kind] = images

    def record(self, state: State, losses: Mapping[str, Tensor], before: _Moment, now: _Moment) -> Record:
        """Return the record of the state's step; ``before`` is when the last one was made."""
        for kind, images in self.images.items():
            state.galleries[kind].add(images)
        seconds_per_step, waiting = now.since(before)
        return Record(
            step=state.step,
            losses={name: float(value) for name, value in losses.items()},
            gradients=self.gradients,
            scores=self.scores,
            made=state.galleries["made"].diversity(),
            real=state.galleries["real"].diversity(),
            rates={name: optimizer.param_groups[0]["lr"] for name, optimizer in state.optimizers.items()},
            waiting=waiting,
            seconds_per_step=seconds_per_step,
        )


def batches_before(phase: Phase, step: int) -> int:
    """Return how many batches a phase takes before a step: one a step, and one for every further turn."""
    return step + sum(player.turns_at(number) - 1 for player in phase.players for number in range(step))


def _states(networks: Networks) -> dict[str, dict[str, Tensor]]:
    return {name: network.state_dict() for name, network in _kept(networks).items()}


def _kept(networks: Networks) -> Networks:
    """Return the networks that a run changes: not those that are frozen, which are made again as they were."""
    return {
        name: network
        for name, network in networks.items()
        if not list(network.parameters()) or any(weight.requires_grad for weight in network.parameters())
    }


class Loader:
    """Batches in order, on the device; ``waited`` counts the seconds that training waited for them."""

    def __init__(self, feed: Feed, pool: Pool, seeds: tuple[int, ...], device: torch.device, workers: int) -> None:
        self.data = Batches(feed, pool, seeds, processes.share(feed.batch))
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
