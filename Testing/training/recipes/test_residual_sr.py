"""The network that magnifies: a loop written by hand, what it is before it learnt, and where its result lies."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bundled import bundled
from by_hand import STEPS, assert_same, follow, lowered, players_of, two_steps
from torch.nn.functional import interpolate
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.degradation import Averaged
from MedGANLogic.domain import CT
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.images import Image
from MedGANLogic.inference.translate import translate
from MedGANLogic.recipe import build
from MedGANLogic.study import SUPER_RESOLUTION, TRANSLATION, StudyError
from MedGANLogic.training import optimizers_of, play, start

NAME = "residual-sr"


def trained_by_hand(networks, batches, steps):
    generator, discriminator = networks["generator"], networks["discriminator"]
    adam_d, adam_g = (Adam(one.parameters(), lr=1e-3) for one in (discriminator, generator))
    for step, batch in enumerate(batches):
        for adam in (adam_d, adam_g):
            adam.param_groups[0]["lr"] = 1e-3 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item()) / 2
        y, weight = batch["target"], batch["weight"]
        fake = generator(batch["input"])
        shown = torch.where(weight > 0, fake, y)
        adam_d.zero_grad()
        real, made = discriminator(y), discriminator(shown.detach())
        (((real - 1) ** 2).mean() / 2 + (made**2).mean() / 2).backward()
        adam_d.step()

        near = (((fake - y).abs() * weight).sum((1, 2, 3, 4)) / weight.sum((1, 2, 3, 4))).mean()
        adam_g.zero_grad()
        discriminator.requires_grad_(False)
        (near + 0.01 * ((discriminator(shown) - 1) ** 2).mean() / 2).backward()
        discriminator.requires_grad_(True)
        adam_g.step()
        follow(generator, networks["generator_average"], step)


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort)
    assert len(played.batches) == STEPS
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches, played.phase.steps)
    assert_same(played, by_hand, spared=0.05)


def test_what_is_lowered_is_l1_and_a_hundredth_of_the_judges_distance():
    images = {"fake_b": torch.full((1, 1, 1, 1), 0.5), "real_b": torch.zeros(1, 1, 1, 1)}
    game = SimpleNamespace(
        score_real=torch.tensor([2.0]), score_fake=torch.tensor([-1.0]), weight=torch.ones(1, 1, 1, 1), **images
    )
    players = players_of(NAME)
    assert lowered(players["discriminator"], game) == 0.5 + 0.5
    assert lowered(players["generator"], game) == pytest.approx(0.5 + 0.01 * 2)


def test_without_weight_the_adversary_is_left_out(toy_study):
    study = toy_study(2, 0, example=SUPER_RESOLUTION)
    recipe = build(recipes.load(NAME), replace(study, changes={**study.changes, "adversarial": 0}))
    assert recipe.networks.keys() == {"generator", "generator_average"}
    assert [player.name for player in recipe.phases[0].players] == ["generator"]
    assert [one.network for one in recipe.passes] == ["generator_average"]


@pytest.mark.parametrize(
    ("dimensions", "neighbours", "by"), [(2, 1, 2), (2, 0, (1, 1, 3)), (3, 0, 2), (3, 0, (4, 1, 1))], ids=str
)
def test_what_has_learnt_nothing_interpolates_its_own_slice(dimensions, neighbours, by, toy_study):
    study = replace(toy_study(dimensions, neighbours, example=SUPER_RESOLUTION), made={"mr": Averaged("fine", by)})
    network = build(recipes.load(NAME), study).networks["generator"]
    size = (6, 8, 10)[-dimensions:]
    image = torch.rand(2, study.in_channels, *size, generator=torch.Generator().manual_seed(0))
    factors = study.factors[-dimensions:]
    made = network(image)
    assert made.shape == (2, 1, *(n * f for n, f in zip(size, factors, strict=True)))
    mode = {2: "bicubic", 3: "trilinear"}[dimensions]
    expected = interpolate(image[:, neighbours : neighbours + 1], scale_factor=factors, mode=mode)
    assert torch.allclose(made, expected)


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (replace(TRANSLATION, neighbours=0), "needs an input that is made of its target"),
        (replace(SUPER_RESOLUTION, targets={"fine": CT}), "corrects what it reads"),
    ],
    ids=["nothing coarser", "another modality"],
)
def test_what_it_cannot_magnify_is_refused(example, reason):
    with torch.device("meta"), pytest.raises(StudyError, match=reason):
        build(recipes.load(NAME), example)


AFFINES = {
    "flipped": np.array([[-1.0, 0, 0, 90], [0, -1.2, 0, 60], [0, 0, 4.0, -30], [0, 0, 0, 1]]),
    "permuted": np.array([[0, 0, 1.0, -8], [1.2, 0, 0, 5], [0, 4.0, 0, 1], [0, 0, 0, 1]])[[0, 1, 2, 3]],
}
TURN = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])


@pytest.mark.parametrize(
    ("dimensions", "by", "placed"),
    [
        (3, (4, 1, 1), "flipped"),
        (3, (4, 1, 1), "oblique"),
        (3, (4, 2, 2), "permuted"),
        (2, (1, 2, 2), "permuted"),
        (2, (1, 2, 2), "oblique"),
    ],
    ids=str,
)
def test_its_result_fills_the_same_box_and_moves_nothing(dimensions, by, placed, toy_study, tmp_path):
    study = replace(toy_study(dimensions, 0, example=SUPER_RESOLUTION), made={"mr": Averaged("fine", by)})
    recipe = build(recipes.load(NAME), study)
    bundle = bundled(recipe, recipe.networks, study, tmp_path)
    affine = AFFINES.get(placed, AFFINES["flipped"]).copy()
    if placed == "oblique":
        affine[:3, :3] = TURN @ affine[:3, :3]
    shape = (12, 14, 10)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    # A bright ball in a body; its centre of mass says where the image is.
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")).astype(float)
    off = (voxels - np.array([6.2, 6.7, 4.6])[:, None, None, None]) * (steps / steps.min())[:, None, None, None]
    ball = 200 + 800 * np.exp(-(off**2).sum(0) / (2 * 6.0**2))
    given = Image(ball[None].astype(np.float32), affine, "none")
    made = translate(bundle, given, device="cpu", force=True).image
    order = np.abs(affine[:3, :3]).argmax(axis=0)
    times = tuple(study.finer_axes[world] for world in order)
    assert made.grid.matches(given.grid.finer(times), tolerance_mm=0.01)
    assert made.voxels.shape[1:] == tuple(n * t for n, t in zip(shape, times, strict=True))
    # Of a coarse voxel, of which a linear slope cut at 500 costs as much.
    assert np.abs(np.linalg.solve(affine[:3, :3], centre(made) - centre(given))).max() < 0.03


def centre(image):
    """Return the centre of what is bright, in mm."""
    weight = np.clip(image.voxels[0] - 500.0, 0, None)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in weight.shape), indexing="ij"), -1)
    mean = (places * weight[..., None]).sum((0, 1, 2)) / weight.sum()
    return image.affine[:3, :3] @ mean + image.affine[:3, 3]


def test_a_trained_network_is_nearer_than_interpolation(toy_study, toy_cohort):
    study = toy_study(2, 1, example=SUPER_RESOLUTION, patch=16, batch=4, width=8, levels=2, rate=3e-3, steps=120)
    study = replace(study, made={"mr": Averaged("fine", 2)}, changes={**study.changes, "adversarial": 0})
    recipe = build(recipes.load(NAME), study)
    state, phase = start(recipe, torch.device("cpu")), recipe.phases[0]
    drawn = Batches(phase.feed, Pool(study, toy_cohort(study)[:2]), (0,))
    batch = drawn[1000]

    def off():
        made = state.networks["generator_average"](batch["input"])
        return ((made - batch["target"]).square() * batch["weight"]).mean()

    before, numbers = off(), iter(range(80))
    optimizers = optimizers_of(phase, state.networks)
    for step in range(80):
        play(phase, state.networks, optimizers, (drawn[number] for number in numbers), step, torch.device("cpu"))
    assert off() < 0.9 * before


def test_contrast_is_left_alone_and_nothing_is_interpolated():
    (pair,) = build(recipes.load(NAME), replace(SUPER_RESOLUTION, changes={"width": 2})).phases[0].feed.sources
    assert (pair.augmentation.contrast, pair.augmentation.bent, pair.augmentation.warped) == (0, 0, 0)
