"""What networks for finer images promise: grids, levels that all reach the output, images scored alone."""

import pytest
import torch
from torch import nn

from MedGANLogic.parts.discriminators.image import LayerNormImageCritic
from MedGANLogic.parts.generators.multilevel_dense import MultiLevelDenseNet

CONVOLUTIONS = nn.Conv2d | nn.Conv3d


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def on_meta(build, *arguments):
    with torch.device("meta"):
        return build(*arguments)


def table(network):
    """Return the kernel, inputs, outputs and stride of every convolution."""
    return [
        (layer.kernel_size[0], layer.in_channels, layer.out_channels, layer.stride[0])
        for layer in network.modules()
        if isinstance(layer, CONVOLUTIONS)
    ]


def test_the_published_dense_net_is_b4u4_with_a_growth_rate_of_sixteen():
    network = on_meta(MultiLevelDenseNet, 3, 1, 1, 16, 4, 4)
    unit = [(3, channels, 16, 1) for channels in (32, 48, 64, 80)]
    compressors = [(1, 32 + 96 * number, 32, 1) for number in (1, 2, 3)]
    assert table(network) == [(3, 1, 32, 1), *4 * unit, *compressors, (1, 32 + 4 * 96, 1, 1)]
    kinds = [type(layer) for layer in network.blocks[0].units[0]]
    assert kinds == [nn.BatchNorm3d, nn.ELU, nn.Conv3d]


@pytest.mark.parametrize("shape", [(2, 3, 7, 10), (1, 3, 5, 6, 9)])
def test_a_dense_net_keeps_the_grid(shape):
    assert MultiLevelDenseNet(len(shape) - 2, 3, 2, 4, 2, 2)(noise(*shape)).shape == (shape[0], 2, *shape[2:])


def shown_to_the_output(network, image, silent=None):
    """Return what the reconstruction reads, with one block's output at zero where asked for."""
    seen, hooks = [], [network.reconstruct.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))]
    if silent is not None:
        hooks.append(network.blocks[silent].register_forward_hook(lambda _, __, output: torch.zeros_like(output)))
    network(image)
    for hook in hooks:
        hook.remove()
    return seen[0]


@pytest.mark.parametrize("silent", range(4))
def test_what_any_block_finds_reaches_the_reconstruction_itself_and_through_every_later_block(silent):
    network, image = MultiLevelDenseNet(3, 1, 1, 4, 4, 2).eval(), noise(1, 1, 6, 6, 6)
    # The first convolution has 8 channels, every block 16.
    whole, without = (
        shown_to_the_output(network, image, block).split([8, 16, 16, 16, 16], 1) for block in (None, silent)
    )
    changed = [not torch.equal(before, after) for before, after in zip(whole, without, strict=True)]
    assert changed == [block >= silent for block in range(-1, 4)]


def test_the_dense_nets_critic_has_layer_norm_alone_and_the_published_widths():
    critic = on_meta(LayerNormImageCritic, 3, 1, 64, 64)
    channels = [1, 64, 64, 128, 128, 256, 256, 512, 512]
    layers = zip(channels, channels[1:], 4 * (1, 2), strict=False)
    assert table(critic) == [(3, inputs, outputs, stride) for inputs, outputs, stride in layers]
    norms = [module for module in critic.score if "Norm" in type(module).__name__]
    assert [(type(norm), norm.num_groups) for norm in norms] == [(nn.GroupNorm, 1)] * 7
    assert [(layer.in_features, layer.out_features) for layer in critic.modules() if isinstance(layer, nn.Linear)] == [
        (512 * 4**3, 1024),
        (1024, 1),
    ]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_dense_nets_critic_scores_each_image_alone(dimensions):
    critic, images = LayerNormImageCritic(dimensions, 1, 4, 16), noise(3, 1, *[16] * dimensions)
    assert torch.allclose(critic(images)[1:2], critic(images[1:2]), atol=1e-6)
