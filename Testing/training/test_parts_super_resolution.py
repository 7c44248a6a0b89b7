"""What networks for finer images promise: grids, levels that all reach the output, images scored alone."""

import numpy as np
import pytest
import torch
from convolutions import noise, on_meta, table
from torch import nn

from MedGANLogic.chance import NoisyLabels
from MedGANLogic.parts.discriminators.image import LayerNormImageCritic, VolumeDiscriminator
from MedGANLogic.parts.generators.leaky_resnet import NearestResNet, ResizedResNet, ShuffledResNet, SliceResNet
from MedGANLogic.parts.generators.multilevel_dense import MultiLevelDenseNet
from MedGANLogic.parts.losses.gradient import total_variation

LABELS = NoisyLabels(real=(0.7, 1.2), made=(0.0, 0.3), exchanged=0.1)


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


DOUBLING = {"resized": ResizedResNet, "shuffled": ShuffledResNet, "nearest": NearestResNet}


@pytest.mark.parametrize("doublings", [1, 2])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_three_upsamplings_give_equal_shapes(dimensions, doublings):
    size = (5, 6, 4)[:dimensions]
    shapes = {kind(dimensions, 1, 2, 4, 1, doublings)(noise(2, 1, *size)).shape for kind in DOUBLING.values()}
    assert shapes == {(2, 2, *(length * 2**doublings for length in size))}


#: The trunk of width 32 with one block, and what each upsampling adds for ×2 and for each further doubling.
TRUNK = [(3, 1, 32, 1), *3 * [(3, 32, 32, 1)]]
DOUBLED = {
    "resized": [(3, 32, 64, 1), (3, 64, 64, 1), (3, 64, 64, 1), (3, 64, 64, 1), (3, 64, 1, 1)],
    "shuffled": [(3, 32, 64, 1), (3, 8, 64, 1), (3, 8, 1, 1)],
    "nearest": [(6, 32, 64, 2), (6, 64, 64, 2), (3, 64, 1, 1)],
}


@pytest.mark.parametrize("name", DOUBLING)
def test_the_upsamplings_have_the_layers_of_the_released_code(name):
    assert table(on_meta(DOUBLING[name], 3, 1, 1, 32, 1, 2)) == TRUNK + DOUBLED[name]


@pytest.mark.parametrize("name", DOUBLING)
def test_only_resize_convolutions_end_in_tanh(name):
    network = DOUBLING[name](2, 1, 1, 4, 1, 1)
    nn.init.constant_(network.refine[-1].bias, 3.0)
    written = network(noise(1, 1, 4, 4)).mean().item()
    assert written == pytest.approx(np.tanh(3) if name == "resized" else 3, abs=0.01)


@pytest.mark.parametrize("name", DOUBLING)
def test_a_constant_image_stays_constant_where_neighbours_begin_alike(name):
    torch.manual_seed(0)
    network = DOUBLING[name](2, 1, 1, 8, 1, 2).eval()
    with torch.no_grad():
        # Sixteen coarse voxels off every side nothing is known of what lies outside.
        inside = network(torch.full((1, 1, 40, 40), 0.7))[..., 64:-64, 64:-64]
    spread = (inside.max() - inside.min()) / inside.abs().max()
    assert (spread < 1e-5) == (name != "shuffled")


def test_sub_pixels_that_begin_as_nearest_neighbours_repeat_a_convolution():
    torch.manual_seed(0)
    network, image = NearestResNet(3, 1, 1, 4, 1, 1).eval(), noise(1, 4, 4, 5, 6)
    transposed = network.refine[1]
    kernel = transposed.weight[:, :, ::2, ::2, ::2].flip(2, 3, 4).transpose(0, 1)
    expected = nn.functional.conv3d(image, kernel, padding=1)
    for axis in (2, 3, 4):
        expected = expected.repeat_interleave(2, dim=axis)
    assert torch.allclose(transposed(image), expected, atol=1e-6)
    assert transposed.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_the_3d_srgans_discriminator_has_the_published_widths():
    judge = on_meta(VolumeDiscriminator, 3, 1, 32, 64)
    channels = [1, 32, 32, 64, 64, 128, 128, 256, 256]
    layers = zip(channels, channels[1:], 4 * (1, 2), strict=False)
    assert table(judge) == [(3, inputs, outputs, stride) for inputs, outputs, stride in layers]
    linear = [layer for layer in judge.score if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(256 * 4**3, 1024), (1024, 1)]
    assert {layer.negative_slope for layer in judge.score if isinstance(layer, nn.LeakyReLU)} == {0.3}
    assert sum(isinstance(layer, nn.BatchNorm3d) for layer in judge.score) == 7


@pytest.mark.parametrize("times", [2, 3])
def test_only_the_slice_axis_grows(times):
    assert SliceResNet(3, 1, 2, 4, 1, times)(noise(2, 1, 3, 6, 5)).shape == (2, 2, 3 * times, 6, 5)


def test_sub_pixels_along_the_slice_axis_lie_where_their_slice_lies():
    network = SliceResNet(3, 1, 1, 4, 0, 3).eval()
    # Channel by channel, each with its three sub-slices.
    network.trunk, network.slices, network.output = nn.Identity(), nn.Identity(), nn.Identity()
    channels = torch.arange(2 * 3 * 4.0).reshape(1, 6, 4, 1, 1)
    refined = network(channels)
    assert refined.shape == (1, 2, 12, 1, 1)
    for channel in range(2):
        for place in range(12):
            assert refined[0, channel, place] == channels[0, channel * 3 + place % 3, place // 3]


def test_total_variation_of_a_unit_ramp_is_one_along_each_axis_whatever_the_shape():
    shape = (4, 9, 6)
    for axis, length in enumerate(shape):
        ramp = torch.arange(float(length)).reshape([-1 if axis == other else 1 for other in range(3)])
        assert total_variation(ramp.expand(2, 1, *shape)) == 1
    assert total_variation(torch.full((1, 1, *shape), 3.0)) == 0


def test_noisy_labels_lie_within_their_bounds_and_are_exchanged_one_time_in_ten():
    drawn = np.stack([LABELS.draw(np.random.default_rng(number)) for number in range(2000)])
    straight = drawn[:, 0] > drawn[:, 1]
    assert straight.mean() == pytest.approx(0.9, abs=0.02)
    drawn[~straight] = drawn[~straight, ::-1]
    for labels, (low, high) in zip(drawn.T, (LABELS.real, LABELS.made), strict=True):
        assert low <= labels.min() < low + 0.01 * (high - low) + 1e-6
        assert high - 0.01 * (high - low) < labels.max() <= high
