"""SSNet against a loop written by hand: Dice, a history of segmentations, and views from several sides."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from by_hand import CPU, STEPS, Played, assert_same, lowered
from torch.nn.functional import softplus
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.inference.predict import predict
from MedGANLogic.parts.generators.segmentor import SummedUNet
from MedGANLogic.recipe import build
from MedGANLogic.study import SEGMENTATION, StudyError
from MedGANLogic.training import play, start


@pytest.fixture
def ssnet(toy_study):
    """Return a maker of the recipe at toy width, with changes."""

    def make(dimensions=2, neighbours=0, **changes):
        study = toy_study(dimensions, neighbours, example=SEGMENTATION)
        toy = {name: value for name, value in study.changes.items() if name != "levels"}
        return build(recipes.load("ssnet"), replace(study, changes={**toy, **changes}))

    return make


@pytest.fixture
def played(ssnet, toy_study, toy_cohort):
    """Return two steps, with a history that is full after the first."""
    recipe, study = ssnet(), toy_study(2, 0, example=SEGMENTATION)
    recipe.networks["pool"].size = 2
    phase, state = recipe.phases[0], start(recipe, CPU)
    drawn = Batches(phase.feed, Pool(study, [case for case in toy_cohort(study) if case.part == "train"][:2]), (0,))
    batches = [drawn[number] for number in range(STEPS)]
    fresh, left = deepcopy(dict(state.networks)), iter(batches)
    for step in range(STEPS):
        losses = play(phase, state.networks, state.optimizers, left, step, CPU)
    return Played(recipe, phase, fresh, state.networks, batches, losses)


def dice_loss(thought, target, weight):
    lesion, true = (weight[:, 0].sqrt() * shares[:, 1] for shares in (thought, target))
    both, each = (2 * lesion * true).sum((1, 2)), (lesion**2 + true**2).sum((1, 2))
    return 1 - ((both + 1) / (each + 1)).mean()


def trained_by_hand(networks, batches):
    segmenter, judge, pool = (networks[name] for name in ("generator", "discriminator", "pool"))
    adam_d = Adam(judge.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_s = Adam(segmenter.parameters(), lr=1e-4, weight_decay=1e-5)
    for batch in batches:
        image, target, weight = batch["input"], batch["target"], batch["weight"]
        with torch.autocast("cpu", torch.bfloat16):
            thought = segmenter(image).float().softmax(1)
            shown = torch.cat([image, torch.where(weight > 0, thought, target)], 1)
            real = softplus(-judge(torch.cat([image, target], 1))).mean()
            fake = softplus(judge(pool(shown.detach()))).mean()
        adam_d.zero_grad()
        (real.float() + fake.float()).backward()
        adam_d.step()
        with torch.autocast("cpu", torch.bfloat16):
            fooled = softplus(-judge(shown)).mean()
        adam_s.zero_grad()
        (dice_loss(thought, target, weight) + 0.01 * fooled.float()).backward()
        adam_s.step()


def test_two_steps_are_those_written_by_hand(played):
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches)
    assert_same(played, by_hand)


def test_what_is_lowered_is_what_the_paper_says(ssnet):
    judge, segmenter = ssnet().phases[0].players
    thought, true = torch.tensor([[[[0.75, 0.5]], [[0.25, 0.5]]]]), torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    scores = {"score_real_pair": 1.0, "score_pooled_pair": -2.0, "score_fake_pair": 3.0}
    game = SimpleNamespace(
        probabilities=thought,
        real_b=true,
        weight=torch.ones(1, 1, 1, 2),
        **{name: torch.tensor([value]) for name, value in scores.items()},
    )
    cost = {logit: softplus(torch.tensor(-logit)).item() for logit in (1.0, 2.0, 3.0)}
    assert lowered(judge, game) == pytest.approx(cost[1.0] + cost[2.0])
    dice = (2 * 0.5 + 1) / (0.25**2 + 0.5**2 + 1 + 1)
    assert lowered(segmenter, game) == pytest.approx(1 - dice + 0.01 * cost[3.0])


def test_dice_is_0_at_the_truth_and_knows_no_background(ssnet):
    recipe = ssnet()
    dice, _ = recipe.phases[0].players[1].terms
    true = torch.zeros(2, 2, 8, 8)
    true[:, 1, 2:5, 2:5] = 1
    other = true.clone()
    other[:, 0] = 0.3
    game = SimpleNamespace(probabilities=true, real_b=true, weight=torch.ones(2, 1, 8, 8))
    assert dice.value(game) == 0
    assert dice.value(SimpleNamespace(**{**vars(game), "probabilities": other})) == 0


def test_the_judge_reads_image_and_classes(ssnet):
    assert ssnet().networks["discriminator"].arguments["in_channels"] == 1 + 2
    assert ssnet(neighbours=1).networks["discriminator"].arguments["in_channels"] == 3 + 2
    assert ssnet().networks["pool"].size == 10


def test_the_judge_alone_learns_from_earlier_segmentations(ssnet, played):
    recipe = ssnet()
    recipe.networks["pool"].size = 2
    for batch in played.batches:
        game = recipe.phases[0].game(recipe.networks, batch)
        pooled = game.score_pooled_pair
        assert torch.equal(game.score_pooled_pair, pooled)
    weights = list(recipe.networks["generator"].parameters())
    assert torch.autograd.grad(pooled.sum(), weights, allow_unused=True) == (None,) * len(weights)
    assert all(slope.any() for slope in torch.autograd.grad(game.score_fake_pair.sum(), weights[-2:]))


def test_three_views_are_learnt_from_and_their_mean_probability_is_written(ssnet):
    recipe = ssnet()
    (source,) = recipe.phases[0].feed.sources
    assert source.views == 3
    volume = np.random.default_rng(0).uniform(-1, 1, (32, 40, 36)).astype(np.float32)
    torch.manual_seed(0)
    network = SummedUNet(2, 1, 2, 4, 2)
    torch.nn.init.normal_(network.output.weight)
    done = predict(recipe.passes, {"generator": network}, {"mr": volume}, CPU).volumes
    views = [one for one in recipe.passes if one.networks]
    assert [one.axis for one in views] == [0, 1, 2]
    each = torch.stack([torch.tensor(np.stack([done[name] for name in one.writes])).softmax(0) for one in views])
    assert (each[0] - each[2]).abs().max() > 0.1
    (classes,) = {one.writes for one in recipe.passes} - {one.writes for one in views}
    fused = torch.tensor(np.stack([done[name] for name in classes])).softmax(0)
    assert torch.allclose(fused, each.mean(0), atol=1e-5)


def test_one_view_is_the_studys_plane_alone(ssnet):
    recipe = ssnet(views=1)
    assert [(one.axis, one.network) for one in recipe.passes] == [(0, "generator")]
    assert [source.views for source in recipe.phases[0].feed.sources] == [1]
    assert "views 1 (paper: 3)" in recipe.departures


@pytest.mark.parametrize(
    ("changes", "said"), [({"views": 4}, "4 views: expected 1 to 3"), ({"views": 0}, "views is 0")]
)
def test_views_that_there_are_not_are_refused(changes, said, ssnet):
    with pytest.raises(StudyError, match=said):
        ssnet(**changes)


def test_volumes_are_refused(ssnet):
    with pytest.raises(StudyError, match="2 dimensions"):
        ssnet(dimensions=3)
