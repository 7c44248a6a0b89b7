"""The U-Net against a judge of label maps: a loop written by hand, what the judge sees, and the U-Net alone."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from by_hand import STEPS, assert_same, follow, lowered, players_of, two_steps
from torch.nn.functional import softplus
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.games.segmentation import Segmented
from MedGANLogic.parts.generators.plain_unet import FineUNet
from MedGANLogic.recipe import build
from MedGANLogic.study import SEGMENTATION

NAME = "unet-adversarial"


def trained_by_hand(networks, batches, steps):
    generator, discriminator = networks["generator"], networks["discriminator"]
    adam_d, adam_g = (Adam(one.parameters(), lr=1e-3) for one in (discriminator, generator))
    for step, batch in enumerate(batches):
        for adam in (adam_d, adam_g):
            adam.param_groups[0]["lr"] = 1e-3 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item()) / 2
        image, labels, weight = batch["input"], batch["target"], batch["weight"]
        logits = generator(image)
        likely = logits.softmax(1)
        shown = torch.where(weight > 0, likely, labels)
        adam_d.zero_grad()
        real = discriminator(torch.cat([image, labels], 1))
        made = discriminator(torch.cat([image, shown.detach()], 1))
        (softplus(-real).mean() + softplus(made).mean()).backward()
        adam_d.step()

        each = -(labels * logits.log_softmax(1)).sum(1, keepdim=True)
        entropy = ((each * weight).sum((1, 2, 3, 4)) / weight.sum((1, 2, 3, 4))).mean()
        both = (weight * likely * labels)[:, 1:].sum((2, 3, 4))
        sizes = (weight * (likely**2 + labels**2))[:, 1:].sum((2, 3, 4))
        adam_g.zero_grad()
        discriminator.requires_grad_(False)
        fooled = softplus(-discriminator(torch.cat([image, shown], 1))).mean()
        (entropy + (1 - (2 * both + 1) / (sizes + 1)).mean() + 0.02 * fooled).backward()
        discriminator.requires_grad_(True)
        adam_g.step()
        follow(generator, networks["generator_average"], step)


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort)
    assert len(played.batches) == STEPS
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches, played.phase.steps)
    assert_same(played, by_hand, spared=0.05)


def test_what_is_lowered_is_entropy_dice_and_a_little_of_the_judges_doubt():
    game = SimpleNamespace(
        fake_b=torch.tensor([[[0.0], [0.0]]]),
        probabilities=torch.tensor([[[0.5], [0.5]]]),
        real_b=torch.tensor([[[0.0], [1.0]]]),
        weight=torch.ones(1, 1, 1),
        score_real_pair=torch.tensor([0.0]),
        score_fake_pair=torch.tensor([0.0]),
    )
    doubt = torch.tensor(2.0).log().item()
    players = players_of(NAME)
    assert lowered(players["discriminator"], game) == pytest.approx(2 * doubt)
    # Dice of a half and one: (2·½ + 1) / (¼ + 1 + 1).
    assert lowered(players["generator"], game) == pytest.approx(doubt + (1 - 2 / 2.25) + 0.02 * doubt)


def test_the_judge_sees_probabilities_and_the_truth_where_a_voxel_does_not_count():
    batch = {
        "input": torch.zeros(1, 1, 4, 4),
        "target": torch.eye(2)[torch.ones(16, dtype=int)].T.reshape(1, 2, 4, 4),
        "weight": torch.ones(1, 1, 4, 4),
    }
    batch["weight"][..., :2] = 0
    game = Segmented({"generator": lambda _: torch.zeros(1, 2, 4, 4)}, batch)
    assert torch.equal(game.shown_b[..., :2], batch["target"][..., :2])
    assert (game.shown_b[..., 2:] == 0.5).all()


def test_without_adversary_the_same_network_learns_alone(toy_study):
    study = toy_study(3, 0, example=SEGMENTATION)
    with_judge = build(recipes.load(NAME), study)
    alone = build(recipes.load(NAME), replace(study, changes={**study.changes, "adversarial": 0}))
    assert alone.networks.keys() == {"generator", "generator_average"}
    assert [player.name for player in alone.phases[0].players] == ["generator"]
    assert alone.networks["generator"].arguments == with_judge.networks["generator"].arguments


@pytest.mark.parametrize(("plane", "axis"), [("axial", 1), ("sagittal", 0)])
def test_sides_that_labels_know_nothing_of_are_mirrored_in_prediction_too(toy_study, plane, axis):
    study = replace(toy_study(2, 1, example=SEGMENTATION), plane=plane)
    assert [one.mirrored for one in build(recipes.load(NAME), study).passes] == [()]
    recipe = build(recipes.load(NAME), replace(study, mirrors=("R",)))
    assert [one.mirrored for one in recipe.passes[:-1]] == [(), (axis,)]
    assert recipe.passes[-1].writes == study.written


@pytest.mark.parametrize(("dimensions", "levels"), [(2, 3), (3, 2)])
def test_the_u_net_answers_on_its_inputs_grid_and_begins_undecided(dimensions, levels):
    torch.manual_seed(0)
    network = FineUNet(dimensions, 2, 3, width=4, levels=levels)
    logits = network(torch.randn(2, 2, *[8] * dimensions))
    assert logits.shape == (2, 3, *[8] * dimensions)
    assert logits.abs().max() < 0.5
