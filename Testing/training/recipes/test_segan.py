"""SegAN against a loop written by hand: one distance that a clipped critic raises and a segmentor lowers."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from by_hand import CPU, assert_same, lowered, published, two_steps
from torch import nn
from torch.optim import RMSprop

from MedGANLogic import recipes
from MedGANLogic.domain import Label, Labels
from MedGANLogic.games.segmentation import Masked
from MedGANLogic.recipe import build
from MedGANLogic.study import SEGMENTATION, StudyError
from MedGANLogic.training import optimizers_of, play


@pytest.fixture
def segan(toy_study):
    return build(recipes.load("segan"), toy_study(2, 0, example=SEGMENTATION))


@pytest.fixture
def batch():
    """Return a batch of 16² whose input is dark in its upper half, and counts but for its last column."""
    random = torch.Generator().manual_seed(0)
    image = 2 * torch.rand(2, 1, 16, 16, generator=random) - 1
    image[:, :, :8] = -1
    lesion = (torch.rand(2, 1, 16, 16, generator=random) > 0.6).float()
    weight = torch.ones(2, 1, 16, 16)
    weight[..., -1] = 0
    return {"input": image, "target": torch.cat([1 - lesion, lesion], 1), "weight": weight}


class Told(nn.Module):
    """A segmentor that says what it was told to say."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, _):
        return self.logits


def distance(critic, image, mask, truth):
    """The mean, over the image and every level of the critic, of each one's mean absolute difference."""
    made, real = critic(image * mask), critic(image * truth)
    return (made - real).abs().mean()


def trained_by_hand(networks, batches):
    segmentor, critic = networks["generator"], networks["discriminator"]
    of_critic = RMSprop(critic.parameters(), lr=2e-5)
    of_segmentor = RMSprop(segmentor.parameters(), lr=2e-5)
    for batch in batches:
        image = torch.where(batch["weight"] > 0, (batch["input"] + 1) / 2, 0)
        truth = batch["target"][:, 1:]
        mask = segmentor(batch["input"]).softmax(1)[:, 1:]
        of_critic.zero_grad()
        (-distance(critic, image, mask.detach(), truth)).backward()
        of_critic.step()
        for weight in critic.parameters():
            weight.data = weight.data.clip(-0.05, 0.05)
        of_segmentor.zero_grad()
        distance(critic, image, mask, truth).backward()
        of_segmentor.step()


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps("segan", toy_study, toy_cohort)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches)
    assert_same(played, by_hand)


def test_after_the_critics_turn_no_weight_exceeds_a_twentieth(toy_study, toy_cohort):
    played = two_steps("segan", toy_study, toy_cohort)
    largest = []

    def watch(game, player, weights):
        largest.append(max(weight.abs().max().item() for weight in played.fresh["discriminator"].parameters()))

    play(played.phase, played.fresh, optimizers_of(played.phase, played.fresh), iter(played.batches), 0, CPU, watch)
    assert largest == [pytest.approx(1, abs=0.1), pytest.approx(0.05)]


def test_what_the_critic_raises_is_what_the_segmentor_lowers_and_nothing_else():
    players = {player.name: player for player in published("segan").phases[0].players}
    game = SimpleNamespace(described_fake=torch.tensor([[0.0, 3.0]]), described_real=torch.tensor([[1.0, 1.0]]))
    assert lowered(players["segmentor"], game) == 1.5
    assert lowered(players["critic"], game) == -1.5
    assert list(players) == ["critic", "segmentor"]


def test_the_distance_is_the_mean_over_the_image_and_three_levels(segan, batch):
    players = {player.name: player for player in segan.phases[0].players}
    game = Masked(segan.networks, batch)
    critic = segan.networks["discriminator"]
    image = torch.where(batch["weight"] > 0, (batch["input"] + 1) / 2, 0)
    made, real = image * game.fake_b.softmax(1)[:, 1:], image * batch["target"][:, 1:]
    levels = [(made - real).abs().mean()]
    for level in critic.levels:
        made, real = level(made), level(real)
        levels.append((made - real).abs().mean())
    assert len(levels) == 4
    assert lowered(players["segmentor"], game) == pytest.approx(torch.stack(levels).mean().item(), rel=1e-4)


def test_where_the_segmentation_is_the_truth_there_is_no_distance(segan, batch):
    (critic, segmentor) = segan.phases[0].players
    game = Masked({**segan.networks, "generator": Told(200 * batch["target"])}, batch)
    assert lowered(segmentor, game) == lowered(critic, game) == 0


def test_the_critic_is_blind_to_what_is_said_where_the_image_is_dark_or_does_not_count(segan, batch):
    logits = torch.zeros(2, 2, 16, 16)
    other = logits.clone()
    other[:, 1, :8] = 5
    other[..., -1] = torch.tensor([3.0, -3.0])[:, None]
    lit = logits.clone()
    lit[:, 1, 12, 3] = 5
    first, dark, seen = (
        Masked({**segan.networks, "generator": Told(said)}, batch).described_fake for said in (logits, other, lit)
    )
    assert torch.equal(first, dark)
    assert not torch.equal(first, seen)


def test_the_segmentor_learns_through_the_critic_alone(segan, batch):
    class Blind(nn.Module):
        def forward(self, image):
            return 0 * image

    said = Told(torch.zeros(2, 2, 16, 16))
    (_, segmentor) = segan.phases[0].players
    game = Masked({"generator": said, "discriminator": Blind()}, batch)
    (term,) = segmentor.terms
    term.value(game).backward()
    assert said.logits.grad.abs().max() == 0


def test_a_mask_of_every_label_on_every_channel_is_seen(toy_study):
    lesions = replace(
        SEGMENTATION.targets["lesion"], window=Labels((Label(1, "core", (9, 9, 9)), Label(4, "rim", (1, 1, 1))))
    )
    study = toy_study(2, 1, example=replace(SEGMENTATION, targets={"lesion": lesions}))
    recipe = build(recipes.load("segan"), study)
    assert recipe.networks["discriminator"].arguments["in_channels"] == 3 * 2
    batch = {"input": torch.arange(3.0).reshape(1, 3, 1, 1) - 1, "weight": torch.ones(1, 1, 1, 1)}
    seen = Masked(recipe.networks, batch).masked(torch.tensor([1.0, 10.0]).reshape(1, 2, 1, 1))
    assert seen.flatten().tolist() == [0, 0, 0.5, 5, 1, 10]


def test_of_one_label_softmax_is_the_sigmoid_of_the_paper(segan, batch):
    game = Masked(segan.networks, batch)
    background, lesion = game.fake_b.unbind(1)
    assert torch.allclose(game.probabilities[:, 1], torch.sigmoid(lesion - background), atol=1e-6)


def test_a_study_without_labels_is_refused(toy_study):
    with pytest.raises(StudyError, match="labels"):
        build(recipes.load("segan"), toy_study())
