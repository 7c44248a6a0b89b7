"""DCGAN against a loop written by hand, against its paper's layers, and at known logits."""

from copy import deepcopy
from functools import partial
from math import log
from types import SimpleNamespace

import pytest
import torch
from by_hand import alternate, assert_same, lowered, players_of, published, two_steps
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from MedGANLogic.chance import Uniform


def said_real(logits):
    return binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def judge(discriminator, image, fake, batch):
    real, made = discriminator(image), discriminator(fake)
    return said_real(real) + binary_cross_entropy_with_logits(made, torch.zeros_like(made))


def test_two_steps_are_those_of_a_loop_written_by_hand(toy_study, toy_cohort):
    played = two_steps("dcgan", toy_study, toy_cohort)
    by_hand = deepcopy(played.fresh)
    adam = partial(Adam, lr=2e-4, betas=(0.5, 0.999))
    alternate(by_hand, played.batches, adam, judge, lambda discriminator, _, fake: said_real(discriminator(fake)))
    assert_same(played, by_hand)


def test_at_a_probability_of_a_hundredth_the_generator_loses_its_logarithm():
    players = players_of("dcgan")
    # The logit of 1/100, and of 1/2.
    game = SimpleNamespace(score_fake=torch.tensor([-log(99)]), score_real=torch.tensor([0.0]))
    assert lowered(players["generator"], game) == pytest.approx(log(100))
    assert lowered(players["discriminator"], game) == pytest.approx(log(2) + log(100 / 99))


def test_the_networks_are_those_of_figure_1():
    recipe = published("dcgan")
    widths = {
        name: [module.out_channels for module in recipe.networks[name].modules() if hasattr(module, "kernel_size")]
        for name in ("generator", "discriminator")
    }
    assert widths == {"generator": [1024, 512, 256, 128, 1], "discriminator": [128, 256, 512, 1024, 1]}
    for network in recipe.networks.values():
        kinds = [type(module) for module in network.modules()]
        assert not {nn.Linear, nn.MaxPool2d, nn.AvgPool2d, nn.Upsample} & set(kinds)
        # None after the generator's last layer, the discriminator's first and its last.
        assert kinds.count(nn.BatchNorm2d) == {"DCGANGenerator": 4, "DCGANDiscriminator": 3}[type(network).__name__]


def test_noise_is_uniform_between_minus_one_and_one_in_training_and_prediction(toy_study, toy_cohort):
    played = two_steps("dcgan", toy_study, toy_cohort)
    assert played.recipe.chance == {"noise": Uniform((100,), -1, 1)}
    noise = torch.cat([batch["noise"] for batch in played.batches])
    assert noise.shape == (4, 100)
    assert 0.9 < noise.abs().max() <= 1
    assert noise.std().item() == pytest.approx(3**-0.5, abs=0.05)
