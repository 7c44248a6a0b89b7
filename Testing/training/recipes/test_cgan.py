"""Conditional GAN against a loop written by hand; what it is told matters to both networks."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bundled import bundled
from by_hand import STEPS, assert_same, lowered, players_of, two_steps
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from MedGANLogic.chance import ChanceError, Condition, Uniform
from MedGANLogic.inference.translate import sample
from MedGANLogic.recipe import build
from MedGANLogic.recipes import load
from MedGANLogic.study import CLASSES, GENERATION, TRANSLATION, StudyError


@pytest.fixture(scope="module")
def once(toy_study, toy_cohort):
    return two_steps("cgan", toy_study, toy_cohort)


@pytest.fixture
def played(once):
    return deepcopy(once)


def said(logits, truth):
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def told(image, condition):
    planes = [torch.full_like(image[:, :1], 1) * number.reshape(-1, 1, 1, 1, 1) for number in condition.T]
    return torch.cat([image, *planes], dim=1)


def test_two_steps_are_those_of_equation_2_written_by_hand(played):
    networks = deepcopy(played.fresh)
    generator, discriminator = networks["generator"], networks["discriminator"]
    of_generator, of_discriminator = (
        Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (generator, discriminator)
    )
    assert len(played.batches) == STEPS
    for batch in played.batches:
        image, condition = batch["image"], batch["condition"]
        fake = generator(torch.cat([batch["noise"], condition], dim=1))
        of_discriminator.zero_grad()
        real, made = discriminator(told(image, condition)), discriminator(told(fake.detach(), condition))
        (said(real, 1.0) + said(made, 0.0)).backward()
        of_discriminator.step()
        of_generator.zero_grad()
        said(discriminator(told(fake, condition)), 1.0).backward()
        of_generator.step()
    assert_same(played, networks)


def test_the_real_images_condition_is_what_the_table_says(played):
    conditions = torch.cat([batch["condition"] for batch in played.batches])
    assert conditions.shape == (2 * STEPS, 2)
    assert torch.equal(conditions.sum(1), torch.ones(2 * STEPS))
    # Both classes were drawn: otherwise the loop by hand proves little.
    assert len(conditions.unique(dim=0)) == 2


def test_the_objective_at_known_logits():
    players = players_of("cgan")
    game = SimpleNamespace(score_real=torch.tensor([3.0]), score_fake=torch.tensor([-1.0]))
    real, fake = torch.sigmoid(torch.tensor([3.0, -1.0])).tolist()
    assert lowered(players["discriminator"], game) == pytest.approx(-np.log(real) - np.log(1 - fake))
    assert lowered(players["generator"], game) == pytest.approx(-np.log(fake))


def test_with_the_same_noise_another_class_gives_another_image(played):
    generator, noise = played.networks["generator"].eval(), torch.zeros(1, 100)
    first, second = (generator(torch.cat([noise, one], dim=1)) for one in torch.eye(2).split(1))
    assert not torch.equal(first, second)


def test_the_discriminators_logit_of_an_image_changes_with_what_it_is_told(played):
    batch = played.batches[0]
    other = {**batch, "condition": 1 - batch["condition"]}
    networks = {name: network.eval() for name, network in played.networks.items()}
    own, turned = (played.phase.game(networks, one).score_real for one in (batch, other))
    assert not torch.equal(own, turned)


def test_a_class_can_be_asked_for_by_name(played, toy_study, tmp_path):
    study = toy_study(3, 0, example=CLASSES, patch=16)
    bundle = bundled(played.recipe, played.networks, study, tmp_path)
    first, again, other = (
        sample(bundle, seed=5, choices={"class": name}, device="cpu")[0].image.voxels for name in ("t1", "t1", "t2")
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    with pytest.raises(ChanceError, match=r"t3.*t1, t2"):
        sample(bundle, seed=5, choices={"class": "t3"}, device="cpu")


def test_prediction_draws_what_training_drew(played):
    assert played.recipe.chance == {"noise": Uniform((100,), -1, 1), "condition": Condition(("t1", "t2"))}
    assert played.recipe.passes[0].reads == ("noise", "condition")


def test_numbers_can_be_asked_for_as_well(toy_study):
    study = replace(toy_study(example=GENERATION), attributes={"age": (20.0, 80.0)})
    recipe = build(load("cgan"), study)
    assert recipe.networks["generator"].arguments["latent"] == 101
    assert recipe.networks["discriminator"].arguments["in_channels"] == 2


def test_a_study_that_asks_for_nothing_is_refused(toy_study):
    with pytest.raises(StudyError, match="needs classes or attributes"):
        build(load("cgan"), toy_study(example=GENERATION))


def test_a_study_with_an_image_to_begin_with_is_refused():
    study = replace(TRANSLATION, classes=("t1", "t2"))
    with pytest.raises(StudyError, match="makes images of chance: the study has the input mr"):
        build(load("cgan"), study)
