"""SN-GAN against a loop written by hand, and by the property that names it."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from by_hand import CPU, alternate, assert_same, two_steps
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.recipe import build
from MedGANLogic.recipes import example, load
from MedGANLogic.training import optimizers_of, play, start


def said(logits, real):
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def test_two_steps_are_those_of_a_loop_written_by_hand(toy_study, toy_cohort):
    played = two_steps("sn-gan", toy_study, toy_cohort)
    by_hand = deepcopy(played.fresh)

    def judge(discriminator, image, fake, batch):
        # The discriminator finds its singular values anew at every call: the fake is scored first there.
        real = discriminator(image)
        return said(real, 1) + said(discriminator(fake), 0)

    adam = partial(Adam, lr=2e-4, betas=(0.5, 0.999))
    alternate(by_hand, played.batches, adam, judge, lambda discriminator, _, fake: said(discriminator(fake), 1))
    assert_same(played, by_hand)


def test_no_layer_of_the_discriminator_stretches_its_input(toy_study, toy_cohort):
    study = toy_study(2, 0, example=example("sn-gan"))
    recipe = build(load("sn-gan"), study)
    (phase,), state = recipe.phases, start(recipe, CPU)
    batches = Batches(phase.feed, Pool(study, toy_cohort(study)[:3]), (0,))
    optimizers = optimizers_of(phase, state.networks)
    for step in range(30):
        play(phase, state.networks, optimizers, iter([batches[step]]), step, CPU)
    layers = [module for module in state.networks["discriminator"].modules() if hasattr(module, "parametrizations")]
    assert len(layers) == 8
    for layer in layers:
        largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item()
        # One power iteration a pass lags a little behind weights that move.
        assert largest == pytest.approx(1, abs=0.1)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in state.networks["discriminator"].modules())
