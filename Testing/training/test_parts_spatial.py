"""Networks that work on images: shapes, what is published of them, what bundles and training ask of them."""

from copy import deepcopy

import pytest
import torch
from convolutions import CONVOLUTIONS, on_meta
from torch import nn

from MedGANLogic.parts.discriminators.domain import DomainClassifier
from MedGANLogic.parts.discriminators.evaluation import EvaluationNetwork, ResidualCritic
from MedGANLogic.parts.discriminators.feature_critic import FeatureCritic
from MedGANLogic.parts.discriminators.image import (
    CubeDiscriminator,
    ImageCritic,
    ImageDiscriminator,
    PooledImageDiscriminator,
)
from MedGANLogic.parts.discriminators.patch import NormFreePatchDiscriminator
from MedGANLogic.parts.features.bottlenecks import BottleneckPath
from MedGANLogic.parts.features.residual_path import ResidualPath
from MedGANLogic.parts.features.small import SmallFeatures
from MedGANLogic.parts.generators.cascaded_unet import CascadedUNet
from MedGANLogic.parts.generators.denoising_cnn import PlainCNN, ValidResidualCNN
from MedGANLogic.parts.generators.dual_resolution import DualResolutionCNN
from MedGANLogic.parts.generators.fcn import FCN4s, MultiLevelFCN, ResidualFCN
from MedGANLogic.parts.generators.global_convolution import (
    BoundaryRefinement,
    GlobalConvolution,
    GlobalConvolutionalNetwork,
)
from MedGANLogic.parts.generators.norm_free_unet import NormFreeUNet, ResidualUNet
from MedGANLogic.parts.generators.red_cnn import ResidualEncoderDecoder
from MedGANLogic.parts.generators.residual import ResidualTranslator
from MedGANLogic.parts.generators.segmentor import SummedUNet
from MedGANLogic.parts.generators.subpixel_resnet import SubpixelResNet
from MedGANLogic.parts.generators.valid_cnn import ValidCNN
from MedGANLogic.parts.losses.feature import multi_scale_l1

NORMS = nn.BatchNorm2d | nn.BatchNorm3d | nn.InstanceNorm2d | nn.InstanceNorm3d

#: Every network at toy width: what it is built from after its dimensions, the edge it reads, and the shape it answers.
TOYS = {
    "residual": (ResidualTranslator, (2, 3, 4, 1), 16, (3, 16)),
    "subpixel": (SubpixelResNet, (2, 3, 4, 1, 2), 6, (3, 24)),
    "summed unet": (SummedUNet, (2, 3, 4, 3), 16, (3, 16)),
    "cascaded unet": (CascadedUNet, (2, 3, 4, 3, 2), 16, (3, 16)),
    "valid": (ValidCNN, (2, 3, 4), 20, (3, 4)),
    "fcn": (FCN4s, (2, 3, 4, 3), 16, (3, 16)),
    "multi-level fcn": (MultiLevelFCN, (2, 3, 4, 3), 16, (3, 16)),
    "residual fcn": (ResidualFCN, (2, 3, 4, 2), 16, (3, 16)),
    "dual resolution": (DualResolutionCNN, (2, 3, 6), 16, (3, 16)),
    "image": (ImageDiscriminator, (2, 4, 20), 20, (1, 0)),
    "pooled image": (PooledImageDiscriminator, (2, 4, 16), 16, (1, 0)),
    "evaluation": (EvaluationNetwork, (2, 4, 3, 16), 16, (1, 0)),
    "residual critic": (ResidualCritic, (2, 4, 2), 16, (1, 0)),
    "domain": (DomainClassifier, (2, 4), 16, (1, 16)),
    "small features": (SmallFeatures, (2, 4, 3), 16, (16, 4)),
    "norm-free unet": (NormFreeUNet, (2, 3, 4, 3), 16, (3, 16)),
    "residual unet": (ResidualUNet, (2, 2, 4, 3), 16, (2, 16)),
    "plain cnn": (PlainCNN, (2, 3, 4, 3), 10, (3, 10)),
    "valid residual": (ValidResidualCNN, (2, 2, 4, 3), 12, (2, 6)),
    "encoder-decoder": (ResidualEncoderDecoder, (2, 2, 4, 3), 16, (2, 16)),
    "image critic": (ImageCritic, (2, 4, 20), 20, (1, 0)),
    "cube": (CubeDiscriminator, (2, 4, 11), 11, (1, 0)),
    "norm-free patches": (NormFreePatchDiscriminator, (2, 4, 2), 16, (1, 2)),
}


@pytest.fixture(params=TOYS)
def kind(request):
    return request.param


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def dimensions(request):
    return request.param


@pytest.fixture
def toy(kind, dimensions):
    torch.manual_seed(0)
    network = TOYS[kind][0](dimensions, *TOYS[kind][1])
    for name, weight in network.named_parameters():
        if name.endswith("weight") and not weight.any():
            # A layer that begins at 0 would hide all before it.
            nn.init.normal_(weight)
    return network


@pytest.fixture
def image(kind, dimensions):
    return torch.rand(2, 2, *[TOYS[kind][2]] * dimensions, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def answered(kind, dimensions):
    channels, edge = TOYS[kind][3]
    return (2, channels, *[edge] * dimensions) if edge else (2, channels)


def parameters(network):
    return sum(weight.numel() for weight in network.parameters())


def bare(network):
    """Return the places of the convolutions that no norm follows, counted in the order of the layers."""
    layers = [module for module in network.modules() if isinstance(module, CONVOLUTIONS | NORMS)]
    followed = [*layers[1:], None]
    convolutions = [pair for pair in zip(layers, followed, strict=True) if isinstance(pair[0], CONVOLUTIONS)]
    return [place for place, (_, after) in enumerate(convolutions) if not isinstance(after, NORMS)]


def seen_from(network, image, place):
    """Return how many voxels along the last axis the output's voxel at ``place`` depends on."""
    image = image.double().requires_grad_()
    network.eval().double()(image)[(0, 0, *[place] * (image.dim() - 2))].backward()
    seen = (image.grad != 0).any(1)[0].flatten(0, -2).any(0).nonzero().flatten()
    return int(seen[-1] - seen[0] + 1)


def test_a_network_answers_in_its_shape_and_all_its_weights_learn(toy, image, answered):
    output = toy(image)
    assert output.shape == answered
    output.square().sum().backward()
    assert [name for name, weight in toy.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_a_network_is_built_and_runs_on_no_memory(toy, image, answered):
    with torch.device("meta"):
        built = type(toy)(**toy.arguments).eval()
    assert all(isinstance(value, int) and not isinstance(value, bool) for value in toy.arguments.values())
    assert built(image.to("meta")).shape == answered


def test_a_network_learns_under_autocast(toy, image, answered, dimensions):
    with torch.autocast("cpu", torch.bfloat16):
        output = toy(image)
    assert output.shape == answered
    # On a CPU oneDNN's bfloat16 gradients of 3D convolutions may be uninitialised memory: training avoids them.
    if dimensions == 2:
        output.float().sum().backward()
        assert all(torch.isfinite(weight.grad).all() for weight in toy.parameters())


def test_a_copy_and_one_with_its_weights_compute_the_same(toy, image):
    toy(image)
    toy.eval()
    loaded = type(toy)(**toy.arguments).eval()
    assert not torch.equal(loaded(image), toy(image))
    loaded.load_state_dict(toy.state_dict())
    assert torch.equal(loaded(image), toy(image))
    assert torch.equal(deepcopy(toy)(image), toy(image))


def test_channels_last_computes_the_same(toy, image, dimensions):
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dimensions]
    toy.eval()
    expected = toy(image)
    assert torch.allclose(toy.to(memory_format=layout)(image.to(memory_format=layout)), expected, atol=1e-5)


# CycleGAN


@pytest.mark.parametrize(("blocks", "published"), [(9, 11.378), (6, 7.838)])
def test_the_residual_translator_has_the_published_number_of_parameters(blocks, published):
    # As the authors' PyTorch code prints for 9 blocks; it has a bias also where a norm takes it away.
    biases = 64 + 128 + 256 + blocks * 2 * 256 + 128 + 64
    translator = on_meta(ResidualTranslator, 2, 3, 3, 64, blocks)
    assert round((parameters(translator) + biases) / 1e6, 3) == published


def test_the_residual_translator_norms_each_image_by_itself_all_but_the_last_layer():
    translator = ResidualTranslator(2, 1, 1, 4, 2)
    assert bare(translator) == [2 + 1 + 2 * 2 + 2]
    image = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(translator(image)[:1], translator(image[:1]), atol=1e-6)


def test_the_residual_translator_stays_within_its_range():
    translator = ResidualTranslator(2, 1, 1, 4, 1)
    nn.init.constant_(translator.translate[-2].bias, 9.0)
    assert 0.99 < translator(torch.zeros(1, 1, 16, 16)).max() <= 1


def test_the_residual_translator_shows_no_edge_to_a_constant_image():
    translator = ResidualTranslator(2, 1, 1, 4, 1).eval()
    first = translator.translate[0]
    response = first(torch.ones(1, 1, 12, 12))
    assert torch.allclose(response, response[..., :1, :1].expand_as(response), atol=1e-6)


# SRGAN


def test_srresnet_has_the_number_of_parameters_of_its_layer_table():
    # Counted by hand with a bias everywhere; ours has none in the 33 convolutions before a norm.
    conv = lambda inputs, outputs, kernel: outputs * (inputs * kernel**2 + 1)  # noqa: E731
    block = 2 * (conv(64, 64, 3) + 2 * 64) + 1
    doubling = conv(64, 256, 3) + 1
    by_hand = conv(3, 64, 9) + 1 + 16 * block + conv(64, 64, 3) + 2 * 64 + 2 * doubling + conv(64, 3, 9)
    assert parameters(on_meta(SubpixelResNet, 2, 3, 3, 64, 16, 2)) + 33 * 64 == by_hand


@pytest.mark.parametrize("network", [ResidualTranslator(2, 1, 1, 4, 2), SubpixelResNet(2, 1, 1, 4, 2, 1)])
def test_a_residual_block_whose_body_is_silent_changes_nothing(network):
    blocks = [module for module in network.modules() if type(module).__name__.endswith("ResidualBlock")]
    assert len(blocks) == 2
    for block in blocks:
        nn.init.zeros_(block.body[3].weight)
        image = torch.randn(2, block.body[3].in_channels, 6, 6)
        assert torch.equal(block(image), image)


def test_srresnet_has_a_skip_over_all_blocks():
    network = SubpixelResNet(2, 1, 1, 4, 2, 1)
    nn.init.zeros_(network.body[-1].weight)
    image = torch.randn(2, 1, 6, 6)
    assert torch.equal(network(image), network.output(network.finer(network.enter(image))))


@pytest.mark.parametrize("doublings", [0, 1, 2])
def test_a_fresh_subpixel_doubling_repeats_every_voxel(dimensions, doublings):
    torch.manual_seed(0)
    network = SubpixelResNet(dimensions, 1, 1, 4, 1, doublings)
    coarse = torch.randn(1, 4, *[6] * dimensions)
    fine = network.finer(coarse)
    for axis in range(2, 2 + dimensions):
        assert fine.shape[axis] == 6 * 2**doublings
        if doublings:
            even, odd = fine.unflatten(axis, (-1, 2)).unbind(axis + 1)
            assert torch.equal(even, odd)


def test_the_image_discriminator_halves_four_times_and_ends_in_two_full_layers():
    discriminator = on_meta(ImageDiscriminator, 2, 3, 64, 96)
    convolutions = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d)]
    assert [convolution.out_channels for convolution in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [convolution.stride[0] for convolution in convolutions] == [1, 2] * 4
    full = [
        (module.in_features, module.out_features)
        for module in discriminator.modules()
        if hasattr(module, "in_features")
    ]
    assert full == [(512 * 6 * 6, 1024), (1024, 1)]
    assert bare(discriminator) == [0]


# SegAN


def test_the_segmentor_adds_its_skips_and_norms_all_but_the_first_and_last(dimensions):
    segmentor = SummedUNet(dimensions, 1, 1, 4, 3)
    assert bare(segmentor) == [0, 5]
    assert [up[0].in_channels for up in segmentor.up] == [16, 8]
    image = torch.randn(2, 1, *[16] * dimensions, generator=torch.Generator().manual_seed(0))
    before = segmentor.eval()(image)
    for layer in segmentor.up[-1].parameters():
        nn.init.zeros_(layer)
    assert not torch.equal(segmentor(image), before)
    # With the last level's own features gone, only the skip of the first level is left to see.
    assert seen_from(segmentor, image, 8) == 8


def test_the_segmentor_answers_beyond_0_and_1():
    segmentor = SummedUNet(2, 1, 1, 4, 2)
    nn.init.constant_(segmentor.output.bias, 7.0)
    assert segmentor(torch.zeros(2, 1, 16, 16)).min() > 1


def test_the_critics_distance_is_the_mean_over_its_levels_of_their_distances(dimensions):
    torch.manual_seed(0)
    critic = FeatureCritic(dimensions, 2, 4, 3).eval()
    images = torch.randn(2, 3, 2, *[16] * dimensions)
    levels = [*images[None]]
    for level in critic.levels:
        levels.append(torch.stack([level(image) for image in levels[-1]]))
    by_hand = sum((one[0] - one[1]).abs().mean() for one in levels) / len(levels)
    described = [critic(image) for image in images]
    assert multi_scale_l1(*described).item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert multi_scale_l1(described[0], described[0]).item() == 0
    assert described[0].shape == (3, sum(one[0, 0].numel() for one in levels))
    assert bare(critic) == [0]


def test_the_critic_describes_in_float32_under_autocast():
    critic = FeatureCritic(2, 1, 4, 2)
    with torch.autocast("cpu", torch.bfloat16):
        described = critic(torch.randn(2, 1, 8, 8).bfloat16())
    assert described.dtype == torch.float32


def test_the_critic_describes_the_voxels_themselves():
    critic = FeatureCritic(2, 1, 4, 3).eval()
    nn.init.zeros_(critic.levels[0][0].weight)
    image = torch.full((1, 1, 8, 8), 0.8, requires_grad=True)
    distance = multi_scale_l1(critic(image), critic(torch.zeros(1, 1, 8, 8)))
    distance.backward()
    assert distance.item() == pytest.approx(0.8 / 4, rel=1e-5)
    assert torch.allclose(image.grad, torch.full_like(image, 1 / 4 / 64))


# context-aware GAN


def test_the_valid_network_answers_for_the_centre_of_what_it_sees(dimensions):
    # Of a network this narrow chance may silence a whole border.
    torch.manual_seed(0)
    network = ValidCNN(dimensions, 1, 1, 4).eval()
    image = torch.randn(1, 1, *[32] * dimensions, generator=torch.Generator().manual_seed(0))
    assert network(image).shape == (1, 1, *[16] * dimensions)
    assert 32 - 2 * network.MARGIN == 16
    # Nine convolutions, two of k9: 1 + 2·8 + 7·2 voxels around the same physical place.
    assert seen_from(network, image, 8) == 31
    assert bare(network) == [8]


def test_the_valid_network_is_as_wide_as_published():
    network = on_meta(ValidCNN, 3, 1, 1, 32)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv3d)]
    assert [module.out_channels for module in convolutions] == [32, 32, 32, 32, 64, 64, 64, 32, 1]
    assert [module.kernel_size[0] for module in convolutions] == [9, 3, 3, 3, 9, 3, 3, 3, 3]


def test_the_pooled_discriminator_is_as_wide_as_published():
    discriminator = on_meta(PooledImageDiscriminator, 3, 1, 32, 16)
    convolutions = [module for module in discriminator.modules() if isinstance(module, nn.Conv3d)]
    assert [(module.out_channels, module.kernel_size[0]) for module in convolutions] == [
        (32, 5),
        (64, 5),
        (128, 5),
        (256, 5),
    ]
    full = [
        (module.in_features, module.out_features)
        for module in discriminator.modules()
        if hasattr(module, "in_features")
    ]
    assert full == [(256 * 2**3, 512), (512, 128), (128, 1)]
    assert bare(discriminator) == []
    kinds = [type(module) for module in discriminator.score if isinstance(module, nn.Conv3d | nn.MaxPool3d)]
    assert kinds == [nn.Conv3d, nn.MaxPool3d] * 3 + [nn.Conv3d]


# fully convolutional networks


@pytest.mark.parametrize("network", [FCN4s, MultiLevelFCN])
def test_the_contracting_path_is_that_of_vgg16(network):
    built = on_meta(network, 2, 3, 2, 64, 5)
    convolutions = [module for module in built.contract.modules() if isinstance(module, nn.Conv2d)]
    widths = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert [module.out_channels for module in convolutions] == widths
    # What torchvision counts for VGG16's features, less the biases that a norm takes away.
    assert sum(module.weight.numel() for module in convolutions) == 14_714_688 - sum(widths)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_fresh_deconvolution_interpolates_linearly(dimensions, factor):
    from MedGANLogic.parts.generators.fcn import _enlarge

    coarse = torch.randn(1, 2, *[6] * dimensions, generator=torch.Generator().manual_seed(0))
    mode = {2: "bilinear", 3: "trilinear"}[dimensions]
    expected = nn.functional.interpolate(coarse, scale_factor=factor, mode=mode, align_corners=False)
    inner = (..., *[slice(factor, -factor)] * dimensions)
    assert torch.allclose(_enlarge(dimensions, 2, factor)(coarse)[inner], expected[inner], atol=1e-5)


@pytest.mark.parametrize(("network", "scored"), [(FCN4s, [1, 2, 3]), (MultiLevelFCN, [1, 2, 3])])
def test_every_level_that_is_scored_reaches_the_output(network, scored):
    built = network(2, 1, 1, 4, 4).eval()
    image = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    scores = [module for module in built.modules() if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)]
    assert [score.in_channels for score in scores] == [built.contract.widths[level] for level in scored]
    for score in scores:
        before = built(image)
        nn.init.constant_(score.bias, 1.0)
        # Away from the border, an enlarged constant is that constant.
        assert (built(image) - before)[..., 15, 15].item() == pytest.approx(1, abs=1e-5)


def test_scan_has_few_maps_and_enlarges_them_sixteenfold():
    built = on_meta(ResidualFCN, 2, 1, 4, 8, 4)
    found = [
        (module.out_channels, module.kernel_size[0])
        for module in built.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    blocks = [(8, 7), (8, 3), (16, 3), (32, 3), (64, 3), (64, 1), (64, 3), (64, 1), (64, 3), (64, 1)]
    assert found == [block for block in blocks for _ in range(2)] + [(4, 1), (4, 32)]
    assert built.output[1].stride == (16, 16)
    assert built(torch.empty(1, 1, 400, 400, device="meta")).shape == (1, 4, 400, 400)
    critic = on_meta(ResidualCritic, 2, 5, 8, 4)
    assert [block.kernel_size for block in critic.contract.modules() if isinstance(block, nn.Conv2d)] == [
        (kernel, kernel) for _, kernel in blocks for _ in range(2)
    ]


@pytest.mark.parametrize(("channels", "maps"), [(1, 8), (3, 9), (5, 10), (9, 9)])
def test_the_residual_path_copies_an_image_as_often_as_gives_its_width(channels, maps, dimensions):
    path = ResidualPath(dimensions, channels, 8, 3)
    assert path.widths == [maps, 2 * maps, 4 * maps]
    # Blocks side by side have weights of their own: copies of one image become different maps.
    widened = path.layers[0].eval()(torch.randn(1, channels, *[8] * dimensions))
    first, last = widened[:, :channels], widened[:, -channels:]
    assert maps == channels or not torch.allclose(first, last, atol=1e-3)


def test_a_residual_path_without_an_image_is_refused():
    with pytest.raises(ValueError, match="without channels"):
        ResidualPath(2, 0, 8, 3)


# the global convolutional network


def test_the_bottleneck_path_is_that_of_resnet_50():
    # torchvision's 25 557 032 less those of its last layer, 2048·1000 + 1000.
    assert parameters(on_meta(BottleneckPath, 2, 3, 64)) == 23_508_032


def test_the_bottleneck_path_is_read_at_six_levels(dimensions):
    path = BottleneckPath(dimensions, 1, 2)
    levels = path(torch.randn(2, 1, *[32] * dimensions))
    assert [level.shape[1] for level in levels] == path.widths == [2, 2, 8, 16, 32, 64]
    assert [32 // level.shape[2] for level in levels] == [2, 4, 4, 8, 16, 32]


@pytest.mark.parametrize("kernel", [3, 7])
def test_a_global_convolution_is_the_sum_of_its_two_paths_and_as_large_as_its_kernel(kernel):
    torch.manual_seed(0)
    block, image, half = GlobalConvolution(2, 3, kernel).double(), torch.randn(1, 2, 15, 15).double(), kernel // 2
    expected = 0
    for first, second in (block.down_across, block.across_down):
        down_first = first.kernel_size == (kernel, 1)
        assert second.kernel_size == first.kernel_size[::-1]
        tall, flat = (first, second) if down_first else (second, first)
        # In a row they are one dense kernel, the product of the two; all biases but the last pass through it.
        order = "miy,omx->oiyx" if down_first else "omy,mix->oiyx"
        dense = torch.einsum(order, tall.weight[..., 0], flat.weight[..., 0, :])
        bias = second.bias + torch.einsum("omyx,m->o", second.weight, first.bias)
        expected = expected + nn.functional.conv2d(image, dense, bias)
    assert torch.allclose(block(image)[..., half:-half, half:-half], expected)
    place = torch.zeros(1, 2, 15, 15).double()
    place[..., 7, 7] = 1
    seen = (block(place) - block(0 * place)).abs().sum((0, 1)) > 1e-12
    assert seen.nonzero().amin(0).tolist() == [7 - half] * 2
    assert seen.sum() == kernel**2


def test_a_silent_refinement_leaves_scores_as_they_are():
    refinement, scores = BoundaryRefinement(3), torch.randn(1, 3, 8, 8)
    assert not torch.equal(refinement(scores), scores)
    nn.init.zeros_(refinement.change[-1].weight)
    nn.init.zeros_(refinement.change[-1].bias)
    assert torch.equal(refinement(scores), scores)


def test_the_global_convolutional_network_answers_at_full_resolution_and_all_that_is_read_learns():
    torch.manual_seed(0)
    network = GlobalConvolutionalNetwork(2, 3, 4, 7)
    output = network(torch.randn(2, 2, 64, 32))
    assert output.shape == (2, 3, 64, 32)
    output.square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_five_levels_are_scored_and_each_reaches_the_output():
    torch.manual_seed(0)
    network, image = GlobalConvolutionalNetwork(1, 2, 4, 7).eval(), torch.randn(1, 1, 64, 64)
    assert [score[0].down_across[0].in_channels for score in network.score] == [4, 4, 32, 64, 128]
    for score in network.score:
        before = network(image)
        nn.init.constant_(score[0].down_across[1].bias, 3.0)
        assert not torch.allclose(network(image), before, atol=1e-3)


# domain adaptation


def test_deepmedic_is_as_wide_as_published():
    network = on_meta(DualResolutionCNN, 3, 4, 5, 30)
    for path in (network.fine, network.coarse):
        assert [layer[0].out_channels for layer in path] == [30, 30, 40, 40, 40, 40, 50, 50]
    assert [layer[0].in_channels for layer in network.join] == [100, 150]
    assert network.activation_channels == 2 * (40 + 40 + 50) + 150


def test_activations_are_those_of_the_fourth_sixth_and_eighth_layer_of_both_paths_and_of_the_last():
    network = DualResolutionCNN(2, 1, 1, 6).eval()
    seen = {}
    read = [*(path[place] for place in (3, 5, 7) for path in (network.fine, network.coarse)), network.join[-1]]
    for number, layer in enumerate(read):
        layer.register_forward_hook(lambda _layer, _inputs, output, number=number: seen.update({number: output}))
    _, activations = network.with_activations(torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(0)))
    # A coarse activation is repeated over the 3×3 voxels that it stands for.
    repeated = [torch.ones(1, 1, 9 // edge, 9 // edge) for edge in (seen[number].shape[-1] for number in range(7))]
    on_grid = [torch.kron(seen[number], ones) for number, ones in enumerate(repeated)]
    assert torch.equal(activations, torch.cat(on_grid, dim=1))


@pytest.mark.parametrize("size", [9, 16, 17])
def test_activations_come_with_the_logits_on_one_grid(dimensions, size):
    network = DualResolutionCNN(dimensions, 1, 2, 6).eval()
    image = torch.randn(1, 1, *[size] * dimensions, generator=torch.Generator().manual_seed(0))
    logits, activations = network.with_activations(image)
    assert torch.equal(logits, network(image))
    assert activations.shape == (1, network.activation_channels, *[size] * dimensions)
    assert DomainClassifier(dimensions, network.activation_channels, 4)(activations).shape == (
        1,
        1,
        *[size] * dimensions,
    )


def test_the_fine_path_sees_17_voxels_and_the_coarse_three_times_as_many():
    network = DualResolutionCNN(2, 1, 1, 6)
    image = torch.randn(1, 1, 81, 81, generator=torch.Generator().manual_seed(0))
    assert seen_from(network, image, 40) == 3 * 17
    for layer in network.coarse:
        nn.init.zeros_(layer[0].weight)
    assert seen_from(network, image, 40) == 17


def test_the_coarse_path_lies_on_the_fine_ones_grid():
    network = DualResolutionCNN(2, 1, 1, 6)
    coarse = network.coarsen(torch.arange(9.0).expand(1, 1, 9, 9))
    assert coarse[0, 0, 0].tolist() == [1, 4, 7]
    assert network.coarsen(torch.ones(1, 1, 10, 10)).unique().tolist() == [1]


def test_the_domain_classifier_answers_for_an_image_whatever_else_is_in_the_batch():
    classifier = DomainClassifier(2, 3, 4)
    activations = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(classifier(activations)[:1], classifier(activations[:1]), atol=1e-6)
