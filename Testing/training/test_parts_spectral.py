"""The spectrally normalised discriminator: its table of layers, and its slope."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from MedGANLogic.parts.discriminators.spectral import SpectralDiscriminator


@pytest.mark.parametrize(("dimensions", "size"), [(2, 32), (2, 28), (3, 16)])
def test_an_image_gives_its_logits(dimensions, size):
    network = SpectralDiscriminator(dimensions, 2, 4, size, 3)
    assert network(torch.randn(2, 2, *(size,) * dimensions)).shape == (2, 3)


def test_the_layers_are_those_of_table_3():
    with torch.device("meta"):
        network = SpectralDiscriminator(2, 3, 64, 32, 1)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    table = [(layer.out_channels, *layer.kernel_size[:1], *layer.stride[:1]) for layer in convolutions]
    assert table == [(64, 3, 1), (64, 4, 2), (128, 3, 1), (128, 4, 2), (256, 3, 1), (256, 4, 2), (512, 3, 1)]
    assert [module.negative_slope for module in network.modules() if isinstance(module, nn.LeakyReLU)] == [0.1] * 7


def test_it_survives_a_copy_and_a_checkpoint():
    torch.manual_seed(0)
    network, image = SpectralDiscriminator(2, 1, 4, 16, 1), torch.randn(2, 1, 16, 16)
    network(image)
    copied, fresh = deepcopy(network).eval(), SpectralDiscriminator(2, 1, 4, 16, 1).eval()
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(copied(image), network.eval()(image))
    assert torch.equal(fresh(image), network(image))
