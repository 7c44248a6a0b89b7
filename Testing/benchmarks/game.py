"""What a game costs over a loop written by hand: pix2pix, the two taking turns in one run.

    python Testing/benchmarks/game.py [--width 32] [--patch 128] [--batch 4] [--rounds 12]

Prints seconds a step of each (medians over rounds of five steps) and their ratio; the same networks, batches,
autocast and optimizers. The loop is what one would write: the fake is computed once, and the generator's step detaches
nothing.
"""

import argparse
import time
from copy import deepcopy
from statistics import median

import torch
from torch.nn.functional import softplus

from MedGANLogic import recipes
from MedGANLogic.recipe import build
from MedGANLogic.study import Study
from MedGANLogic.training import optimizers_of, play

STEPS = 5


def by_hand(networks, optimizers, batch):
    """Play one step as the paper's algorithm reads."""
    generator, discriminator, average = (networks[n] for n in ("generator", "discriminator", "generator_average"))
    x, y, weight = batch["input"], batch["target"], batch["weight"]
    with torch.autocast("cpu", torch.bfloat16):
        fake = generator(x)
        shown = torch.where(weight > 0, fake, y)
        real = softplus(-discriminator(torch.cat([x, y], 1))).mean()
        wrong = softplus(discriminator(torch.cat([x, shown.detach()], 1))).mean()
    optimizers["discriminator"].zero_grad(set_to_none=True)
    (0.5 * real.float() + 0.5 * wrong.float()).backward()
    optimizers["discriminator"].step()
    with torch.autocast("cpu", torch.bfloat16):
        fooled = softplus(-discriminator(torch.cat([x, shown], 1))).mean()
        off = ((fake.float() - y).abs() * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)
    optimizers["generator"].zero_grad(set_to_none=True)
    for parameter in discriminator.parameters():
        parameter.requires_grad_(False)
    (fooled.float() + 100 * off.mean()).backward()
    for parameter in discriminator.parameters():
        parameter.requires_grad_(True)
    optimizers["generator"].step()
    with torch.no_grad():
        source = generator.state_dict()
        for name, value in average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(source[name], 0.001)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("width", 32), ("patch", 128), ("batch", 4), ("rounds", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    example = recipes.example("pix2pix")
    study = Study(example.inputs, example.targets, neighbours=0, changes={"width": asked.width, "levels": 5})
    phase = build(recipes.load("pix2pix"), study).phases[0]
    torch.manual_seed(0)
    shape = (asked.batch, 1, asked.patch, asked.patch)
    batch = {"input": torch.rand(shape) * 2 - 1, "target": torch.rand(shape) * 2 - 1, "weight": torch.ones(shape)}
    networks = {
        name: network.to(memory_format=torch.channels_last).train()
        for name, network in build(recipes.load("pix2pix"), study).networks.items()
    }
    ours, theirs = deepcopy(networks), deepcopy(networks)
    our_optimizers, their_optimizers = optimizers_of(phase, ours), optimizers_of(phase, theirs)

    def played():
        play(phase, ours, our_optimizers, iter([batch]), 0, torch.device("cpu"))

    def written():
        by_hand(theirs, their_optimizers, batch)

    times = {played: [], written: []}
    for number in range(asked.rounds + 1):
        # Whoever goes first has the warmer machine: they take turns in that, too.
        for step in sorted(times, key=lambda one: (one is played) == bool(number % 2)):
            began = time.perf_counter()
            for _ in range(STEPS):
                step()
            times[step].append((time.perf_counter() - began) / STEPS)
    game, loop = (median(times[step][1:]) for step in (played, written))
    print(f"game {game:.4f} s, loop by hand {loop:.4f} s a step, ratio {game / loop:.3f} ({asked.rounds} rounds)")


if __name__ == "__main__":
    main()
