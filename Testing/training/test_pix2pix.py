"""pix2pix against a loop written by hand, and against what is published of its networks."""

from copy import deepcopy
from itertools import islice

import pytest
import torch
from monai.networks.nets import PatchDiscriminator as PublishedPatchDiscriminator
from torch import nn
from torch.nn.functional import softplus
from torch.optim import Adam

from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.parts.discriminators.patch import PatchDiscriminator
from MedGANLogic.parts.generators.strided_unet import StridedUNet
from MedGANLogic.recipe import build
from MedGANLogic.recipes import load
from MedGANLogic.training import play, seed_of, start

CPU = torch.device("cpu")
STEPS = 2
NORMS = nn.BatchNorm2d | nn.BatchNorm3d


@pytest.fixture
def pix2pix(study):
    return build(load("pix2pix"), study)


@pytest.fixture
def toy_batches(pix2pix, study, toy_cases):
    batches = Batches(pix2pix.phases[0].feed, Pool(study, toy_cases[:2]), (study.seed,))
    return [batches[number] for number in range(STEPS)]


def trained_by_hand(networks, batches, study, decay):
    """Train as the paper says, in plain PyTorch: detached fakes, a frozen discriminator, D first, then G."""
    generator, discriminator = networks["generator"], networks["discriminator"]
    average = networks["generator_average"]
    rate = study.changes.get("rate", 2e-4)
    adam_d = Adam(discriminator.parameters(), lr=rate, betas=(0.5, 0.999))
    adam_g = Adam(generator.parameters(), lr=rate, betas=(0.5, 0.999))
    for step, batch in enumerate(batches):
        x, y, weight = batch["input"], batch["target"], batch["weight"]
        torch.manual_seed(seed_of(study.seed, step))

        with torch.autocast("cpu", torch.bfloat16, enabled=study.dimensions == 2):
            real = discriminator(torch.cat([x, y], 1))
            fake = generator(x)
            scored = discriminator(torch.cat([x, torch.where(weight > 0, fake.detach(), y)], 1))
            loss_real, loss_fake = softplus(-real).mean(), softplus(scored).mean()
        adam_d.zero_grad()
        ((loss_real.float() + loss_fake.float()) / 2).backward()
        adam_d.step()

        discriminator.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16, enabled=study.dimensions == 2):
            scored = discriminator(torch.cat([x, torch.where(weight > 0, fake, y)], 1))
            adversarial = softplus(-scored).mean()
            difference = (((fake - y).abs() * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)).mean()
        adam_g.zero_grad()
        (adversarial.float() + 100 * difference).backward()
        adam_g.step()
        discriminator.requires_grad_(True)

        share = 1 - min(decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for followed, following in zip(generator.state_dict().values(), average.state_dict().values(), strict=True):
                if following.is_floating_point():
                    following.lerp_(followed, share)
                else:
                    following.copy_(followed)
    return {"discriminator": adam_d, "generator": adam_g}


def test_two_steps_are_bit_equal_to_a_loop_written_by_hand(pix2pix, study, toy_batches):
    state = start(pix2pix, CPU)
    by_hand = deepcopy(dict(state.networks))
    fresh = deepcopy(by_hand)
    phase = pix2pix.phases[0]
    (average,) = phase.players[1].after
    optimizers_by_hand = trained_by_hand(by_hand, toy_batches, study, average.decay)

    drawn = iter(toy_batches)
    for step in range(STEPS):
        torch.manual_seed(seed_of(study.seed, step))
        play(phase, state.networks, state.optimizers, drawn, step, CPU)

    for name, network in by_hand.items():
        expected, found = network.state_dict(), state.networks[name].state_dict()
        assert any(not torch.equal(expected[key], fresh[name].state_dict()[key]) for key in expected), name
        assert all(torch.equal(expected[key], found[key]) for key in expected), name
    for name, optimizer in optimizers_by_hand.items():
        expected, found = optimizer.state_dict()["state"], state.optimizers[name].state_dict()["state"]
        assert expected.keys() == found.keys()
        for number, slots in expected.items():
            assert all(torch.equal(slots[slot], found[number][slot]) for slot in slots), (name, number)


def test_the_generators_loss_less_100_l1_is_the_non_saturating_term(pix2pix, toy_batches):
    phase = pix2pix.phases[0]
    player = {player.name: player for player in phase.players}["generator"]
    game = phase.game(pix2pix.networks, toy_batches[0])
    total = sum(term.weight * term.value(game) for term in player.terms)
    off = (game.fake_b - game.real_b).abs() * game.weight
    l1 = (off.flatten(1).sum(1) / game.weight.flatten(1).sum(1)).mean()
    non_saturating = -torch.log(torch.sigmoid(game.score_fake_pair)).mean()
    assert l1.item() > 0
    assert (total - 100 * l1).item() == pytest.approx(non_saturating.item(), abs=1e-4)


def test_the_discriminators_loss_is_halved(pix2pix, toy_batches):
    phase = pix2pix.phases[0]
    player = {player.name: player for player in phase.players}["discriminator"]
    game = phase.game(pix2pix.networks, toy_batches[0])
    total = sum(term.weight * term.value(game) for term in player.terms)
    real, fake = torch.sigmoid(game.score_real_pair), torch.sigmoid(game.score_fake_pair)
    assert total.item() == pytest.approx((-torch.log(real).mean() - torch.log(1 - fake).mean()).item() / 2, rel=1e-4)


def test_the_discriminator_sees_input_and_image_together(pix2pix, study, toy_batches):
    discriminator = pix2pix.networks["discriminator"].eval()
    first = next(module for module in discriminator.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
    assert first.in_channels == study.in_channels + study.out_channels
    x, y = toy_batches[0]["input"], toy_batches[0]["target"]
    with torch.no_grad():
        own, shuffled = discriminator(torch.cat([x, y], 1)), discriminator(torch.cat([x.flip(0), y], 1))
    assert not torch.allclose(own, shuffled, rtol=1e-3)


def test_an_interior_logit_depends_on_exactly_70_by_70_pixels(toy_study):
    published = toy_study(dimensions=2, neighbours=0)
    published.changes.pop("width")
    discriminator = build(load("pix2pix"), published).networks["discriminator"].eval().double()
    random = torch.Generator().manual_seed(0)
    image = torch.randn(1, 2, 96, 96, generator=random, dtype=torch.float64, requires_grad=True)
    discriminator(image)[0, 0, 4, 4].backward()
    seen = (image.grad != 0).any(1)[0]
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    assert rows[0] > 0
    assert rows[-1] < 95
    assert (len(rows), len(columns)) == (70, 70)
    assert seen.sum() == 70 * 70


@pytest.fixture
def published_unet():
    with torch.device("meta"):
        return StridedUNet(2, 3, 3, 64, 8)


def parameters(network):
    return sum(weight.numel() for weight in network.parameters())


def order_of_layers(network, size):
    """Return the layers in the order in which they work, with the edge length of what each puts out."""
    layers = []
    for module in network.modules():
        if not any(module.children()):
            module.register_forward_hook(lambda module, _, output: layers.append((module, output.shape[-1])))
    network(torch.empty(1, 3, size, size, device="meta"))
    return layers


def test_the_unet_has_the_published_number_of_parameters(published_unet):
    # The authors' PyTorch code prints 54.414 M for 3 → 3 channels and 54.408 M for 1 → 1 (its issue 1152); it has no
    # bias in the two convolutions down that have no norm, 64 and 512 channels wide. The paper's own code has them.
    biases = 64 + 512
    with torch.device("meta"):
        grey = StridedUNet(2, 1, 1, 64, 8)
    assert round((parameters(published_unet) - biases) / 1e6, 3) == 54.414
    assert round((parameters(grey) - biases) / 1e6, 3) == 54.408


@pytest.mark.parametrize("channels", [2, 6])
def test_the_discriminator_has_the_published_number_of_parameters(channels):
    with torch.device("meta"):
        ours = PatchDiscriminator(2, channels, 64, 3)
        published = PublishedPatchDiscriminator(spatial_dims=2, channels=64, in_channels=channels, num_layers_d=3)
    assert parameters(ours) == parameters(published)
    assert round(parameters(ours) / 1e6, 3) == {2: 2.765, 6: 2.769}[channels]


def test_the_discriminator_computes_what_monais_does():
    ours = PatchDiscriminator(2, 2, 8, 3).eval()
    published = PublishedPatchDiscriminator(spatial_dims=2, channels=8, in_channels=2, num_layers_d=3).eval()
    weights = zip(published.state_dict(), ours.state_dict().values(), strict=True)
    published.load_state_dict(dict(weights))
    image = torch.randn(2, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ours(image), published(image)[-1], atol=1e-6)


def test_the_unet_goes_down_to_one_pixel_and_up_again(published_unet):
    edges = [edge for module, edge in order_of_layers(published_unet, 256) if hasattr(module, "kernel_size")]
    assert edges == [128, 64, 32, 16, 8, 4, 2, 1, 2, 4, 8, 16, 32, 64, 128, 256]


def test_the_unet_has_no_norm_on_first_convolution_bottleneck_and_output(published_unet):
    layers = order_of_layers(published_unet, 256)
    convolutions = [place for place, (module, _) in enumerate(layers) if hasattr(module, "kernel_size")]
    followers = [layers[place + 1][0] for place in convolutions]
    bare = [number for number, follower in enumerate(followers) if not isinstance(follower, NORMS)]
    first, bottleneck, output = 0, 7, 15
    assert bare == [first, bottleneck, output]
    assert isinstance(layers[-1][0], nn.Tanh)


def test_the_unet_drops_out_on_exactly_three_inner_blocks_on_the_way_up(published_unet):
    edges = [
        (module.p, edge) for module, edge in order_of_layers(published_unet, 256) if isinstance(module, nn.Dropout)
    ]
    assert len(edges) == 3
    # The paper's text has it on the innermost three, the authors' PyTorch code one block further up.
    assert edges in ([(0.5, 2), (0.5, 4), (0.5, 8)], [(0.5, 4), (0.5, 8), (0.5, 16)])


def test_the_unet_is_noisy_in_training_and_not_in_prediction():
    network = StridedUNet(2, 1, 1, 4, 5)
    image = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


def test_a_step_reads_one_batch(pix2pix, study, toy_batches):
    state = start(pix2pix, CPU)
    drawn = iter(toy_batches)
    play(pix2pix.phases[0], state.networks, state.optimizers, drawn, 0, CPU)
    assert len(list(islice(drawn, STEPS))) == STEPS - 1
