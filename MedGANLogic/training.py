"""Training: the step that plays every recipe, and the run around it that holds."""

import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from MedGANLogic import processes
from MedGANLogic.cohort import Case
from MedGANLogic.errors import MedGANError
from MedGANLogic.feeds import Batches, Feed, Pool
from MedGANLogic.inference.cases import predicted_volumes
from MedGANLogic.recipe import Batch, Game, Networks, Phase, Player, Recipe
from MedGANLogic.recorder import ROLL_BACKS, Alarm, Gallery, OnAlarm, Record, Recorder, Spread, measure_scores
from MedGANLogic.study import Study

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
    """Play one step of a phase: every player in turn. Returns each term's unweighted loss by ``player/loss``.

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
        for turn in range(player.turns):
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
            losses[f"{player.name}/{number} {term.loss.__name__}"] = value.detach()
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
    """Where a run stands: for a progress bar and a log. ``rolled_back_to``: the step that an alarm sent it back to."""

    step: int
    steps: int
    record: Record | None
    score: float | None
    seconds_per_step: float
    waiting: float
    alarms: tuple[Alarm, ...] = ()
    rolled_back_to: int | None = None


@dataclass
class State:
    """Everything that a run changes: what a checkpoint holds. ``optimizers`` are those of the phase ``phase``."""

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
    for name, network in state.networks.items():
        for key, value in network.state_dict().items():
            if not bool(torch.isfinite(value).all()):
                raise UnhealthyError(f"{name}.{key} is not finite at step {state.step}: the networks have diverged")
    kept = {
        **{name: getattr(state, name) for name in _NUMBERS},
        "networks": _states(state.networks),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in state.optimizers.items()},
        "galleries": {name: gallery.images for name, gallery in state.galleries.items()},
    }
    _save_whole(kept, folder / CHECKPOINT)


_NUMBERS = ("step", "phase", "best_score", "best_step", "retreats")


def resume(state: State, recipe: Recipe, folder: Path) -> None:
    """Go back to the last checkpoint, in place. Raises TrainingError where it is none of this recipe."""
    try:
        kept = torch.load(folder / CHECKPOINT, map_location=state.device, weights_only=True)
        for name, network in _kept(state.networks).items():
            network.load_state_dict(kept["networks"][name])
        state.optimizers = optimizers_of(recipe.phases[kept["phase"]], state.networks)
        for name, optimizer in state.optimizers.items():
            optimizer.load_state_dict(kept["optimizers"][name])
        for name in _NUMBERS:
            setattr(state, name, kept[name])
        state.galleries = {name: Gallery(images) for name, images in kept["galleries"].items()}
    except (OSError, EOFError, RuntimeError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise TrainingError(f"{folder / CHECKPOINT} cannot be resumed: {error}") from error
    except pickle.UnpicklingError as error:
        raise TrainingError(f"{folder / CHECKPOINT} is no checkpoint: {error}") from error


def load_best(state: State, folder: Path) -> None:
    """Put the networks with the lowest score in place of the last."""
    best = torch.load(folder / BEST, map_location=state.device, weights_only=True)
    for name, network in _kept(state.networks).items():
        network.load_state_dict(best[name])


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


def fit(
    state: State,
    recipe: Recipe,
    study: Study,
    cases: Sequence[Case],
    pace: Pace,
    folder: Path,
    validate: Validate,
    on_alarm: OnAlarm = OnAlarm.STOP,
    records: Sequence[Record] = (),
    workers: int = 0,
) -> Iterator[Progress]:
    """Train from the state's step to the last, yielding after every step; killed at any moment, it can be resumed.

    On one CPU a resumed run ends with the same bytes. ``validate`` scores the networks on subjects kept apart (lower
    is better); the best of the last phase are kept in ``best.pt``. A checkpoint is written after its step was
    yielded, so that what the caller logged never lacks a step that is not taken again, and never while the flight
    recorder suspects something; ``records`` are those of a resumed run. An alarm that harms ends the run with
    UnhealthyError, or sends it back to the last checkpoint, to go on with other batches at half the rate.
    """
    run = _Run(state, recipe, study, cases, pace, folder, validate, records, workers)
    if state.step == 0:
        run.save()
    while state.step < pace.steps:
        try:
            yield from run.phase()
        except UnhealthyError as alarm:
            if on_alarm is OnAlarm.STOP or state.retreats == ROLL_BACKS:
                raise UnhealthyError(f"{alarm} The last healthy checkpoint is kept in {folder}.") from alarm
            before, retreats = state.step, state.retreats + 1
            resume(state, recipe, folder)
            state.retreats = retreats
            told = Alarm("rolled back", f"{alarm} Back to step {state.step}, at half the learning rates.", False)
            yield Progress(before, pace.steps, None, None, 0.0, 0.0, (told,), state.step)


class _Run:
    """One run: its phases at their pace, and what looks after it."""

    def __init__(
        self,
        state: State,
        recipe: Recipe,
        study: Study,
        cases: Sequence[Case],
        pace: Pace,
        folder: Path,
        validate: Validate,
        records: Sequence[Record],
        workers: int,
    ) -> None:
        self.state, self.study, self.pace, self.folder = state, study, pace, folder
        self.validate, self.workers = validate, workers
        self.phases = paced_phases(recipe, pace.steps)
        self.pool = Pool(study, [case for case in cases if case.part == "train"])
        self.records = records
        self.began, self.taken = time.monotonic(), 0
        self.waited = 0.0

    def phase(self) -> Iterator[Progress]:
        """Train to the end of the phase that the state is in. Raises UnhealthyError at an alarm that harms."""
        state, device = self.state, self.state.device
        ends = [sum(phase.steps for phase in self.phases[: place + 1]) for place in range(len(self.phases))]
        place = next(place for place, end in enumerate(ends) if state.step < end)
        phase, first = self.phases[place], ends[place] - self.phases[place].steps
        if place != state.phase:
            state.optimizers = optimizers_of(phase, state.networks)
            state.phase, state.best_score = place, float("inf")
        predict_beforehand(self.pool, phase, state, self.study)
        recorder = Recorder(record for record in self.records if first < record.step <= state.step)
        self.records = ()
        loader = Loader(phase.feed, self.pool, (self.study.seed, place, state.retreats), device, self.workers)
        per_step = batches_per_step(phase)
        batches = loader.batches((state.step - first) * per_step, phase.steps * per_step)
        recorded = time.monotonic(), loader.waited, state.step
        while state.step < ends[place]:
            # Dropout draws from (seed, step) too: no generator's state needs to survive.
            torch.manual_seed(seed_of(self.study.seed + processes.number(), state.step))
            last = state.step + 1 == self.pace.steps
            watched = (state.step + 1) % RECORD_EVERY == 0 or last
            watch = _Watch(state.galleries) if watched else unwatched
            losses = play(
                phase, state.networks, state.optimizers, batches, state.step - first, device, watch, 0.5**state.retreats
            )
            state.step += 1
            self.taken += 1
            record, alarms = None, []
            if isinstance(watch, _Watch):
                now = time.monotonic(), loader.waited, state.step
                record = watch.record(state, losses, recorded, now)
                alarms, recorded = recorder.add(record), now
            harmful = [alarm for alarm in alarms if alarm.harms]
            score = None
            if not harmful and (state.step % self.pace.validate_every == 0 or last):
                score = self._validated()
            elapsed = time.monotonic() - self.began
            yield Progress(
                state.step,
                self.pace.steps,
                record,
                score,
                elapsed / self.taken,
                (self.waited + loader.waited) / max(elapsed, 1e-9),
                tuple(alarms),
            )
            if watched and processes.any_says(bool(harmful), device):
                raise UnhealthyError(harmful[0].text if harmful else _ELSEWHERE)
            if last or state.step % self.pace.save_every == 0:
                broken = _broken(losses, state.step)
                if processes.any_says(bool(broken), device):
                    raise UnhealthyError(broken or _ELSEWHERE)
                if last or not processes.any_says(recorder.suspects, device):
                    self.save()
        self.waited += loader.waited

    def save(self) -> None:
        """Write a checkpoint, by one process for all; what it finds wrong, all raise."""
        broken = ""
        if processes.number() == 0:
            try:
                save(self.state, self.folder)
            except UnhealthyError as error:
                broken = str(error)
        if processes.any_says(bool(broken), self.state.device):
            raise UnhealthyError(broken or _ELSEWHERE)

    def _validated(self) -> float | None:
        state = self.state
        if processes.number():
            return None
        with evaluating(state.networks):
            score = self.validate(state.networks)
        if score < state.best_score:
            state.best_score, state.best_step = score, state.step
            _save_whole(_states(state.networks), self.folder / BEST)
        return score


_ELSEWHERE = "another process has found something wrong: it says what."


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


def predict_beforehand(pool: Pool, phase: Phase, state: State, study: Study) -> None:
    """Predict, for every training case that lacks no role, what the phase's feed reads beside the volumes."""
    if not phase.beforehand:
        return
    with evaluating(state.networks):
        for place in pool.having(study.domains):
            pool.prepared[place] = dict(predicted_volumes(phase.beforehand, state.networks, study, pool.cases[place]))


class _Watch:
    """What one step shows: the flight recorder's record of it."""

    def __init__(self, galleries: Mapping[str, Gallery]) -> None:
        self.galleries = galleries
        self.gradients: dict[str, float] = {}
        self.rates: dict[str, float] = {}
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

    def record(
        self,
        state: State,
        losses: Mapping[str, Tensor],
        before: tuple[float, float, int],
        now: tuple[float, float, int],
    ) -> Record:
        """Return the record; ``before`` and ``now`` are times, seconds waited, and steps."""
        for kind, images in self.images.items():
            self.galleries[kind].add(images)
        seconds, waited, steps = (late - early for early, late in zip(before, now, strict=True))
        return Record(
            step=state.step,
            losses={name: float(value) for name, value in losses.items()},
            gradients=self.gradients,
            scores=self.scores,
            made=self.galleries["made"].diversity(),
            real=self.galleries["real"].diversity(),
            rates={name: optimizer.param_groups[0]["lr"] for name, optimizer in state.optimizers.items()},
            waiting=waited / max(seconds, 1e-9),
            seconds_per_step=seconds / steps,
        )


def play_steps(state: State, recipe: Recipe, study: Study, cases: Sequence[Case], steps: int) -> Iterator[None]:
    """Play the first steps of a run and nothing else, yielding after each: for timing."""
    phase, pool = recipe.phases[0], Pool(study, [case for case in cases if case.part == "train"])
    predict_beforehand(pool, phase, state, study)
    batches = Loader(phase.feed, pool, (study.seed,), state.device, 0).batches(0, steps * batches_per_step(phase))
    for step in range(steps):
        play(phase, state.networks, state.optimizers, batches, step, state.device)
        yield


def batches_per_step(phase: Phase) -> int:
    """Return how many batches a step of a phase takes."""
    return 1 + sum(player.turns - 1 for player in phase.players)


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
