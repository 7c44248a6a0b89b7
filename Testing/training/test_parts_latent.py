"""The networks of latent systems: codes to images, images to scores, codes and themselves again."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

from MedGANLogic.parts.discriminators.autoencoder import Autoencoder
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator, Head, LayerNormCritic
from MedGANLogic.parts.discriminators.progressive import MinibatchDeviation, ProgressiveDiscriminator, at_stage
from MedGANLogic.parts.encoders.latent import LatentEncoder
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.generators.progressive import Equalised, PixelNorm, ProgressiveGenerator
from MedGANLogic.parts.generators.upsampling import UpsamplingDecoder

LATENT, WIDTH, SIZE = 6, 4, 16
CONVOLUTIONS = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
NORMS = nn.BatchNorm2d | nn.BatchNorm3d | nn.GroupNorm
POOLS = nn.AvgPool2d | nn.AvgPool3d | nn.MaxPool2d | nn.MaxPool3d

#: Every network at toy width, with what it reads and writes for one image or code: None stands for an image.
NETWORKS = {
    "dcgan generator": (lambda d, c: DCGANGenerator(d, LATENT, c, WIDTH, SIZE), (LATENT,), None),
    "upsampling decoder": (lambda d, c: UpsamplingDecoder(d, LATENT, c, WIDTH, SIZE), (LATENT,), None),
    "progressive generator": (lambda d, c: ProgressiveGenerator(d, LATENT, c, WIDTH, SIZE), (LATENT,), None),
    "dcgan discriminator": (lambda d, c: DCGANDiscriminator(d, c, WIDTH, SIZE, 3), None, (3,)),
    "layer norm critic": (lambda d, c: LayerNormCritic(d, c, WIDTH, SIZE, 3), None, (3,)),
    "progressive discriminator": (lambda d, c: ProgressiveDiscriminator(d, c, WIDTH, SIZE), None, (1,)),
    "autoencoder": (lambda d, c: Autoencoder(d, c, WIDTH, SIZE, LATENT), None, None),
    "latent encoder": (lambda d, c: LatentEncoder(d, c, WIDTH, SIZE, LATENT), None, (2 * LATENT,)),
    "head": (lambda *_: Head(LATENT, 5), (LATENT,), (5,)),
}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(params=NETWORKS)
def kind(request):
    return NETWORKS[request.param]


def parameters(network):
    return sum(weight.numel() for weight in network.parameters())


def layers(network):
    return [module for module in network.modules() if not any(module.children())]


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_networks_keep_their_shapes_in_every_precision(kind, dimensions, channels, precision):
    make, reads, writes = kind
    image = (channels, *[SIZE] * dimensions)
    given = torch.randn(3, *(reads or image))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        answer = make(dimensions, channels)(given)
        answer.float().sum().backward()
    assert answer.shape == (3, *(writes or image))
    assert answer.isfinite().all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_networks_are_built_again_from_their_arguments_without_memory(kind, dimensions):
    make, reads, writes = kind
    image = (1, *[SIZE] * dimensions)
    network = make(dimensions, 1)
    assert all(type(value) is int for value in network.arguments.values())
    with torch.device("meta"):
        again = type(network)(**network.arguments).eval()
    assert again(torch.empty(1, *(reads or image), device="meta")).shape == (1, *(writes or image))
    assert [value.shape for value in again.state_dict().values()] == [v.shape for v in network.state_dict().values()]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_copied_stored_and_rearranged_networks_answer_alike(kind, dimensions):
    make, reads, _ = kind
    network, other = make(dimensions, 1).eval(), make(dimensions, 1).eval()
    given = torch.randn(2, *(reads or (1, *[SIZE] * dimensions)))
    answer = network(given)
    assert not torch.equal(other(given), answer)
    other.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(other(given), answer)
    copied = deepcopy(network)
    assert copied.arguments == network.arguments
    assert torch.equal(copied(given), answer)
    order = {2: torch.channels_last, 3: torch.channels_last_3d}[dimensions]
    assert torch.allclose(copied.to(memory_format=order)(given), answer, atol=1e-4)


@pytest.mark.parametrize("size", [8, 11, 12, 28, 33, 40])
@pytest.mark.parametrize("make", [DCGANGenerator, UpsamplingDecoder])
def test_generators_make_any_size(make, size):
    assert make(2, LATENT, 1, WIDTH, size)(torch.randn(2, LATENT)).shape == (2, 1, size, size)


@pytest.mark.parametrize("size", [8, 11, 12, 28, 33, 40])
def test_judges_and_encoders_read_any_size(size):
    image = torch.randn(2, 1, size, size)
    assert DCGANDiscriminator(2, 1, WIDTH, size, 1)(image).shape == (2, 1)
    assert LatentEncoder(2, 1, WIDTH, size, LATENT)(image).shape == (2, 2 * LATENT)
    assert Autoencoder(2, 1, WIDTH, size, LATENT)(image).shape == image.shape


def test_a_crop_keeps_the_middle():
    network = DCGANGenerator(2, LATENT, 1, WIDTH, 11).eval()
    code = torch.randn(2, LATENT)
    assert torch.equal(network(code), network.image(code)[:, :, 0:11, 0:11])
    assert network.image(code).shape[-1] == 12
    wide = DCGANGenerator(2, LATENT, 1, WIDTH, 33).eval()
    assert wide.image(code).shape[-1] == 40
    assert torch.equal(wide(code), wide.image(code)[:, :, 3:36, 3:36])


def test_the_dcgan_generator_has_the_published_layers():
    with torch.device("meta"):
        network = DCGANGenerator(2, 100, 3, 128, 64)
    seen = []
    for module in layers(network):
        if isinstance(module, CONVOLUTIONS):
            module.register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape[1:])))
    network(torch.empty(1, 100, device="meta"))
    assert seen == [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32), (3, 64, 64)]


@pytest.mark.parametrize(
    "network",
    [DCGANGenerator(2, LATENT, 1, WIDTH, 32), DCGANDiscriminator(2, 1, WIDTH, 32, 1), LayerNormCritic(3, 1, 2, 32, 1)],
    ids=lambda network: type(network).__name__,
)
def test_dcgan_networks_pool_nothing_and_have_no_hidden_fully_connected_layer(network):
    assert not any(isinstance(module, POOLS | nn.Linear | nn.Upsample) for module in layers(network))
    weights = [module.weight for module in layers(network) if isinstance(module, CONVOLUTIONS)]
    assert len(weights) == 4


def test_batch_norm_is_absent_from_the_generators_last_and_the_discriminators_first_and_last_layer():
    generator = layers(DCGANGenerator(2, LATENT, 1, WIDTH, 32))
    places = [place for place, module in enumerate(generator) if isinstance(module, CONVOLUTIONS)]
    followed = [isinstance(generator[place + 1], NORMS) for place in places]
    assert followed == [True, True, True, False]
    assert isinstance(generator[-1], nn.Tanh)
    for judge, norm in ((DCGANDiscriminator, nn.BatchNorm2d), (LayerNormCritic, nn.GroupNorm)):
        modules = layers(judge(2, 1, WIDTH, 32, 1))
        places = [place for place, module in enumerate(modules) if isinstance(module, CONVOLUTIONS)]
        assert [isinstance(modules[place + 1], norm) for place in places] == [False, True, True, False]
        assert not any(isinstance(module, nn.Sigmoid) for module in modules)


def test_dcgan_weights_start_at_a_deviation_of_a_fiftieth():
    for network in (DCGANGenerator(2, 100, 1, 32, 64), DCGANDiscriminator(2, 1, 32, 64, 1)):
        for module in layers(network):
            if isinstance(module, CONVOLUTIONS) and module.weight.numel() > 1000:
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_a_layer_norm_critic_judges_each_image_alone_and_a_batch_norm_does_not():
    images = torch.randn(3, 1, SIZE, SIZE)
    critic, discriminator = LayerNormCritic(2, 1, WIDTH, SIZE, 1), DCGANDiscriminator(2, 1, WIDTH, SIZE, 1)
    assert torch.allclose(critic(images)[:1], critic(images[:1]), atol=1e-6)
    assert not torch.allclose(discriminator(images)[:1], discriminator(images[:1]), atol=1e-3)


def test_a_layer_norm_acts_over_channels_and_space_with_one_gain_a_channel():
    critic = LayerNormCritic(2, 1, WIDTH, SIZE, 1)
    (norm,) = (module for module in layers(critic) if isinstance(module, nn.GroupNorm))
    hidden = torch.randn(2, 2 * WIDTH, 4, 4) * 3
    hidden[:, 0] += 9
    assert norm(hidden)[:, 0].mean() > 1
    normed = norm(hidden).flatten(1)
    assert torch.allclose(normed.mean(1), torch.zeros(2), atol=1e-5)
    assert torch.allclose(normed.std(1, correction=0), torch.ones(2), atol=1e-3)
    assert norm.weight.shape == (2 * WIDTH,)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_heads_and_scores_read_the_last_hidden_activation(dimensions):
    discriminator = DCGANDiscriminator(dimensions, 1, WIDTH, SIZE, 3).eval()
    image = torch.randn(2, 1, *[SIZE] * dimensions)
    features = discriminator.features(image)
    assert features.shape == (2, *discriminator.feature_shape) == (2, 2 * WIDTH, *[4] * dimensions)
    assert torch.equal(discriminator.judge(features), discriminator(image))
    assert Head(discriminator.feature_count, 5)(features).shape == (2, 5)


def test_a_second_head_leaves_the_first_without_gradient():
    discriminator = DCGANDiscriminator(2, 1, WIDTH, SIZE, 1)
    head = Head(discriminator.feature_count, 5)
    head(discriminator.features(torch.randn(2, 1, SIZE, SIZE))).square().sum().backward()
    assert all(weight.grad is None for weight in discriminator.head.parameters())
    assert all(weight.grad.abs().sum() > 0 for weight in head.parameters())


def test_the_encoder_has_the_published_layers():
    with torch.device("meta"):
        network = LatentEncoder(2, 3, 64, 64, 128)
    shapes = [tuple(m.weight.shape) for m in layers(network) if isinstance(m, CONVOLUTIONS | nn.Linear)]
    assert shapes == [(64, 3, 5, 5), (128, 64, 5, 5), (256, 128, 5, 5), (2048, 256 * 8 * 8), (256, 2048)]


def test_the_autoencoder_decodes_as_the_generator_does():
    generator = UpsamplingDecoder(2, LATENT, 1, WIDTH, 32)
    discriminator = Autoencoder(2, 1, WIDTH, 32, LATENT)
    shapes = [value.shape for value in generator.parameters()]
    assert shapes == [value.shape for value in discriminator.decode.parameters()]
    strided = [m for m in layers(discriminator.encode) if isinstance(m, CONVOLUTIONS) and m.stride == (2, 2)]
    assert [module.out_channels for module in strided] == [2 * WIDTH, 3 * WIDTH]
    assert not any(isinstance(module, NORMS | POOLS) for module in layers(discriminator))
    assert discriminator.encode(torch.randn(2, 1, 32, 32)).shape == (2, LATENT)


@pytest.fixture
def growing():
    return ProgressiveGenerator(2, LATENT, 1, WIDTH, SIZE)


@pytest.fixture
def critic():
    return ProgressiveDiscriminator(2, 1, WIDTH, SIZE)


@pytest.mark.parametrize(
    ("make", "arguments", "image_layers"),
    [
        (ProgressiveGenerator, (2, 512, 3, 16, 1024), "to_image"),
        (ProgressiveDiscriminator, (2, 3, 16, 1024), "from_image"),
    ],
)
def test_progressive_networks_have_the_published_number_of_parameters(make, arguments, image_layers):
    with torch.device("meta"):
        network = make(*arguments)
    # Table 2 counts one image layer, the finished network's; training needs one for every stage.
    per_stage = getattr(network, image_layers)
    assert round((parameters(network) - parameters(per_stage[:-1])) / 1e6, 1) == 23.1
    channels = [weight.numel() // 3 for weight in per_stage.parameters() if weight.ndim == 4]
    assert channels == [512, 512, 512, 512, 256, 128, 64, 32, 16]


def test_a_stage_fades_in_from_exactly_the_doubled_stage_before(growing):
    code = torch.randn(3, LATENT)
    for stage in (1, 2):
        before = interpolate(growing(code, stage - 1), scale_factor=2, mode="nearest")
        assert torch.equal(growing(code, stage, 0.0), before)
        assert torch.allclose(growing(code, stage, 0.25), 0.75 * before + 0.25 * growing(code, stage), atol=1e-6)


def test_a_finished_stage_is_independent_of_the_image_layer_before(growing):
    code = torch.randn(3, LATENT)
    finished, half = growing(code, 2, 1.0), growing(code, 2, 0.5)
    nn.init.normal_(growing.to_image[1].layer.weight, std=9)
    assert torch.equal(growing(code, 2, 1.0), finished)
    assert torch.equal(growing(code), finished)
    assert not torch.allclose(growing(code, 2, 0.5), half)


def test_the_critic_fades_in_from_the_stage_before(critic):
    image = torch.randn(3, 1, SIZE, SIZE)
    assert torch.equal(critic(image, 0.0), critic(avg_pool2d(image, 2)))
    finished = critic(image)
    nn.init.normal_(critic.from_image[1][0].layer.weight, std=9)
    assert torch.equal(critic(image, 1.0), finished)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_generator_and_critic_agree_on_the_stages(growing, critic, stage):
    image = growing(torch.randn(2, LATENT), stage)
    assert image.shape == (2, 1, *[4 * 2**stage] * 2)
    assert critic(image).shape == (2, 1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_real_images_are_shown_as_a_stage_sees_them(dimensions):
    image = torch.randn(2, 1, *[SIZE] * dimensions)
    assert torch.equal(at_stage(image, 2, 1.0), image)
    assert at_stage(image, 0, 0.3).shape == (2, 1, *[4] * dimensions)
    coarse = interpolate(at_stage(image, 1, 1.0), scale_factor=2, mode="nearest")
    assert torch.equal(at_stage(image, 2, 0.0), coarse)
    assert torch.allclose(at_stage(image, 2, 0.25), 0.75 * coarse + 0.25 * image, atol=1e-6)
    assert at_stage(image, 1, 1.0).mean().item() == pytest.approx(image.mean().item(), abs=1e-6)


@pytest.mark.parametrize("size", [2, 6, 12, 0])
def test_progressive_networks_refuse_what_no_stage_has(critic, size):
    with pytest.raises(ValueError, match="belongs to no stage"):
        ProgressiveGenerator(2, LATENT, 1, WIDTH, size)
    with pytest.raises(ValueError, match="belongs to no stage"):
        critic(torch.zeros(1, 1, size, size))


def test_the_minibatch_deviation_of_identical_images_is_zero():
    image = torch.randn(1, 3, 4, 4).expand(5, -1, -1, -1)
    added = MinibatchDeviation()(image)
    assert added.shape == (5, 4, 4, 4)
    assert torch.equal(added[:, :3], image)
    assert not added[:, 3].any()


def test_the_minibatch_deviation_is_the_mean_deviation_over_the_batch():
    images = torch.randn(5, 3, 4, 4, 4)
    added = MinibatchDeviation()(images)[:, 3]
    assert torch.allclose(added, images.std(0, correction=0).mean().expand_as(added), atol=1e-3)


def test_the_minibatch_deviation_has_a_slope_where_images_are_identical(critic):
    images = torch.zeros(2, 1, SIZE, SIZE, requires_grad=True)
    critic(images).sum().backward()
    assert images.grad.isfinite().all()


def test_pixel_norm_makes_every_voxels_mean_square_one():
    normed = PixelNorm()(torch.randn(2, 7, 4, 4) * 5)
    assert torch.allclose(normed.square().mean(1), torch.ones(2, 4, 4), atol=1e-5)


def test_codes_count_by_their_direction_alone(growing):
    code = torch.randn(2, LATENT)
    nn.init.normal_(growing.start[1].layer.bias)
    assert torch.allclose(growing(code), growing(7 * code), atol=1e-4)


def test_equalised_layers_store_unit_weights_and_act_by_hes_rule():
    equalised = Equalised(nn.Conv2d(50, 60, 3, padding=1))
    assert equalised.layer.weight.std().item() == pytest.approx(1, rel=0.05)
    image = torch.randn(2, 50, 8, 8)
    by_hand = nn.functional.conv2d(image, equalised.layer.weight * (2 / (50 * 9)) ** 0.5, padding=1)
    assert torch.allclose(equalised(image), by_hand, atol=1e-4)


def test_every_layer_of_the_progressive_networks_is_equalised(growing, critic):
    for network in (growing, critic):
        weighted = [module for module in layers(network) if list(module.parameters())]
        wrapped = [module.layer for module in network.modules() if isinstance(module, Equalised)]
        assert weighted == wrapped
