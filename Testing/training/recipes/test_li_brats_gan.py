"""Li's network for brain tumours against a loop written by hand: the centres of patches, judged with the patches."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from by_hand import CPU, STEPS, assert_same, lowered, published, two_steps
from torch import nn
from torch.nn.functional import cross_entropy, softplus
from torch.optim import Adam

from MedGANLogic.inference.predict import predict
from MedGANLogic.parts.discriminators.two_stream import TwoStreamDiscriminator
from MedGANLogic.parts.generators.segmenting_cnn import ValidPatchCNN
from MedGANLogic.recipe import build
from MedGANLogic.recipes import example, load
from MedGANLogic.study import TRANSLATION, StudyError

NAME = "li-brats-gan"
CENTRE = (..., *[slice(8, -8)] * 3)


@pytest.fixture(scope="module")
def played(toy_study, toy_cohort):
    return two_steps(NAME, toy_study, toy_cohort, patch=31)


def trained_by_hand(networks, batches):
    segmenter, discriminator = networks["generator"], networks["discriminator"]
    of_segmenter = Adam(segmenter.parameters(), lr=1e-3)
    of_discriminator = Adam(discriminator.parameters(), lr=1e-4)
    for step, batch in enumerate(batches):
        # A phase of 40 steps has 50 epochs.
        fallen = 0.96 ** (50 * step / 40)
        of_segmenter.param_groups[0]["lr"], of_discriminator.param_groups[0]["lr"] = 1e-3 * fallen, 1e-4 * fallen
        x, y, weight = batch["input"], batch["target"][CENTRE], batch["weight"][CENTRE]
        # What is dropped follows from the step.
        torch.manual_seed(step)
        logits = segmenter(x)
        shown = torch.where(weight > 0, logits.softmax(1), y)
        of_discriminator.zero_grad()
        real, made = discriminator(x, y), discriminator(x, shown.detach())
        ((softplus(-real).mean() + softplus(made).mean()) / 2).backward()
        of_discriminator.step()
        of_segmenter.zero_grad()
        costs = (cross_entropy(logits, y, reduction="none") * weight[:, 0]).flatten(1).sum(1)
        by_labels = (costs / weight.flatten(1).sum(1)).mean()
        (by_labels + softplus(-discriminator(x, shown)).mean()).backward()
        of_segmenter.step()


def test_two_steps_are_those_written_by_hand(played):
    assert (played.phase.steps, len(played.batches)) == (40, STEPS)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches)
    assert_same(played, by_hand)


def test_a_patch_of_31_is_segmented_and_judged_in_its_inner_15():
    recipe = published(NAME)
    (phase,) = recipe.phases
    (pair,) = phase.feed.sources
    assert pair.patch == (31, 31)
    shown = {name: torch.empty(2, n, 31, 31, device="meta") for name, n in (("input", 3), ("target", 2), ("weight", 1))}
    game = phase.game(recipe.networks, shown)
    assert game.fake_b.shape == game.real_b.shape == game.shown_b.shape == (2, 2, 15, 15)
    assert game.weight.shape == (2, 1, 15, 15)
    assert game.score_fake_pair.shape == game.score_real_pair.shape == (2, 1, 1, 1)
    # The image's stream comes to the labels' grid by itself.
    assert recipe.networks["discriminator"].image(shown["input"]).shape == (2, 64, 15, 15)
    assert recipe.passes[0].margin == 8


def test_layers_are_those_of_the_catalogue():
    networks = published(NAME).networks

    def table(part):
        layers = [one for one in part.modules() if isinstance(one, nn.Conv2d)]
        return [(one.kernel_size[0], one.out_channels, one.stride[0], one.padding[0]) for one in layers]

    segment = networks["generator"].segment
    assert table(segment) == [(3, 64, 1, 0)] * 4 + [(3, 128, 1, 0)] * 4 + [(1, 256, 1, 0), (1, 2, 1, 0)]
    assert [one.p for one in segment if isinstance(one, nn.Dropout2d)] == [0.25, 0.25]
    judge = networks["discriminator"]
    assert table(judge.image) == [(3, 16, 1, 1)] * 3 + [(3, 64, 2, 0)]
    assert table(judge.labels) == [(3, 64, 1, 1)] * 2
    assert table(judge.score) == [(3, 128, 2, 0), (3, 256, 2, 0), (3, 512, 1, 1), (3, 1, 1, 0)]
    # The logit is linear: it can be above and below 0.
    assert isinstance(judge.score[-1], nn.Conv2d)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_voxel_depends_on_the_17_around_it_and_learns_the_label_in_their_middle(dimensions, played):
    network = ValidPatchCNN(dimensions, 1, 2, 2).eval().requires_grad_(False)
    for name, weight in network.named_parameters():
        # With everything above 0 no ReLU hides a path and none cancels another.
        nn.init.constant_(weight, 1 if name.endswith("weight") else 0)
    image = torch.ones(1, 1, *[31] * dimensions, requires_grad=True)
    place = (3, 11, 0)[:dimensions]
    network(image)[(0, 0, *place)].backward()
    expected = torch.zeros([31] * dimensions, dtype=torch.bool)
    expected[tuple(slice(at, at + 17) for at in place)] = True
    assert torch.equal(image.grad[0, 0] != 0, expected)
    target = torch.arange(31**dimensions).reshape(1, 1, *[31] * dimensions)
    learnt = played.phase.game({}, {"target": target}).real_b[(0, 0, *place)]
    assert learnt == target[(0, 0, *(at + 8 for at in place))]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_either_stream_moves_the_logit(dimensions):
    judge = TwoStreamDiscriminator(dimensions, 2, 3, 4)
    image, labels = torch.rand(1, 2, *[31] * dimensions), torch.rand(1, 3, *[15] * dimensions)
    score = judge(image, labels)
    assert score.shape == (1, 1, *[1] * dimensions)
    assert (judge(0 * image, labels) != score).all()
    assert (judge(image, 0 * labels) != score).all()


def test_the_terms_and_their_signs():
    players = {player.name: player for player in published(NAME).phases[0].players}
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 1] = 1
    game = SimpleNamespace(
        fake_b=logits,
        real_b=torch.stack([torch.zeros(2, 2), torch.ones(2, 2)])[None],
        weight=torch.ones(1, 1, 2, 2),
        score_real_pair=torch.tensor([[2.0]]),
        score_fake_pair=torch.tensor([[-1.0]]),
    )
    assert lowered(players["discriminator"], game) == pytest.approx((0.126928 + 0.313262) / 2, abs=1e-5)
    assert lowered(players["segmenter"], game) == pytest.approx(0.313262 + 1.313262, abs=1e-5)
    for player in players.values():
        assert player.schedule(0) == 1
        assert player.schedule(1 / 50) == pytest.approx(0.96)


def test_without_weight_for_the_adversary_cross_entropy_is_alone(toy_study):
    study = toy_study(example=example(NAME))
    alone = build(load(NAME), replace(study, changes={**study.changes, "adversarial": 0}))
    assert [len(player.terms) for player in alone.phases[0].players] == [1]
    assert set(alone.networks) == {"generator"}


def test_tiles_of_any_size_make_one_segmentation_that_lies_where_it_was_read(toy_study):
    recipe = build(load(NAME), toy_study(2, 0, example=example(NAME)))
    networks = {"generator": recipe.networks["generator"]}
    volume = np.random.default_rng(0).uniform(-1, 1, (2, 75, 61)).astype(np.float32)

    def predicted(memory_bytes):
        done = predict(recipe.passes, networks, {"mr": volume}, CPU, memory_bytes=memory_bytes)
        return np.stack([done.volumes[name] for name in recipe.passes[0].writes]), done.account[0]

    (whole, one), (parts, several) = predicted(1e9), predicted(6e6)
    assert " 2 windows" in one
    assert " 2 windows" not in several
    assert np.allclose(whole, parts, atol=1e-5)
    padded = np.pad(volume, ((0, 0), (8, 8), (8, 8)), constant_values=-1)
    with torch.no_grad():
        expected = networks["generator"](torch.from_numpy(padded[:, None])).numpy().swapaxes(0, 1)
    assert np.allclose(whole, expected, atol=1e-5)


def test_a_study_without_labels_is_refused(toy_study):
    with pytest.raises(StudyError, match="no labels"):
        build(load(NAME), toy_study(example=TRANSLATION, levels=None))
