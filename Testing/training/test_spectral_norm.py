"""Spectral norm is torch's own parametrisation: a network with it is copied, stored and opened like any other."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from MedGANLogic.parts.discriminators.patch import PatchDiscriminator


def normed():
    network = PatchDiscriminator(2, 1, 4, 1)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            spectral_norm(module)
    return network


@pytest.fixture
def image():
    return torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def used(image):
    torch.manual_seed(0)
    network = normed()
    # Each pass in training iterates on the singular vectors, which are state as the weights are.
    for _ in range(30):
        network(image)
    return network


def test_every_weights_largest_singular_value_is_one(used):
    weights = [module.weight for module in used.modules() if isinstance(module, nn.Conv2d)]
    assert len(weights) == 3
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-2)


def test_a_copy_computes_the_same_and_goes_its_own_way(used, image):
    copied = deepcopy(used)
    assert torch.equal(copied.eval()(image), used.eval()(image))
    assert copied.arguments == used.arguments
    assert {id(weight) for weight in copied.parameters()}.isdisjoint(id(weight) for weight in used.parameters())
    with torch.no_grad():
        for weight in copied.parameters():
            weight.add_(1)
    assert not torch.allclose(copied(image), used(image))


def test_its_state_is_plain_tensors_that_load_strictly(used, image):
    fresh = normed()
    assert not torch.equal(fresh.eval()(image), used.eval()(image))
    fresh.load_state_dict({name: value.clone() for name, value in used.state_dict().items()}, strict=True)
    assert torch.equal(fresh(image), used(image))
    assert torch.equal(fresh.train()(image), used.train()(image))


def test_it_is_built_on_no_memory():
    with torch.device("meta"):
        assert normed()(torch.empty(2, 1, 16, 16)).device.type == "meta"
