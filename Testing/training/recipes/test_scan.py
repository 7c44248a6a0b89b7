"""SCAN against a loop written by hand: cross entropy alone, then with a critic of image and probabilities."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from by_hand import assert_same, lowered, published, two_steps
from torch.nn.functional import cross_entropy, softplus
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.games.segmentation import Segmented
from MedGANLogic.recipe import build
from MedGANLogic.study import SEGMENTATION, TRANSLATION, StudyError


@pytest.fixture
def scan(toy_study):
    return build(recipes.load("scan"), toy_study(2, 0, example=SEGMENTATION))


@pytest.fixture
def batch():
    """Return a batch of 32² in which all counts."""
    random = torch.Generator().manual_seed(0)
    lesion = (torch.rand(2, 1, 32, 32, generator=random) > 0.6).float()
    image = 2 * torch.rand(2, 1, 32, 32, generator=random) - 1
    return {"input": image, "target": torch.cat([1 - lesion, lesion], 1), "weight": torch.ones(2, 1, 32, 32)}


def segmented(logits, batch):
    costs = cross_entropy(logits.float(), batch["target"], reduction="none") * batch["weight"][:, 0]
    return (costs.flatten(1).sum(1) / batch["weight"].flatten(1).sum(1)).mean()


def trained_by_hand(networks, batches, adversarial):
    segmenter, critic = networks["generator"], networks["discriminator"]
    of_critic, of_segmenter = Adam(critic.parameters(), lr=2e-4), Adam(segmenter.parameters(), lr=2e-4)
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16):
            logits = segmenter(batch["input"])
            thought = torch.where(batch["weight"] > 0, logits.float().softmax(1), batch["target"])
            if adversarial:
                real = softplus(-critic(torch.cat([batch["input"], batch["target"]], 1))).mean()
                fake = softplus(critic(torch.cat([batch["input"], thought.detach()], 1))).mean()
        if adversarial:
            of_critic.zero_grad()
            (real.float() + fake.float()).backward()
            of_critic.step()
        with torch.autocast("cpu", torch.bfloat16):
            loss = segmented(logits, batch)
            if adversarial:
                loss = loss + 0.01 * softplus(-critic(torch.cat([batch["input"], thought], 1))).mean()
        of_segmenter.zero_grad()
        loss.backward()
        of_segmenter.step()


@pytest.mark.parametrize(("place", "still"), [(0, ("discriminator",)), (1, ())], ids=["alone", "adversarial"])
def test_two_steps_are_those_written_by_hand(place, still, toy_study, toy_cohort):
    played = two_steps("scan", toy_study, toy_cohort, place=place, dimensions=2)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches, adversarial=place == 1)
    assert_same(played, by_hand, still=still)


def test_the_critic_has_no_turn_in_the_first_half_and_the_second_goes_on_with_the_same_networks(scan):
    first, second = scan.phases
    assert [player.name for player in first.players] == ["segmenter"]
    assert [player.name for player in second.players] == ["critic", "segmenter"]
    assert first.players[0].moves == second.players[1].moves == ("generator",)
    assert first.steps == second.steps == 20


def test_what_is_lowered_is_what_the_paper_says():
    recipe = published("scan")
    critic, segmenter = recipe.phases[1].players
    sure = {"fake_b": torch.tensor([[[-1.0]], [[1.0]]])[None], "real_b": torch.tensor([[[0.0]], [[1.0]]])[None]}
    scores = {"score_real_pair": torch.tensor([2.0]), "score_fake_pair": torch.tensor([-3.0])}
    game = SimpleNamespace(**sure, **scores, weight=torch.ones(1, 1, 1, 1))
    real, fake = (softplus(torch.tensor(-logit)).item() for logit in (2.0, 3.0))
    missed = softplus(torch.tensor(-2.0)).item()
    assert lowered(critic, game) == pytest.approx(real + fake)
    assert lowered(segmenter, game) == pytest.approx(missed + 0.01 * softplus(torch.tensor(3.0)).item())
    assert lowered(recipe.phases[0].players[0], game) == pytest.approx(missed)


def test_the_critic_sees_probabilities_and_through_them_alone_moves_the_segmenter(scan, batch):
    seen = []
    scan.networks["discriminator"].register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    game = Segmented(scan.networks, batch)
    (_, fooled) = scan.phases[1].players[1].terms
    weights = list(scan.networks["generator"].parameters())
    slopes = torch.autograd.grad(fooled.value(game), weights)
    assert all(slope.abs().max() > 0 for slope in slopes[-3:])
    (joined,) = seen
    image, thought = joined.tensor_split([1], dim=1)
    assert torch.equal(image, batch["input"])
    assert torch.allclose(thought.sum(1), torch.ones(2, 32, 32))
    assert 0 < thought.min() < thought.max() < 1


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (64, 16)])
def test_the_critic_gives_one_logit_whatever_the_size(size, scan):
    critic = scan.networks["discriminator"].eval()
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert critic(image).shape == (2, 1)


def test_without_weight_for_the_adversary_there_is_none(toy_study):
    study = toy_study(2, 0, example=SEGMENTATION)
    recipe = build(recipes.load("scan"), replace(study, changes={**study.changes, "adversarial": 0}))
    assert list(recipe.networks) == ["generator"]
    assert [[player.name for player in phase.players] for phase in recipe.phases] == [["segmenter"]] * 2


def test_volumes_and_studies_without_labels_are_refused(toy_study):
    with pytest.raises(StudyError, match="2 dimensions"):
        build(recipes.load("scan"), toy_study(3, 0, example=SEGMENTATION))
    with pytest.raises(StudyError, match="labels"):
        build(recipes.load("scan"), toy_study(2, 0, example=TRANSLATION))
