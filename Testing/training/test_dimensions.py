"""Layers by number of dimensions: what is ours of them."""

import pytest
import torch

from MedGANLogic.parts.dimensions import INSTANCE_NORM
from MedGANLogic.parts.generators.residual import ResidualTranslator

LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("batch", [1, 2])
def test_instance_norms_gradient_is_the_same_however_it_lies_in_memory(dimensions, batch):
    image, upstream = torch.randn(2, batch, 16, *(8,) * dimensions, generator=torch.Generator().manual_seed(0))

    def gradient(layout):
        leaf = image.clone().requires_grad_()
        INSTANCE_NORM[dimensions](16)(leaf).backward(upstream.contiguous(memory_format=layout))
        return leaf.grad

    assert torch.allclose(gradient(LAYOUTS[dimensions]), gradient(torch.contiguous_format), atol=1e-5)


def test_a_batch_of_one_learns_as_the_same_image_in_a_batch_of_two_equal_ones():
    network = ResidualTranslator(2, 1, 1, width=8, blocks=1).to(memory_format=torch.channels_last)
    image = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    def gradient(count):
        network.zero_grad()
        network(image.expand(count, -1, -1, -1).contiguous()).square().mean().backward()
        return torch.cat([weight.grad.flatten() for weight in network.parameters()])

    once, twice = gradient(1), gradient(2)
    assert (once - twice).norm() < 1e-3 * twice.norm()
