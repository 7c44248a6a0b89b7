"""M-GAN against a loop written by hand; what its label channel does."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from by_hand import CPU, assert_same, follow, two_steps
from torch.nn.functional import pad, softplus
from torch.optim import Adam

from MedGANLogic.domain import CT, MR, PET
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.inference.predict import predict
from MedGANLogic.recipe import build
from MedGANLogic.recipes import example, load
from MedGANLogic.study import Study, StudyError
from MedGANLogic.training import optimizers_of, play

NAME = "multichannel-gan-pet"


def trained_by_hand(networks, batches):
    generator, discriminator = networks["generator"], networks["discriminator"]
    adam_d = Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for step, batch in enumerate(batches):
        torch.manual_seed(step)
        ct, label, pet, weight = *batch["input"].split(1, dim=1), batch["target"], batch["weight"]
        fake = generator(torch.cat([ct, label], 1))
        shown = torch.where(weight > 0, fake, pet)
        real = discriminator(torch.cat([ct, label, pet], 1))
        made = discriminator(torch.cat([ct, label, shown.detach()], 1))
        adam_d.zero_grad()
        ((softplus(-real).mean() + softplus(made).mean()) / 2).backward()
        adam_d.step()

        scored = discriminator(torch.cat([ct, label, shown], 1))
        l1 = (((fake - pet).abs() * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)).mean()
        adam_g.zero_grad()
        (softplus(-scored).mean() + 100 * l1).backward()
        adam_g.step()
        follow(generator, networks["generator_average"], step)


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, patch=24)
    assert all(set(np.unique(batch["input"][:, 1])) == {-1, 1} for batch in played.batches)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches)
    statistics = [
        f"{name}.{key}" for name, network in by_hand.items() for key, _ in network.named_buffers() if "average" in name
    ]
    assert_same(played, by_hand, but=statistics)


@pytest.fixture
def system(toy_study):
    return build(load(NAME), toy_study(2, 0, example=example(NAME)))


def test_the_discriminator_sees_ct_label_and_pet_and_the_generator_ct_and_label(system):
    assert system.networks["discriminator"].arguments["in_channels"] == 3
    assert system.networks["generator"].arguments["in_channels"] == 2
    assert system.passes[0].reads == ("ct", "tumour: tumour")


def test_another_label_alone_changes_the_pet_and_the_discriminators_mind(system, toy_study, toy_cohort):
    study = toy_study(2, 0, example=example(NAME))
    phase = system.phases[0]
    batch = Batches(phase.feed, Pool(study, toy_cohort(study)[:2]), (0,))[0]
    other = batch["input"].clone()
    other[:, 1] *= -1
    for network in system.networks.values():
        network.eval()
    games = [phase.game(system.networks, {**batch, "input": shown}) for shown in (batch["input"], other)]
    for name in ("fake_b", "score_real_pair"):
        first, second = (getattr(game, name) for game in games)
        assert (first - second).abs().max() > 0.05 * first.abs().max()


def told(number):
    """Return a batch whose PET is hot where its label is, and whose CT says nothing of that."""
    random = torch.Generator().manual_seed(number)
    label = torch.full((2, 1, 32, 32), -1.0)
    for one, (row, column) in zip(label, torch.randint(0, 22, (2, 2), generator=random).tolist(), strict=True):
        one[:, row : row + 10, column : column + 10] = 1
    ct = 2 * torch.rand(label.shape, generator=random) - 1
    return {"input": torch.cat([ct, label], 1), "target": label * 0.5, "weight": torch.ones_like(label)}


def test_uptake_comes_to_lie_inside_of_the_label(toy_study):
    study = replace(toy_study(2, 0, example=example(NAME), width=8), seed=1)
    study = replace(study, changes={**study.changes, "rate": 2e-3})
    system = build(load(NAME), study)
    phase, networks = system.phases[0], system.networks
    optimizers, batches = optimizers_of(phase, networks), (told(number) for number in range(99))
    for step in range(40):
        torch.manual_seed(step)
        play(phase, networks, optimizers, batches, step, CPU)
    batch = told(1000)
    with torch.no_grad():
        made = networks["generator"].eval()(batch["input"])
    inside = batch["input"][:, 1:] > 0
    assert made[inside].mean() - made[~inside].mean() > 0.5


def test_a_slice_of_200_voxels_is_padded_to_256_and_cropped_to_the_same_voxels():
    study = replace(example(NAME), changes={"width": 2})
    system = build(load(NAME), study)
    average = system.networks["generator_average"].eval()
    volumes = {
        name: (2 * torch.rand(1, 200, 200, generator=torch.Generator().manual_seed(seed)) - 1)
        for seed, name in enumerate(system.passes[0].reads)
    }
    made = predict(system.passes, system.networks, {name: one.numpy() for name, one in volumes.items()}, CPU)
    with torch.no_grad():
        expected = average(pad(torch.stack(list(volumes.values()), 1), (0, 56, 0, 56), value=-1.0))
    assert made.volumes["pet"].shape == (1, 200, 200)
    np.testing.assert_allclose(made.volumes["pet"][0], expected[0, 0, :200, :200].numpy(), atol=1e-5)


@pytest.mark.parametrize("inputs", [{"ct": CT}, {"ct": CT, "mr": MR}, {"tumour": example(NAME).inputs["tumour"]}])
def test_a_study_without_labels_beside_an_image_is_refused(inputs):
    with pytest.raises(StudyError, match="reads labels beside an image"):
        build(load(NAME), Study(inputs, {"pet": PET}, neighbours=0))
