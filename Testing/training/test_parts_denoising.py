"""What networks that denoise promise: to change nothing unasked, and to look at each image alone."""

from itertools import pairwise

import pytest
import torch
from convolutions import CONVOLUTIONS, noise, on_meta, table
from skimage.feature import local_binary_pattern
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, relu

from MedGANLogic.parts.discriminators.image import CubeDiscriminator, ImageCritic
from MedGANLogic.parts.discriminators.patch import NormFreePatchDiscriminator
from MedGANLogic.parts.features.grain import grain
from MedGANLogic.parts.features.local_binary_patterns import sharpness_map, uniform_patterns
from MedGANLogic.parts.generators.denoising_cnn import PlainCNN, ValidResidualCNN
from MedGANLogic.parts.generators.norm_free_unet import NormFreeUNet, ResidualUNet
from MedGANLogic.parts.generators.red_cnn import ResidualEncoderDecoder
from MedGANLogic.parts.grids import own_slice, without_margin

#: Networks that add to what they read, with their last layer, and the voxels that they take off every side.
CORRECTING = {
    ResidualUNet: (lambda network: network.output, 0),
    ValidResidualCNN: (lambda network: network.residual[-1], 3),
    ResidualEncoderDecoder: (lambda network: network.decode[0], 0),
}
NORM_FREE = {
    "residual unet": lambda: ResidualUNet(2, 1, 1, 4, 3),
    "unet": lambda: NormFreeUNet(2, 1, 1, 4, 3),
    "plain": lambda: PlainCNN(2, 1, 1, 4, 3),
    "valid": lambda: ValidResidualCNN(2, 1, 1, 4, 3),
    "encoder-decoder": lambda: ResidualEncoderDecoder(2, 1, 1, 4, 3),
    "critic": lambda: ImageCritic(2, 1, 4, 16),
    "cube": lambda: CubeDiscriminator(2, 1, 4, 16),
    "patches": lambda: NormFreePatchDiscriminator(2, 1, 4, 2),
}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("neighbours", [1, 3])
@pytest.mark.parametrize("kind", CORRECTING, ids=lambda kind: kind.__name__)
def test_with_its_last_layer_silent_a_network_returns_its_own_slice_bit_by_bit(kind, neighbours, dimensions):
    last, margin = CORRECTING[kind]
    network = kind(dimensions, 2 * neighbours, 2, 4, 3)
    nn.init.zeros_(last(network).weight)
    nn.init.zeros_(last(network).bias)
    image = noise(2, 2 * neighbours, *[16] * dimensions)
    image[..., 5:7] = image[..., 9:11] = -1
    image[..., 6] = 1
    own = image[:, [neighbours // 2, neighbours + neighbours // 2]]
    inner = (..., *[slice(margin, 16 - margin)] * dimensions)
    assert torch.equal(network(image), own[inner])


@pytest.mark.parametrize("kind", [ResidualUNet, ValidResidualCNN], ids=lambda kind: kind.__name__)
def test_a_fresh_network_changes_nothing(kind):
    image = noise(1, 3, 16, 16)
    fresh = kind(2, 3, 1, 4, 3)(image)
    assert torch.equal(fresh, without_margin(image[:, 1:2], (16 - fresh.shape[-1]) // 2))


def test_the_own_slice_is_the_middle_one_of_each_images_neighbours():
    stack = torch.arange(10.0).reshape(1, 10, 1, 1)
    assert own_slice(stack, 2).flatten().tolist() == [2, 7]
    assert own_slice(stack, 10).flatten().tolist() == list(range(10))


@pytest.mark.parametrize("kind", NORM_FREE)
def test_a_network_without_norm_sees_each_image_alone_and_keeps_no_statistics(kind):
    network = NORM_FREE[kind]().train()
    for name, weight in network.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(weight, generator=torch.Generator().manual_seed(1))
    images = noise(3, 1, 16, 16)
    together, alone = network(images), network(images[:1])
    assert list(network.buffers()) == []
    assert torch.allclose(together[:1], alone, atol=1e-6)
    assert torch.equal(network.eval()(images), together)
    assert not torch.allclose(together[:1], together[1:2], atol=1e-3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_valid_convolutions_take_a_voxel_a_layer_off_and_agree_on_every_part(dimensions):
    network = ValidResidualCNN(dimensions, 1, 1, 4, 5)
    nn.init.normal_(network.residual[-1].weight)
    cube = noise(1, 1, *[20] * dimensions)
    whole, part = network(cube), network(cube[(..., *[slice(4, 19)] * dimensions)])
    assert whole.shape[2:] == (10,) * dimensions
    assert part.shape[2:] == (5,) * dimensions
    assert torch.allclose(whole[(..., *[slice(4, 9)] * dimensions)], part, atol=1e-5)


def test_the_valid_network_has_seven_layers_as_wide_as_the_catalogue_says():
    network = on_meta(ValidResidualCNN, 3, 1, 1, 32, 7)
    widths = [1, 32, 32, 32, 64, 64, 64, 1]
    assert table(network) == [(3, *pair, 1) for pair in pairwise(widths)]
    assert [type(layer) for layer in network.residual[1::2]] == [nn.LeakyReLU] * 6


def test_the_cubes_discriminator_has_nine_convolutions_and_reads_cubes_of_11():
    network = on_meta(CubeDiscriminator, 3, 1, 32, 11)
    assert len(table(network)) == 9
    assert [stride for *_, stride in table(network)] == [1, 1, 2] * 3
    assert network(torch.empty(2, 1, 11, 11, 11, device="meta")).shape == (2, 1)


def test_wgan_vggs_networks_have_the_papers_layers():
    generator, critic = on_meta(PlainCNN, 2, 1, 1, 32, 8), on_meta(ImageCritic, 2, 1, 64, 64)
    assert table(generator) == [(3, 1, 32, 1), *[(3, 32, 32, 1)] * 6, (3, 32, 1, 1)]
    widths, strides = [1, 64, 64, 128, 128, 256, 256], [1, 2] * 3
    assert table(critic) == [(3, *of) for of in zip(widths, widths[1:], strides, strict=False)]
    full = [layer for layer in critic.modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in full] == [(256 * 8 * 8, 1024), (1024, 1)]
    layers = [type(layer) for layer in critic.modules() if not any(layer.children())]
    assert set(layers) == {nn.Conv2d, nn.LeakyReLU, nn.Flatten, nn.Linear}
    assert layers[-1] is nn.Linear


def test_red_cnn_computes_what_its_figure_shows():
    network = ResidualEncoderDecoder(2, 1, 1, 4, 5)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(weight.numel()))
    image = noise(2, 1, 30, 30)
    down = [(layer.weight, layer.bias) for layer in network.encode]
    up = [(layer.weight, layer.bias) for layer in reversed(network.decode)]
    first = relu(conv2d(image, *down[0]))
    second = relu(conv2d(first, *down[1]))
    third = relu(conv2d(second, *down[2]))
    fourth = relu(conv2d(third, *down[3]))
    fifth = relu(conv2d(fourth, *down[4]))
    sixth = relu(conv_transpose2d(fifth, *up[0]) + fourth)
    seventh = relu(conv_transpose2d(sixth, *up[1]))
    eighth = relu(conv_transpose2d(seventh, *up[2]) + second)
    ninth = relu(conv_transpose2d(eighth, *up[3]))
    assert fifth.shape[-1] == 10
    assert torch.allclose(network(image), conv_transpose2d(ninth, *up[4]) + image, atol=1e-6)


def test_red_cnn_is_as_large_as_published():
    network = on_meta(ResidualEncoderDecoder, 2, 1, 1, 96, 5)
    assert table(network) == [(5, 1, 96, 1), *[(5, 96, 96, 1)] * 4, (5, 96, 1, 1), *[(5, 96, 96, 1)] * 4]
    assert sum(weight.numel() for weight in network.parameters()) == 1_848_865


def test_red_cnns_weights_begin_at_a_deviation_of_a_hundredth():
    network = ResidualEncoderDecoder(2, 1, 1, 32, 5)
    for layer in network.modules():
        if isinstance(layer, CONVOLUTIONS):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.15)
            assert not layer.bias.any()


def test_the_residual_unet_has_about_a_million_weights():
    assert sum(weight.numel() for weight in on_meta(ResidualUNet, 2, 3, 1, 48, 3).parameters()) == 1_067_773


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_unet_sees_the_coarsest_level_and_its_own_input(dimensions):
    network = NormFreeUNet(dimensions, 1, 1, 4, 3).eval().double()
    image = noise(1, 1, *[32] * dimensions).double().requires_grad_()
    network(image)[(0, 0, *[16] * dimensions)].backward()
    seen = (image.grad != 0).any(1)[0].flatten(0, -2).any(0).nonzero().flatten()
    # Two convolutions on each way and level, at a pitch of 1, 2 and 4 voxels.
    assert len(seen) > 2 * (2 + 2 * 2 + 2 * 4)


def pattern_by_hand(image, row, column, step):
    """Return the pattern at one place, as Ojala et al. write it, neighbour by neighbour."""
    bits = []
    for number in range(8):
        angle = torch.tensor(number * torch.pi / 4, dtype=torch.float64)
        y, x = row - torch.sin(angle), column + torch.cos(angle)
        top, left = int(torch.floor(y + 1e-9)), int(torch.floor(x + 1e-9))
        down, right = float(y) - top, float(x) - left
        value = (
            (1 - down) * (1 - right) * image[top, left]
            + (1 - down) * right * image[top, left + 1]
            + down * (1 - right) * image[top + 1, left]
            + down * right * image[top + 1, left + 1]
        )
        bits.append(int(value - image[row, column] > step))
    changes = sum(bits[number] != bits[number - 1] for number in range(8))
    return sum(bits) if changes <= 2 else 9


def test_patterns_are_those_found_place_by_place():
    image = noise(12, 14).double()
    found = uniform_patterns(image[None, None], 0.2)[0, 0]
    expected = [[pattern_by_hand(image, row, column, 0.2) for column in range(1, 12)] for row in range(1, 10)]
    assert found[1:10, 1:12].tolist() == expected
    assert set(found.flatten().tolist()) == set(range(10))


@pytest.mark.filterwarnings("ignore:Applying `local_binary_pattern` to floating-point")
def test_patterns_are_those_that_scikit_image_finds():
    image = noise(40, 50).double()
    # Its bits say "not below": those of the inverted image are set where ours, of a step of 0, are not.
    theirs = torch.from_numpy(local_binary_pattern(-image.numpy(), 8, 1, "uniform")).long()
    expected = torch.where(theirs == 9, 9, 8 - theirs)
    assert torch.equal(uniform_patterns(image[None, None], 0.0)[0, 0, 1:-1, 1:-1], expected[1:-1, 1:-1])


def test_patterns_turn_with_the_image_and_stay():
    image = noise(1, 1, 16, 16).double()
    assert torch.equal(uniform_patterns(image.rot90(1, (2, 3)), 0.1), uniform_patterns(image, 0.1).rot90(1, (2, 3)))


def test_nothing_is_sharp_in_a_constant_or_a_gentle_ramp_and_a_bright_surrounding_is():
    ramp = (torch.linspace(-1, 1, 128) / 2).expand(1, 1, 128, 128)
    assert not sharpness_map(torch.full((1, 1, 32, 32), 0.3)).any()
    assert not sharpness_map(ramp).any()
    dotted = torch.ones(1, 1, 31, 31)
    dotted[..., 15, 15] = -1
    found = sharpness_map(dotted)
    # The dark dot alone has the pattern 8; it is one of the 15² places of every window that holds it.
    assert torch.allclose(found[..., 8:23, 8:23], torch.tensor(1 / 15**2))
    assert not found[..., 0, :].any()


def test_sharp_are_the_patterns_6_to_9_and_their_share_in_a_window_of_15_is_what_counts():
    image = noise(1, 1, 31, 31)
    patterns = uniform_patterns((image + 1) / 2, 0.016)[0, 0, 8:23, 8:23]
    found = sharpness_map(image)[0, 0, 15, 15].item()
    assert found == pytest.approx(sum((patterns == code).sum().item() for code in (6, 7, 8, 9)) / 15**2)


def test_at_the_border_a_window_counts_what_it_has():
    dotted = torch.ones(1, 1, 31, 31)
    dotted[..., 1, 1] = -1
    assert sharpness_map(dotted)[0, 0, 0, 0].item() == pytest.approx(1 / 8**2)


def test_a_step_of_16_thousandths_of_the_window_is_where_sharpness_begins():
    def after(step):
        dotted = torch.zeros(1, 1, 31, 31)
        # Of an image in [0, 1]: in [-1, 1] a step is twice as high.
        dotted[..., 15, 15] = -2 * step
        return sharpness_map(dotted)[0, 0, 15, 15].item()

    assert after(0.015) == 0
    # Diagonal neighbours are seen with a part of the centre: their step is 0.91 of that.
    assert after(0.018) == pytest.approx(1 / 15**2)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_grain_is_linear_and_leaves_nothing_of_what_is_coarse(dimensions):
    image, other = (noise(1, 2, *[24] * dimensions, seed=seed) for seed in (0, 1))
    assert torch.allclose(grain(image + 3 * other), grain(image) + 3 * grain(other), atol=1e-5)
    assert grain(torch.full_like(image, 0.7)).abs().max() < 1e-6
    ramp = torch.linspace(-1, 1, 24).expand(1, 1, *[24] * dimensions)
    assert grain(ramp)[..., 8:16].abs().max() < 1e-6
    # The mean of 9^n means is left out of noise: nearly all of it stays.
    assert 0.8 < grain(image).std() / image.std() < 1


def test_grain_is_the_image_less_two_means_over_nine_voxels_each():
    line = torch.zeros(1, 1, 1, 33)
    line[..., 16] = 1
    kernel = 1 - (torch.arange(33.0) - 16).abs() / 9
    assert torch.allclose(grain(line)[0, 0, 0], line[0, 0, 0] - kernel.clamp_min(0) / 9, atol=1e-6)
