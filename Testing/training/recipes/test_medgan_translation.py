"""MedGAN against a loop written by hand; what its discriminator sees, and how its U-blocks follow one another."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from by_hand import assert_same, lowered, published, two_steps
from torch import nn
from torch.nn.functional import softplus
from torch.optim import Adam

from MedGANLogic import training
from MedGANLogic.games.perceptual import Layered
from MedGANLogic.parts.discriminators.patch import TwoLayerPatchDiscriminator
from MedGANLogic.parts.generators.cascaded_unet import CascadedUNet
from MedGANLogic.parts.losses.feature import gram_square
from MedGANLogic.recipe import build, rehearse
from MedGANLogic.recipes import example, load
from MedGANLogic.study import StudyError

NAME = "medgan-translation"


@cache
def paper():
    return published(NAME)


def layers(discriminator, pair):
    """Return what comes out of every LeakyReLU, and the logits."""
    seen = []
    for layer in discriminator.score:
        pair = layer(pair)
        seen += [pair] if isinstance(layer, nn.LeakyReLU) else []
    return seen, pair


def gram(features):
    return torch.einsum("bcn,bdn->bcd", features, features) / features[0].numel()


def trained_by_hand(networks, batches):
    generator, discriminator, features = (networks[name] for name in ("generator", "discriminator", "features"))
    adam_d = Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    left = iter(batches)
    for step in range(2):
        torch.manual_seed(step)
        for turn in range(3):
            batch = next(left)
            x, y, weight = batch["input"], batch["target"], batch["weight"]
            fake = generator(x)
            shown = torch.where(weight > 0, fake, y)
            if not turn:
                _, real = layers(discriminator, torch.cat([x, y], 1))
                _, made = layers(discriminator, torch.cat([x, shown.detach()], 1))
                adam_d.zero_grad()
                (softplus(-real).mean() + softplus(made).mean()).backward()
                adam_d.step()

            seen_fake, scored = layers(discriminator, torch.cat([x, shown], 1))
            seen_real, _ = layers(discriminator, torch.cat([x, y], 1))
            described_fake, described_real = features(shown), features(y)
            l1 = (((fake - y).abs() * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)).mean()
            hidden = [(a - b).abs().mean() for a, b in zip(seen_fake, seen_real, strict=True)]
            style = gram(described_fake.flatten(2)) - gram(described_real.flatten(2))
            style = style.square().sum((1, 2)).mean() / (4 * style.shape[1] ** 2)
            content = (described_fake - described_real).square().mean()
            adam_g.zero_grad()
            (softplus(-scored).mean() + 20 * (l1 + sum(hidden)) + 1e-4 * (style + content)).backward()
            adam_g.step()


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort, monkeypatch):
    # In half precision, some U-Nets away, no two orders of a sum give the same.
    monkeypatch.setattr(training, "_autocast", lambda *_: nullcontext())
    played = two_steps(NAME, toy_study, toy_cohort, dimensions=2, patch=16)
    # Three turns of the generator to one of the discriminator, the first on its batch.
    assert len(played.batches) == 2 * 3
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches)
    assert_same(played, by_hand, spared=0.02, still=("features",))


def test_what_is_lowered_is_what_the_paper_says():
    discriminator, generator = paper().phases[0].players
    game = SimpleNamespace(
        score_real_pair=torch.zeros(1, 1, 2, 2),
        score_fake_pair=torch.zeros(1, 1, 2, 2),
        fake_b=torch.full((1, 1, 2, 2), 0.5),
        real_b=torch.zeros(1, 1, 2, 2),
        weight=torch.ones(1, 1, 2, 2),
        first_fake=torch.tensor([1.0]),
        first_real=torch.tensor([3.0]),
        second_fake=torch.tensor([4.0]),
        second_real=torch.tensor([1.0]),
        features_fake=torch.full((1, 1, 2, 2), 3.0),
        features_real=torch.full((1, 1, 2, 2), 1.0),
    )
    log_two = 0.693147
    assert lowered(discriminator, game) == pytest.approx(2 * log_two, abs=1e-5)
    style, content = (9 - 1) ** 2 / 4, (3 - 1) ** 2
    assert lowered(generator, game) == pytest.approx(log_two + 20 * (0.5 + 2 + 3) + 1e-4 * (style + content), abs=1e-4)
    assert (discriminator.turns, generator.turns) == (1, 3)


@pytest.fixture
def game(toy_study):
    """Return a maker of games of a target and of what is made of an input."""
    networks = dict(build(load(NAME), toy_study(2, 0, example=example(NAME))).networks)
    random = torch.Generator().manual_seed(0)
    image, target = 2 * torch.rand(2, 2, 1, 32, 32, generator=random) - 1

    def make(made, shown=image, discriminator=networks["discriminator"]):
        batch = {"input": shown, "target": target, "weight": torch.ones_like(target)}
        return Layered({**networks, "generator": made, "discriminator": discriminator}, batch)

    make.target = target
    return make


def seen_difference(one):
    """Return what the terms on the discriminator's layers cost."""
    _, generator = paper().phases[0].players
    return sum(term.value(one) for term in generator.terms if term.names[0] in ("first_fake", "second_fake"))


def test_what_the_discriminator_sees_is_the_same_at_the_target(game):
    assert seen_difference(game(lambda _image: game.target)) == 0
    assert seen_difference(game(lambda image: 0.5 * image)) > 0


def test_what_the_discriminator_sees_depends_on_its_weights_and_on_the_input(game):
    wrong = game.target.flip(2)
    other = TwoLayerPatchDiscriminator(2, 2, 4)
    costs = [
        seen_difference(game(lambda _image: wrong)),
        seen_difference(game(lambda _image: wrong, discriminator=other)),
        seen_difference(game(lambda _image: wrong, shown=torch.zeros_like(wrong))),
    ]
    assert len({round(cost.item(), 6) for cost in costs}) == 3


def test_what_the_discriminator_sees_moves_the_generator(game):
    generator = nn.Conv2d(1, 1, 1)
    seen_difference(game(generator)).backward()
    assert generator.weight.grad.abs().sum() > 0


def test_scores_are_read_off_the_layers_that_are_compared(game):
    one = game(lambda image: 0.5 * image)
    one.networks["discriminator"].eval()
    pair = torch.cat([one.real_a, one.fake_b], 1)
    assert torch.equal(one.score_fake_pair, one.networks["discriminator"](pair))
    (first, second), _ = layers(one.networks["discriminator"], pair)
    assert torch.equal(one.first_fake, first)
    assert torch.equal(one.second_fake, second)
    one.forget(("discriminator",))
    assert one.known("first_fake") is None and one.known("fake_b") is not None


def test_the_discriminator_sees_fields_of_16_voxels():
    discriminator = TwoLayerPatchDiscriminator(2, 2, 4).eval()
    image = torch.randn(1, 2, 64, 64, requires_grad=True)
    discriminator(image)[0, 0, 15, 15].backward()
    rows, columns = image.grad.abs().sum((0, 1)).nonzero().T
    assert [int(one.max() - one.min()) + 1 for one in (rows, columns)] == [16, 16]
    at_width = paper().networks["discriminator"]
    assert [layer.out_channels for layer in at_width.score if isinstance(layer, nn.Conv2d)] == [64, 128, 1]


def test_each_u_block_is_shown_the_image_that_the_one_before_it_made():
    cascade = CascadedUNet(2, 3, 1, 4, 3, blocks=4).eval()
    shown, made = [], []

    def watch(_block, given, image):
        shown.append(given[0])
        made.append(image)

    for block in cascade.blocks:
        block.register_forward_hook(watch)
    image = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        answer = cascade(image)
    assert shown[0] is image and answer is made[-1]
    assert all(later is earlier for later, earlier in zip(shown[1:], made[:-1], strict=True))
    assert [tuple(one.shape) for one in made] == [(1, 1, 16, 16)] * 4
    assert all(one.abs().max() <= 1 for one in made)


def test_six_u_blocks_of_eight_levels_are_published():
    generator = paper().networks["generator"]
    convolutions = [layer for stage in generator.blocks[5].down for layer in stage if isinstance(layer, nn.Conv2d)]
    assert len(generator.blocks) == 6
    assert [layer.out_channels for layer in convolutions] == [64, 128, 256, 512, 512, 512, 512, 512]


def test_style_is_blind_to_places_and_has_its_closed_form():
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    moved = features.flatten(2)[:, :, torch.randperm(20)].reshape(2, 3, 4, 5)
    assert gram_square(features, moved) == pytest.approx(0, abs=1e-10)
    # Of two channels, constant in space, the products are a², ab, b² over C = 2.
    one, other = (torch.tensor(values).reshape(1, 2, 1, 1).expand(1, 2, 3, 3) for values in ((1.0, 2.0), (3.0, 0.0)))
    expected = ((1 - 9) ** 2 + 2 * (2 - 0) ** 2 + (4 - 0) ** 2) / 4 / (4 * 2**2)
    assert gram_square(one, other) == pytest.approx(expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert gram_square(1.001 * one, one) == pytest.approx(gram_square(1.001 * one, one.clone()).item())
        assert gram_square(1.001 * one, one) > 0


def test_a_patch_that_cannot_be_halved_to_a_voxel_is_refused_with_one_that_can():
    with pytest.raises(StudyError, match="patch 200 does not, 256 would"):
        rehearse(load(NAME), replace(example(NAME), changes={"patch": 200, "width": 2, "levels": 1}))
