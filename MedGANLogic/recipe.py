"""A GAN is a game: which tensors exist in a step (Game) and which terms read them (Term). The rest is shared.

``Study`` (in ``study.py``) is the user's side, ``Recipe`` the paper's. All here is data, but for the bookkeeping of
``Game``.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from MedGANLogic.feeds import Feed
from MedGANLogic.passes import Pass
from MedGANLogic.study import Study

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
    """One batch and the tensors that the players make of it. Subclasses name them with ``@tensor``."""

    def __init__(self, networks: Networks, batch: Batch) -> None:
        self.networks = networks
        self.batch = batch
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

    def forget(self, moved: Collection[str]) -> None:
        """Drop every tensor that passed through one of the networks that moved."""
        self._known = {name: known for name, known in self._known.items() if known[1].isdisjoint(moved)}

    @classmethod
    def names(cls) -> set[str]:
        """Return the names of all tensors that terms may read."""
        return {name for owner in cls.__mro__ for name, value in vars(owner).items() if isinstance(value, tensor)}


Schedule = Callable[[float], float]


def constant(_: float) -> float:
    """Keep the learning rate."""
    return 1.0


def cosine(done: float) -> float:
    """Let the learning rate fall to 0 along half a cosine; ``done`` is the finished share of the phase, in [0, 1]."""
    return 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, init=False)
class Term:
    """``weight * loss(*tensors)``; ``names`` are tensors of the game."""

    weight: float
    loss: Callable[..., Tensor]
    names: tuple[str, ...]

    def __init__(self, weight: float, loss: Callable[..., Tensor], *names: str) -> None:
        for key, value in (("weight", weight), ("loss", loss), ("names", names)):
            object.__setattr__(self, key, value)

    def value(self, game: Game) -> Tensor:
        """Return the unweighted loss in a game."""
        return self.loss(*(getattr(game, name) for name in self.names))


Act = Callable[[Networks, int], None]


@dataclass(frozen=True)
class ExponentialAverage:
    """An act: let ``into`` follow ``of``, weights and buffers, with the given decay (Polyak averaging).

    Early on the decay is (1 + step) / (10 + step), so that the average forgets its start.
    """

    of: str
    into: str
    decay: float

    def __call__(self, networks: Networks, step: int) -> None:
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            source = networks[self.of].state_dict()
            for name, average in networks[self.into].state_dict().items():
                if average.is_floating_point():
                    average.lerp_(source[name], share)
                else:
                    average.copy_(source[name])


@dataclass(frozen=True)
class Player:
    """Who moves which networks, by which optimizer, to lower which terms."""

    name: str
    moves: tuple[str, ...]
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    terms: tuple[Term, ...]
    schedule: Schedule = constant
    turns: int = 1
    after: tuple[Act, ...] = ()


@dataclass(frozen=True)
class Phase:
    """A stretch of training: so many steps of one game between its players."""

    steps: int
    game: type[Game]
    players: tuple[Player, ...]


@dataclass(frozen=True)
class Recipe:
    """One published system, for one study: everything that training and prediction need to know."""

    title: str
    source: str
    networks: Networks
    feed: Feed
    phases: tuple[Phase, ...]
    passes: tuple[Pass, ...]
    departures: tuple[str, ...] = ()


RecipeFunction = Callable[[Study], Recipe]


def build(recipe: RecipeFunction, study: Study) -> Recipe:
    """Make a recipe for a study; its networks' first weights follow from the study's seed alone."""
    torch.manual_seed(study.seed)
    return recipe(study)
