"""Two steps of a recipe, to be compared with the same steps written by hand in plain PyTorch.

On volumes where nothing else is asked for, because these are trained in float32 on a CPU.
"""

from copy import deepcopy
from dataclasses import dataclass, replace

import torch

from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.recipe import Networks, Phase, Recipe, build
from MedGANLogic.recipes import example, load
from MedGANLogic.training import batches_before, optimizers_of, play, predict_beforehand, start

CPU = torch.device("cpu")
STEPS = 2


@dataclass(frozen=True)
class Played:
    """``fresh`` networks are those before the steps; ``batches`` are all that were read, ``losses`` the last step's."""

    recipe: Recipe
    phase: Phase
    fresh: Networks
    networks: Networks
    batches: list[dict[str, torch.Tensor]]
    losses: dict[str, torch.Tensor]


def two_steps(name, toy_study, toy_cohort, place=0, first=0, dimensions=3, patch=16, **changes):
    """Play two steps of a recipe's phase, from the step ``first`` on, at toy size; step n begins with the seed n."""
    study = toy_study(dimensions, 0, example=example(name), patch=patch, **changes)
    recipe = build(load(name), study)
    phase, state = recipe.phases[place], start(recipe, CPU)
    pool = Pool(study, [case for case in toy_cohort(study) if case.part == "train"])
    predict_beforehand(pool, phase, state)
    drawn = Batches(phase.feed, pool, (study.seed,))
    batches = [drawn[number] for number in range(batches_before(phase, STEPS))]
    fresh, optimizers, left = deepcopy(dict(state.networks)), optimizers_of(phase, state.networks), iter(batches)
    for step in range(first, first + STEPS):
        torch.manual_seed(step)
        losses = play(phase, state.networks, optimizers, left, step, CPU)
    assert next(left, None) is None
    return Played(recipe, phase, fresh, state.networks, batches, losses)


def alternate(networks, batches, optimizer, judge, fool, turns=1, after=None):
    """Train a discriminator for some turns, each on a batch of its own, then the generator on the last one's noise.

    ``judge(discriminator, image, fake, batch)`` and ``fool(discriminator, image, fake)`` return the losses.
    """
    generator, discriminator = networks["generator"], networks["discriminator"]
    of_discriminator, of_generator = optimizer(discriminator.parameters()), optimizer(generator.parameters())
    left = iter(batches)
    for _ in range(STEPS):
        for _ in range(turns):
            batch = next(left)
            image, fake = batch["image"], generator(batch["noise"])
            of_discriminator.zero_grad()
            judge(discriminator, image, fake.detach(), batch).backward()
            of_discriminator.step()
            if after:
                after(discriminator)
        of_generator.zero_grad()
        fool(discriminator, image, fake).backward()
        of_generator.step()


def follow(network, average, step):
    """Let an average follow a network, weights and buffers, by the share that is the rule of early steps."""
    with torch.no_grad():
        followed = network.state_dict()
        for key, value in average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(followed[key], 1 - (1 + step) / (10 + step))
            else:
                value.copy_(followed[key])


def assert_same(played, by_hand, but=(), spared=0.0, still=()):
    """Assert that every network ended within 1e-6 of what it did by hand, and that by hand all but ``still`` moved.

    ``but`` names tensors that are left out. ``spared`` is a share of every tensor that may differ: Adam's first steps
    are as long for a gradient that rounding leaves as for any other.
    """
    assert played.networks.keys() == by_hand.keys()
    for name, network in by_hand.items():
        expected, found = network.state_dict(), played.networks[name].state_dict()
        before = played.fresh[name].state_dict()
        assert any(not torch.equal(value, before[key]) for key, value in expected.items()) == (name not in still), name
        for key in expected.keys() - {one.removeprefix(f"{name}.") for one in but}:
            differ = (found[key].double() - expected[key].double()).abs() > 1e-6
            assert differ.double().mean() <= spared, (name, key)


def lowered(player, game, done=0.0):
    """Return the sum that a player lowers, of a game or of anything that has the tensors."""
    return sum(term.weight_at(done) * term.value(game) for term in player.terms).item()


def players_of(name):
    """Return the players of a recipe's first phase, by name."""
    recipe = build(load(name), replace(example(name), changes={"width": 2, "patch": 32}))
    return {player.name: player for player in recipe.phases[0].players}


def published(name):
    """Return a recipe at its published size, without memory for its networks."""
    with torch.device("meta"):
        return build(load(name), example(name))
