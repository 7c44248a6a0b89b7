"""DI2IN-AN against a loop written by hand: every branch is told the truth, the last one is judged by its mask alone."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from by_hand import assert_same, lowered, two_steps
from torch.nn.functional import cross_entropy, interpolate, softplus
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.games.segmentation import DeeplySupervised
from MedGANLogic.recipe import build
from MedGANLogic.study import ORGAN, StudyError


@pytest.fixture
def di2in(toy_study):
    """Return a maker of the recipe at toy width, with changes."""

    def make(dimensions=3, **changes):
        study = toy_study(dimensions, 0, example=ORGAN, patch=16)
        return build(recipes.load("di2in-an"), replace(study, changes={**study.changes, **changes}))

    return make


@pytest.fixture
def batch():
    random = torch.Generator().manual_seed(0)
    liver = (torch.rand(2, 1, 16, 16, 16, generator=random) > 0.6).float()
    image = 2 * torch.rand(2, 1, 16, 16, 16, generator=random) - 1
    return {"input": image, "target": torch.cat([1 - liver, liver], 1), "weight": torch.ones(2, 1, 16, 16, 16)}


def branches_by_hand(network, image):
    """What a U-Net of three levels thinks on its way up, scored and enlarged."""
    fine = network.down[0](image)
    middle = network.down[1](network.shrink(fine))
    deep = network.down[2](network.shrink(middle))
    middle = network.up[0](torch.cat([interpolate(deep, scale_factor=2.0), middle], 1))
    fine = network.up[1](torch.cat([interpolate(middle, scale_factor=2.0), fine], 1))
    coarse, finest = network.outputs[0](middle), network.outputs[1](fine)
    return interpolate(coarse, scale_factor=2.0, mode="trilinear", align_corners=False), finest


def trained_by_hand(networks, batches):
    segmenter, judge = networks["generator"], networks["discriminator"]
    adam_s, adam_d = Adam(segmenter.parameters(), lr=1e-3), Adam(judge.parameters(), lr=1e-4)
    for batch in batches:
        target, weight = batch["target"], batch["weight"]
        branches = branches_by_hand(segmenter, batch["input"])
        shown = torch.where(weight > 0, branches[-1].softmax(1), target)
        adam_d.zero_grad()
        (softplus(-judge(target)).mean() + softplus(judge(shown.detach())).mean()).backward()
        adam_d.step()
        loss = 0.01 * softplus(-judge(shown)).mean()
        for logits in branches:
            costs = cross_entropy(logits, target, reduction="none") * weight[:, 0]
            loss = loss + (costs.flatten(1).sum(1) / weight.flatten(1).sum(1)).mean()
        adam_s.zero_grad()
        loss.backward()
        adam_s.step()


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps("di2in-an", toy_study, toy_cohort)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches)
    assert_same(played, by_hand)


def test_what_is_lowered_is_what_the_paper_says(di2in):
    judge, segmenter = di2in().phases[0].players
    logits = torch.tensor([[[1.0, -1.0], [0.0, 2.0]]]).reshape(1, 2, 2, 1, 1, 1)
    true = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1, 1)
    scores = {"score_real": torch.tensor([2.0]), "score_fake": torch.tensor([-3.0])}
    game = SimpleNamespace(branches=logits, real_b=true, weight=torch.ones(1, 1, 1, 1, 1), **scores)
    real, fake, fooled, first, second = (softplus(torch.tensor(one)).item() for one in (-2.0, -3.0, 3.0, 2.0, -2.0))
    assert lowered(judge, game) == pytest.approx(real + fake)
    assert lowered(segmenter, game) == pytest.approx(first + second + 0.01 * fooled)


def test_each_branch_teaches_its_own_head_and_no_other(di2in, batch):
    recipe = di2in(levels=4)
    heads = [output.weight for output in recipe.networks["generator"].outputs]
    assert len(heads) == 3
    game = DeeplySupervised(recipe.networks, batch)
    told, _ = recipe.phases[0].players[1].terms
    for place in range(3):
        alone = SimpleNamespace(branches=game.branches[:, [place]], real_b=game.real_b, weight=game.weight)
        slopes = torch.autograd.grad(told.value(alone), heads, retain_graph=True)
        assert [bool(slope.any()) for slope in slopes] == [number == place for number in range(3)]


def test_the_judge_teaches_the_last_head_alone(di2in, batch):
    recipe = di2in(levels=4)
    game = DeeplySupervised(recipe.networks, batch)
    _, fooled = recipe.phases[0].players[1].terms
    heads = [output.weight for output in recipe.networks["generator"].outputs]
    assert [bool(slope.any()) for slope in torch.autograd.grad(fooled.value(game), heads)] == [False, False, True]


def test_the_judge_sees_the_mask_alone(di2in, batch):
    recipe = di2in()
    assert recipe.networks["discriminator"].arguments["in_channels"] == 2
    networks = {**{name: network.eval() for name, network in recipe.networks.items()}}
    logits = torch.randn(2, 1, 2, 16, 16, 16)

    class Told(torch.nn.Module):
        def branches(self, _image):
            return logits

    scores = [
        DeeplySupervised({**networks, "generator": Told()}, {**batch, "input": image}).score_fake
        for image in (batch["input"], -batch["input"])
    ]
    assert torch.equal(*scores)
    logits = -logits
    assert not torch.equal(scores[0], DeeplySupervised({**networks, "generator": Told()}, batch).score_fake)


def test_what_predicts_is_the_finest_branch(di2in, batch):
    network = di2in().networks["generator"].eval()
    branches = network.branches(batch["input"])
    assert branches.shape == (2, 2, 2, 16, 16, 16)
    assert torch.equal(branches[:, -1], network(batch["input"]))
    assert not torch.allclose(branches[:, 0], branches[:, -1], atol=1e-3)


def test_it_is_as_wide_as_its_table_says():
    with torch.device("meta"):
        network = build(recipes.load("di2in-an"), ORGAN).networks["generator"]
    assert [block[-3].out_channels for block in network.down] == [16, 32, 64, 128, 256]
    assert [output.in_channels for output in network.outputs] == [128, 64, 32, 16]


def test_slices_and_a_network_without_a_way_up_are_refused(di2in):
    with pytest.raises(StudyError, match="3 dimensions"):
        di2in(dimensions=2)
    with pytest.raises(StudyError, match="levels is 1"):
        di2in(levels=1)
