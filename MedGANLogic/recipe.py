"""A GAN is a game: which tensors exist in a step (Game) and which terms read them (Term). The rest is shared.

``Study`` (in ``study.py``) is the user's side, ``Recipe`` the paper's. All here is data, but for the bookkeeping of
``Game``.
"""

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from MedGANLogic.chance import Chance
from MedGANLogic.errors import MedGANError
from MedGANLogic.feeds import Feed, blank
from MedGANLogic.passes import Step
from MedGANLogic.study import Study, StudyError

Batch = Mapping[str, Tensor]
Networks = Mapping[str, nn.Module]


class tensor:  # noqa: N801 - reads as a decorator, like property
    """A named tensor of a game: computed when first read, remembered until a network that it passed through moves."""

    def __init__(self, compute: Callable[[Any], Tensor]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, game: "Game", owner: type | None = None) -> Tensor:
        return game.remembered(self.name, self.compute)


class Game:
    """One batch and the tensors that the players make of it. Subclasses name them with ``@tensor``.

    ``step`` counts within the phase, ``done`` is the finished share of it, in [0, 1]. What the flight recorder looks
    at, where a game has it: ``scores``, a discriminator's answers; ``made`` and ``real``, the images that a generator
    made and those that it should resemble.
    """

    scores: ClassVar[tuple[str, ...]] = ()
    made: ClassVar[str] = ""
    real: ClassVar[str] = ""

    def __init__(self, networks: Networks, batch: Batch, step: int = 0, done: float = 0.0) -> None:
        self.networks = networks
        self.batch = batch
        self.step = step
        self.done = done
        self._known: dict[str, tuple[Tensor, frozenset[str]]] = {}
        self._being_computed: list[set[str]] = []

    def network(self, name: str) -> nn.Module:
        """Return a network, and note that the tensor being computed passed through it."""
        if self._being_computed:
            self._being_computed[-1].add(name)
        return self.networks[name]

    def remembered(self, name: str, compute: Callable[["Game"], Tensor]) -> Tensor:
        """Return a tensor by its name, computing it only if it is not known."""
        if name not in self._known:
            self._being_computed.append(set())
            value = compute(self)
            self._known[name] = value, frozenset(self._being_computed.pop())
        value, passed = self._known[name]
        if self._being_computed:
            self._being_computed[-1] |= passed
        return value

    def known(self, name: str) -> Tensor | None:
        """Return a tensor by its name if it is remembered, without computing it."""
        found = self._known.get(name)
        return found and found[0]

    def forget(self, moved: Collection[str]) -> None:
        """Drop every tensor that passed through one of the networks that moved."""
        self._known = {name: known for name, known in self._known.items() if known[1].isdisjoint(moved)}

    @classmethod
    def names(cls) -> set[str]:
        """Return the names of all tensors that terms may read."""
        return {name for owner in cls.__mro__ for name, value in vars(owner).items() if isinstance(value, tensor)}


#: A factor as a function of the finished share of the phase, in [0, 1].
Schedule = Callable[[float], float]


def constant(_: float) -> float:
    """Keep the learning rate."""
    return 1.0


def cosine(done: float) -> float:
    """Let the learning rate fall to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Linear:
    """A schedule: ``first`` until the share ``begin``, then a straight line to ``last`` at the share ``end``."""

    first: float
    last: float
    begin: float = 0.0
    end: float = 1.0

    def __call__(self, done: float) -> float:
        share = min(max((done - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return self.first + share * (self.last - self.first)


@dataclass(frozen=True)
class InverseTime:
    """A schedule: 1 / (1 + ``decay`` · the share done)."""

    decay: float

    def __call__(self, done: float) -> float:
        return 1 / (1 + self.decay * done)


@dataclass(frozen=True, init=False)
class Term:
    """``weight * loss(*tensors)``; ``names`` are tensors of the game, the weight may change with the share done."""

    weight: float | Schedule
    loss: Callable[..., Tensor]
    names: tuple[str, ...]

    def __init__(self, weight: float | Schedule, loss: Callable[..., Tensor], *names: str) -> None:
        for key, value in (("weight", weight), ("loss", loss), ("names", names)):
            object.__setattr__(self, key, value)

    def value(self, game: Game) -> Tensor:
        """Return the unweighted loss in a game."""
        return self.loss(*(getattr(game, name) for name in self.names))

    def weight_at(self, done: float) -> float:
        """Return the weight when a share of the phase is done."""
        return self.weight(done) if callable(self.weight) else self.weight


#: What happens after a player's step, while the game still remembers what it read.
Act = Callable[[Game], None]


@dataclass(frozen=True)
class ExponentialAverage:
    """An act: let ``into`` follow ``of``, weights and buffers, with the given decay (Polyak averaging).

    Early on the decay is (1 + step) / (10 + step), so that the average forgets its start.
    """

    of: str
    into: str
    decay: float

    def __call__(self, game: Game) -> None:
        share = 1 - min(self.decay, (1 + game.step) / (10 + game.step))
        with torch.no_grad():
            source = game.networks[self.of].state_dict()
            for name, average in game.networks[self.into].state_dict().items():
                if average.is_floating_point():
                    average.lerp_(source[name], share)
                else:
                    average.copy_(source[name])


@dataclass(frozen=True)
class Clip:
    """An act: keep every weight of a network within ±``bound`` (Arjovsky et al. 2017, arXiv:1701.07875, alg. 1)."""

    network: str
    bound: float

    def __call__(self, game: Game) -> None:
        with torch.no_grad():
            for weight in game.networks[self.network].parameters():
                weight.clamp_(-self.bound, self.bound)


#: How many turns a player has in a step, as a function of the step, which counts within the phase.
Rhythm = Callable[[int], int]


@dataclass(frozen=True)
class ExtraTurns:
    """A rhythm: ``usual`` turns a step, and ``extra`` ones besides after every ``every`` steps."""

    usual: int
    extra: int
    every: int

    def __call__(self, step: int) -> int:
        return self.usual + self.extra * (step > 0 and step % self.every == 0)


@dataclass(frozen=True)
class Player:
    """Who moves which networks, by which optimizer, to lower which terms, in how many turns a step."""

    name: str
    moves: tuple[str, ...]
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    terms: tuple[Term, ...]
    schedule: Schedule = constant
    turns: int | Rhythm = 1
    after: tuple[Act, ...] = ()

    def turns_at(self, step: int) -> int:
        """Return the number of turns in a step of the phase."""
        return self.turns(step) if callable(self.turns) else self.turns


@dataclass(frozen=True)
class Phase:
    """A stretch of training: so many steps of one game between its players, on batches of one feed.

    ``beforehand`` runs over every training case as the phase begins; what it writes its feed may read. A stage of
    growing or of a cascade, a pre-training: each is a phase.
    """

    steps: int
    feed: Feed
    game: type[Game]
    players: tuple[Player, ...]
    beforehand: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """One published system, for one study: everything that training and prediction need to know.

    ``passes`` predict; ``chance`` is what they begin with where there is no input.
    """

    title: str
    source: str
    networks: Networks
    phases: tuple[Phase, ...]
    passes: tuple[Step, ...]
    departures: tuple[str, ...] = ()
    chance: Mapping[str, Chance] = field(default_factory=dict)


def numbered(name: str, count: int) -> tuple[str, ...]:
    """Return so many names: name_1, name_2, …."""
    return tuple(f"{name}_{number + 1}" for number in range(count))


def in_stages(make: Callable[[int], tuple[Networks, Phase]], count: int) -> tuple[Networks, tuple[Phase, ...]]:
    """Make so many stages, numbered from 0; return the networks of all, and the phases, one after another."""
    made = [make(number) for number in range(count)]
    return {name: network for networks, _ in made for name, network in networks.items()}, tuple(p for _, p in made)


def weighed(networks: Networks, players: Sequence[Player]) -> tuple[Networks, tuple[Player, ...]]:
    """Leave out terms that weigh 0, players who have no other, and the networks that nobody else moves.

    So a study that gives a term no weight trains what the system is without it. Raises StudyError where nobody is left.
    """
    heard = [replace(player, terms=tuple(term for term in player.terms if term.weight)) for player in players]
    playing = tuple(player for player in heard if player.terms)
    if not playing:
        raise StudyError("every term of this system weighs 0: there is nothing to learn")
    idle = {name for player in players for name in player.moves} - {name for one in playing for name in one.moves}
    return {name: network for name, network in networks.items() if name not in idle}, playing


RecipeFunction = Callable[[Study], Recipe]

#: What networks and losses raise where sizes do not fit together.
_MISFITS = (ValueError, RuntimeError, IndexError, ArithmeticError)


def build(recipe: RecipeFunction, study: Study) -> Recipe:
    """Make a recipe for a study; its networks' first weights follow from the study's seed alone.

    Raises StudyError where the study is none for it, such as one with inputs for a system that begins with chance, and
    for networks that cannot be made. Whether a game can be played with them ``rehearse`` says.
    """
    torch.manual_seed(study.seed)
    try:
        made = recipe(study)
    except StudyError:
        raise
    except RuntimeError as error:
        raise StudyError(f"the study's networks are too large: {_first_line(error)}") from error
    except ValueError as error:
        raise StudyError(f"the study's settings do not fit this system: {error}") from error
    _refuse_other_beginning(made, study)
    return replace(made, passes=study.held(made.passes))


def rehearse(recipe: RecipeFunction, study: Study) -> None:
    """Play a game of every phase on torch's meta device: all of it but the numbers.

    Raises StudyError as ``build`` does, and for settings that networks or losses do not take, such as a patch that
    cannot be halved often enough: it names one that would do.
    """
    if misfit := _misfit(recipe, study):
        said = f"the study's settings do not fit this system{_remedy(recipe, study)} ({_first_line(misfit)})"
        raise StudyError(said) from misfit


def _refuse_other_beginning(made: Recipe, study: Study) -> None:
    if made.chance and study.inputs:
        raise StudyError(f"{made.title} makes images of chance: the study has the input {', '.join(study.inputs)}")
    if not made.chance and not study.inputs:
        raise StudyError(f"{made.title} reads an image: the study needs inputs")


def _misfit(recipe: RecipeFunction, study: Study) -> Exception | None:
    """Return what goes wrong in a rehearsal."""
    try:
        # That a network without input has nothing to draw its first weights for is said below.
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            made = recipe(study)
        _refuse_other_beginning(made, study)
        networks = {name: network.to("meta") for name, network in made.networks.items()}
        for phase in made.phases:
            pool = blank(study, [name for step in phase.beforehand for name in step.writes])
            with torch.device("cpu"):
                item = phase.feed.draw(pool, (study.seed,), 0, 0)
            batch = {name: torch.empty(phase.feed.batch, *one.shape, device="meta") for name, one in item.items()}
            game = phase.game(networks, batch)
            for term in (term for player in phase.players for term in player.terms):
                term.value(game)
    except MedGANError:
        raise
    except _MISFITS as error:
        return error
    return None


def _remedy(recipe: RecipeFunction, study: Study) -> str:
    """Say which of a study's changes does not fit, and which number would; nothing where no single one is to blame."""
    for name in ("patch", "levels", "batch"):
        for other in _near(int(study.changes.get(name, 0))):
            if _misfit(recipe, replace(study, changes={**study.changes, name: other})) is None:
                return f": {name} {study.changes[name]:g} does not, {other} would"
    return ""


def _near(value: int) -> list[int]:
    """Return numbers that may do where one does not: the next ones, rounder ones, powers of two; the nearest first."""
    rounder = {value - value % each + more for each in (4, 8, 16, 32, 64) for more in (0, each)}
    found = rounder | {2**exponent for exponent in range(11)} | {value + more for more in (-3, -2, -1, 1, 2, 3)}
    return sorted(
        (other for other in found - {value} if max(1, value / 16) <= other <= 16 * value),
        key=lambda other: abs(other - value),
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
