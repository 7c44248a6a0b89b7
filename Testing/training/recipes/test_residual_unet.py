"""The residual U-Net against a loop written by hand."""

import math
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bundled import bundled
from by_hand import assert_same, follow, lowered, published, two_steps
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.domain import CT, MR
from MedGANLogic.feeds import Augmentation, Batches, Pool
from MedGANLogic.inference.translate import translate
from MedGANLogic.recipe import build
from MedGANLogic.study import DENOISING, TRANSLATION, Study, StudyError
from MedGANLogic.training import optimizers_of, play, start

NAME = "residual-unet"


def root_of_squares(error, weight):
    return ((error**2 * weight).sum((1, 2, 3, 4)) / weight.sum((1, 2, 3, 4)) + 1e-8).sqrt().mean()


def trained_by_hand(networks, batches, steps):
    generator, average = networks["generator"], networks["generator_average"]
    adam = Adam(generator.parameters(), lr=1e-3)
    for step, batch in enumerate(batches):
        adam.param_groups[0]["lr"] = 1e-3 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item()) / 2
        error = generator(batch["input"]) - batch["target"]
        adam.zero_grad()
        root_of_squares(error, batch["weight"]).backward()
        adam.step()
        follow(generator, average, step)


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches, played.phase.steps)
    assert_same(played, by_hand, spared=0.02)


def test_what_is_lowered_is_each_samples_root_mean_square_and_then_minus_its_psnr():
    error = torch.tensor([[0.5, -0.1], [0.05, -0.01]]).reshape(2, 1, 1, 2)
    weight = torch.tensor([1.0, 3.0]).expand(2, 1, 1, 2)
    game = SimpleNamespace(fake_b=error, real_b=torch.zeros(2, 1, 1, 2), weight=weight)
    squares = [(0.25 + 3 * 0.01) / 4, (0.25 + 3 * 0.01) / 400]
    expected = sum(square**0.5 for square in squares) / 2
    first, then = published(NAME).phases
    assert lowered(first.players[0], game) == pytest.approx(expected, rel=1e-3)
    psnr = [10 * math.log10(1 / square) for square in squares]
    assert lowered(then.players[0], game) == pytest.approx(-sum(psnr) / 2 * math.log(10) / 10, rel=1e-2)
    assert (first.steps, then.steps) == (7200, 4800)


def test_there_is_no_adversary_and_the_average_predicts():
    recipe = published(NAME)
    assert recipe.networks.keys() == {"generator", "generator_average"}
    assert [one.network for one in recipe.passes] == ["generator_average"]
    assert recipe.phases[0].players[0].after[0].decay == 0.998


def test_patches_are_mirrored_and_turned_but_never_interpolated_or_shaded(toy_study, toy_cohort):
    (pair,) = published(NAME).phases[0].feed.sources
    assert pair.augmentation == Augmentation(contrast=0, noise=(0.1, 2.0), recorrupted=(0.5, 1.0))
    study = toy_study(2, 0, example=DENOISING)
    recipe = build(recipes.load(NAME), study)
    pool = Pool(study, toy_cohort(study)[:1])
    known = set(
        pool.scales[0]["full"].to_network(pool.cases[0].in_unit("full", pool.volumes[0]["full"])).flatten().tolist()
    )
    assert set(Batches(recipe.phases[0].feed, pool, (0,))[0]["target"].flatten().tolist()) <= known


def test_an_untrained_network_returns_its_input_and_a_trained_one_is_nearer_to_the_target(toy_study, toy_cohort):
    study = toy_study(2, 1, example=DENOISING, patch=24, batch=4, width=16, rate=3e-3, steps=200)
    recipe = build(recipes.load(NAME), study)
    state, phase = start(recipe, torch.device("cpu")), recipe.phases[0]
    pool = Pool(study, toy_cohort(study)[:2])
    drawn = Batches(phase.feed, pool, (0,))
    batch = drawn[1000]
    off = [(batch["input"][:, 1:2] - batch["target"]).square().mean()]
    assert torch.equal(state.networks["generator"](batch["input"]), batch["input"][:, 1:2])
    optimizers, numbers = optimizers_of(phase, state.networks), iter(range(120))
    for step in range(120):
        play(phase, state.networks, optimizers, (drawn[number] for number in numbers), step, torch.device("cpu"))
    off.append((state.networks["generator_average"](batch["input"]) - batch["target"]).square().mean())
    assert off[1] < 0.9 * off[0]


@pytest.mark.parametrize("name", [NAME, "residual-unet-gan", "red-cnn", "ldct-gan-wolterink"])
@pytest.mark.parametrize(
    "study",
    [
        replace(TRANSLATION, dimensions=3),
        replace(DENOISING, inputs={"low": CT, "mr": MR}),
        replace(DENOISING, inputs={"low": CT}),
    ],
    ids=["another modality", "one more input", "another window"],
)
def test_what_is_corrected_must_be_of_the_targets_domain(name, study):
    with torch.device("meta"), pytest.raises(StudyError, match="corrects what it reads"):
        build(recipes.load(name), study)


def test_a_studys_roles_may_be_named_and_given_a_domain_by_name():
    said = {"inputs": {"low": "ct"}, "targets": {"full": "ct"}, "strength": 1.0}
    assert Study.from_json(said) == Study({"low": CT}, {"full": CT}, strength=1.0)
    assert Study.from_json({**said, "inputs": ["low"], "targets": ["full"]}) == DENOISING
    with pytest.raises(StudyError, match="role 'low' has no default domain"):
        Study.from_json({**said, "inputs": {"low": "xray"}})


@pytest.mark.parametrize("name", [NAME, "residual-unet-gan", "ldct-gan-wolterink"])
def test_what_has_learnt_nothing_returns_an_image_as_it_is_metal_and_padding_too(name, toy_study, toy_case, tmp_path):
    study = toy_study(2, 1, example=DENOISING)
    bundle = bundled(build(recipes.load(name), study), build(recipes.load(name), study).networks, study, tmp_path)
    image = toy_case("T", "test", 9).image("ct", CT)
    image.voxels[0, 20, 18, 6] = 9000
    image.voxels[0, :3] = -3024
    made = translate(bundle, image, device="cpu", force=True).image
    assert np.allclose(made.voxels, image.voxels, atol=1e-3)


def test_two_images_are_corrected_each_from_its_own_slices(toy_study):
    study = toy_study(2, 1, example=replace(DENOISING, inputs={"a": CT, "b": CT}, targets={"c": CT, "d": CT}))
    generator = build(recipes.load(NAME), study).networks["generator"]
    image = torch.rand(1, 6, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(generator(image), image[:, [1, 4]])
