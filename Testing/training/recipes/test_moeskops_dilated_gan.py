"""Moeskops' dilated network against a loop written by hand: three turns a batch, two of them the segmenter's."""

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from by_hand import CPU, assert_same, lowered, published, two_steps
from torch import nn
from torch.nn.functional import cross_entropy, softplus
from torch.optim import Adam

from MedGANLogic.parts.generators.segmenting_cnn import DilatedCNN
from MedGANLogic.recipe import build
from MedGANLogic.recipes import example, load
from MedGANLogic.study import TRANSLATION, StudyError
from MedGANLogic.training import optimizers_of, play

NAME = "moeskops-dilated-gan"


@pytest.fixture(scope="module")
def played(toy_study, toy_cohort):
    return two_steps(NAME, toy_study, toy_cohort)


def trained_by_hand(networks, batches):
    segmenter, discriminator = networks["generator"], networks["discriminator"]
    by_labels, by_deceit = (Adam(segmenter.parameters(), lr=1e-3) for _ in range(2))
    of_discriminator = Adam(discriminator.parameters(), lr=1e-3)
    for batch in batches:
        x, y, weight = batch["input"], batch["target"], batch["weight"]
        by_labels.zero_grad()
        costs = (cross_entropy(segmenter(x), y, reduction="none") * weight[:, 0]).flatten(1).sum(1)
        (costs / weight.flatten(1).sum(1)).mean().backward()
        by_labels.step()
        shown = torch.where(weight > 0, segmenter(x).softmax(1), y)
        of_discriminator.zero_grad()
        real, made = discriminator(torch.cat([x, y], 1)), discriminator(torch.cat([x, shown.detach()], 1))
        (softplus(-real).mean() + softplus(made).mean()).backward()
        of_discriminator.step()
        by_deceit.zero_grad()
        softplus(-discriminator(torch.cat([x, shown], 1))).mean().backward()
        by_deceit.step()


def test_two_steps_are_those_written_by_hand(played):
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches)
    assert_same(played, by_hand)


def test_a_batch_is_three_turns_and_the_third_moves_the_segmenter_again(played):
    networks, moved = deepcopy(played.fresh), []

    def watch(game, player, weights):
        moved.append((player.name, deepcopy(game.networks["generator"].state_dict())))

    play(played.phase, networks, optimizers_of(played.phase, networks), iter(played.batches), 0, CPU, watch)
    assert [name for name, _ in moved] == ["segmenter", "discriminator", "deceiver"]
    # What it was before each player's step, and at the end.
    weights = [state["segment.0.weight"] for _, state in moved]
    weights.append(networks["generator"].state_dict()["segment.0.weight"])
    assert [not torch.equal(a, b) for a, b in pairwise(weights)] == [True, False, True]


def test_each_turn_lowers_what_is_its_own_alone():
    players = {player.name: player for player in published(NAME).phases[0].players}
    assert {name: player.moves for name, player in players.items()} == {
        "segmenter": ("generator",),
        "discriminator": ("discriminator",),
        "deceiver": ("generator",),
    }
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 1] = 1
    labels = SimpleNamespace(
        fake_b=logits, real_b=torch.eye(2)[[1] * 4].T.reshape(1, 2, 2, 2), weight=torch.ones(1, 1, 2, 2)
    )
    scores = SimpleNamespace(score_real_pair=torch.tensor([[2.0]]), score_fake_pair=torch.tensor([[-1.0]]))
    assert lowered(players["segmenter"], labels) == pytest.approx(0.313262, abs=1e-6)
    assert lowered(players["discriminator"], scores) == pytest.approx(0.126928 + 0.313262, abs=1e-5)
    assert lowered(players["deceiver"], scores) == pytest.approx(1.313262, abs=1e-6)


def test_the_third_turn_steps_as_far_as_the_adversary_weighs(toy_study):
    study = toy_study(example=example(NAME))
    recipe = build(load(NAME), replace(study, changes={**study.changes, "rate": 0.02, "adversarial": 0.1}))
    rates = [one.param_groups[0]["lr"] for one in optimizers_of(recipe.phases[0], recipe.networks).values()]
    assert rates == pytest.approx([0.02, 0.02, 0.002])


def test_without_weight_for_the_adversary_cross_entropy_is_alone(toy_study):
    study = toy_study(example=example(NAME))
    alone = build(load(NAME), replace(study, changes={**study.changes, "adversarial": 0}))
    assert [player.name for player in alone.phases[0].players] == ["segmenter"]
    assert set(alone.networks) == {"generator"}


def test_a_pixel_depends_on_the_67_around_it_along_either_axis_and_on_all_of_them():
    network = DilatedCNN(2, 1, 2, 2).eval().requires_grad_(False)
    for name, weight in network.named_parameters():
        # With everything above 0 no ReLU hides a path and none cancels another.
        nn.init.constant_(weight, 1 if name.endswith("weight") else 0)
    image = torch.ones(1, 1, 75, 71, requires_grad=True)
    network(image)[0, 0, 37, 35].backward()
    expected = torch.zeros(75, 71, dtype=torch.bool)
    expected[4:71, 2:69] = True
    assert torch.equal(image.grad[0, 0] != 0, expected)


def test_the_network_has_seven_layers_of_32_and_their_dilations():
    recipe = published(NAME)
    layers = [one for one in recipe.networks["generator"].modules() if isinstance(one, nn.Conv2d)]
    assert [layer.dilation[0] for layer in layers] == [1, 1, 2, 4, 8, 16, 1, 1]
    assert [(layer.kernel_size[0], layer.out_channels) for layer in layers] == [(3, 32)] * 7 + [(1, 2)]
    image = torch.empty(1, 3, 256, 256, device="meta")
    assert recipe.networks["generator"](image).shape == (1, 2, 256, 256)


def test_the_discriminator_sees_the_image_beside_what_is_likely_there_and_the_labels(played):
    networks = {name: deepcopy(network).eval() for name, network in played.networks.items()}
    batch, joined = played.batches[0], []
    networks["discriminator"].register_forward_hook(lambda _module, inputs, _output: joined.append(inputs[0]))
    game = played.phase.game(networks, batch)
    assert game.score_fake_pair.shape == game.score_real_pair.shape == (2, 1)
    made, real = joined
    likely = torch.where(batch["weight"] > 0, networks["generator"](batch["input"]).softmax(1), batch["target"])
    assert torch.equal(real, torch.cat([batch["input"], batch["target"]], 1))
    assert torch.allclose(made, torch.cat([batch["input"], likely], 1), atol=1e-6)
    # The image alone changes what it says of the same labels.
    other = played.phase.game(networks, {**batch, "input": -batch["input"]})
    assert (other.score_real_pair != game.score_real_pair).all()


def test_a_study_without_labels_is_refused(toy_study):
    with pytest.raises(StudyError, match="no labels"):
        build(load(NAME), toy_study(example=TRANSLATION, levels=None))
