"""The context-aware GAN against a loop written by hand: each stage alone, and how one follows from another."""

from copy import deepcopy
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from by_hand import CPU, assert_same, lowered, published, two_steps
from torch import nn
from torch.nn.functional import softplus
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.feeds import Augmentation, Batches, Feed, Pair, Pool
from MedGANLogic.games.context import Centre, staged
from MedGANLogic.inference.predict import predict
from MedGANLogic.passes import Pass, cascade
from MedGANLogic.recipe import build
from MedGANLogic.study import TRANSLATION
from MedGANLogic.training import Pace, Run, fit, optimizers_of, resume, start

NAME = "context-gan-mr2ct"
PLAIN = Augmentation(mirrored=False, quarter_turns=False, contrast=0)


@pytest.fixture
def context_gan(toy_study):
    return build(recipes.load(NAME), toy_study(3, 0, example=recipes.example(NAME), patch=24))


def squared_differences_of_slopes(made, real):
    slopes = [(image[:, :, 1:] - image[:, :, :-1]).abs() for image in (made, real)]
    total = (slopes[0] - slopes[1]).square().sum()
    slopes = [(image[:, :, :, 1:] - image[:, :, :, :-1]).abs() for image in (made, real)]
    total = total + (slopes[0] - slopes[1]).square().sum()
    slopes = [(image[..., 1:] - image[..., :-1]).abs() for image in (made, real)]
    return total + (slopes[0] - slopes[1]).square().sum()


def trained_by_hand(networks, batches, stage):
    generator, discriminator = networks[f"generator_{stage}"], networks[f"discriminator_{stage}"]
    adam_d = Adam(discriminator.parameters(), lr=1e-4, betas=(0.5, 0.999), weight_decay=5e-4)
    adam_g = Adam(generator.parameters(), lr=1e-4, betas=(0.5, 0.999), weight_decay=5e-4)
    for batch in batches:
        y, weight = (batch[name][:, :, 8:-8, 8:-8, 8:-8] for name in ("target", "weight"))
        estimates = [value for name, value in batch.items() if " by generator_" in name]
        assert len(estimates) == (stage > 1)
        fake = torch.where(weight > 0, generator(torch.cat([batch["input"], *estimates], 1)), y)
        adam_d.zero_grad()
        (softplus(-discriminator(y)).mean() + softplus(discriminator(fake.detach())).mean()).backward()
        adam_d.step()

        squares = (fake - y).square().sum() / 2 / len(y)
        adam_g.zero_grad()
        discriminator.requires_grad_(False)
        (0.5 * softplus(-discriminator(fake)).mean() + squares + squared_differences_of_slopes(fake, y)).backward()
        discriminator.requires_grad_(True)
        adam_g.step()


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_two_steps_of_a_stage_are_those_written_by_hand_and_leave_the_others_bit_equal(toy_study, toy_cohort, stage):
    played = two_steps(NAME, toy_study, toy_cohort, place=stage - 1, patch=24)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches, stage)
    others = {f"{kind}_{n}" for kind in ("generator", "discriminator") for n in {1, 2, 3} - {stage}}
    assert_same(played, by_hand, spared=0.1, still=others)
    for name in others:
        before, after = (networks[name].state_dict() for networks in (played.fresh, played.networks))
        assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_stage_has_the_papers_optimizers(context_gan, place):
    optimizers = optimizers_of(context_gan.phases[place], context_gan.networks)
    assert list(optimizers) == ["discriminator", "generator"]
    for optimizer in optimizers.values():
        assert type(optimizer) is Adam
        found = {key: optimizer.defaults[key] for key in ("lr", "betas", "weight_decay")}
        assert found == {"lr": 1e-4, "betas": (0.5, 0.999), "weight_decay": 5e-4}


def shown(made, real):
    """Return a game of one image, whose score is 0."""
    return SimpleNamespace(shown_b=made, real_b=real, score_fake=torch.zeros(1, 1), score_real=torch.zeros(1, 1))


def test_what_is_lowered_is_what_the_paper_says():
    image = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    ramp = torch.arange(16.0).reshape(1, 1, 16, 1, 1).expand(1, 1, 16, 16, 16)
    for phase in published(NAME).phases:
        judge, generator = phase.players
        assert lowered(judge, shown(image, image)) == pytest.approx(2 * np.log(2))
        assert lowered(generator, shown(image, image)) == pytest.approx(0.5 * np.log(2))
        assert lowered(generator, shown(image + 0.1, image)) == pytest.approx(0.5 * np.log(2) + 20.48, rel=1e-4)
        # Voxels are summed over an image, edges over a batch, of whatever shares of it there are.
        for share in (10, 5):
            ramps = ramp.expand(share, -1, -1, -1, -1)
            expected = 0.5 * np.log(2) + 10 * 3840 + ramp.square().sum().item() / 2
            assert lowered(generator, shown(ramps, 0 * ramps)) == pytest.approx(expected, rel=1e-5)


def test_a_later_stage_takes_the_input_and_what_the_stage_before_wrote(context_gan):
    first, *later = context_gan.passes
    assert [one.networks for one in context_gan.passes] == [("generator_1",), ("generator_2",), ("generator_3",)]
    assert [one.margin for one in context_gan.passes] == [8, 8, 8]
    assert (first.reads, context_gan.networks["generator_1"].arguments["in_channels"]) == (("mr",), 1)
    for before, one in zip(context_gan.passes, later, strict=False):
        assert one.reads == ("mr", *before.writes)
        assert context_gan.networks[one.network].arguments["in_channels"] == 2
    assert later[-1].writes == ("ct",)
    assert len({one.writes for one in context_gan.passes}) == 3


def test_what_a_stage_is_shown_was_predicted_by_all_stages_before(context_gan):
    for number, phase in enumerate(context_gan.phases):
        assert phase.beforehand == context_gan.passes[:number]
        (pair,) = phase.feed.sources
        assert pair.also == phase.game.estimates == context_gan.passes[number].reads[1:]


@pytest.mark.parametrize("stages", [1, 2])
def test_there_are_as_many_stages_as_a_study_says(toy_study, stages):
    recipe = build(recipes.load(NAME), toy_study(3, 0, levels=stages, steps=40))
    assert [phase.steps for phase in recipe.phases] == [40 // stages] * stages
    assert recipe.passes[-1].writes == ("ct",)
    assert len(recipe.networks) == 2 * stages


def test_a_run_that_is_resumed_within_a_later_stage_ends_with_the_same_bytes(toy_study, toy_cohort, tmp_path):
    study = toy_study(2, 0, levels=2, width=2)
    cases = toy_cohort(study)

    def run(folder, stopped_after, resumed=False):
        recipe = build(recipes.load(NAME), study)
        state = start(recipe, CPU)
        folder.mkdir(exist_ok=True)
        if resumed:
            resume(state, recipe, folder)
        pool = Pool(study, [case for case in cases if case.part == "train"])
        list(islice(fit(Run(recipe, pool, Pace(6, 6, 1), folder, lambda _: 1.0), state), stopped_after))
        return state

    whole = run(tmp_path / "whole", None)
    # A checkpoint is written after its step was yielded: the one after the fourth.
    run(tmp_path / "stopped", 5)
    again = run(tmp_path / "stopped", None, resumed=True)
    assert (whole.step, whole.phase) == (again.step, again.phase) == (6, 1)
    for name, network in whole.networks.items():
        found = again.networks[name].state_dict()
        assert all(torch.equal(value, found[key]) for key, value in network.state_dict().items())


def test_a_stage_depends_on_its_estimate(context_gan):
    random = torch.Generator().manual_seed(0)
    batch = {name: torch.rand(1, 1, 24, 24, 24, generator=random) for name in ("input", "target", "weight", "e")}
    game = staged(Centre, "generator_2", "discriminator_2", ("e",))
    own, other = (
        game(context_gan.networks, {**batch, "e": estimate}).fake_b for estimate in (batch["e"], 1 - batch["e"])
    )
    assert own.shape == (1, 1, 8, 8, 8)
    assert not torch.allclose(own, other, rtol=1e-3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_what_is_compared_is_the_centre_16_of_32(toy_study, toy_cohort, dimensions):
    study = toy_study(dimensions, 0, example=recipes.example(NAME))
    recipe = build(recipes.load(NAME), study)
    pool = Pool(study, toy_cohort(study)[:2])
    batch = Batches(recipe.phases[0].feed, pool, (0,))[0]
    game = recipe.phases[0].game(recipe.networks, batch)
    inner = (..., *[slice(8, 24)] * dimensions)
    assert batch["input"].shape[-1] == batch["target"].shape[-1] == 32
    assert torch.equal(game.real_b, batch["target"][inner])
    assert torch.equal(game.weight, batch["weight"][inner])
    assert game.fake_b.shape == game.real_b.shape


def see_through(network):
    """Let a generator write the centre of what it reads first."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.dirac_(module.weight[:1])
            module.weight.data[1:] = 0
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.ones_(module.weight)
    return network.eval()


def test_what_is_written_lies_where_it_was_read(context_gan):
    network = see_through(deepcopy(context_gan.networks["generator_1"]))
    nn.init.zeros_(network.translate[-1].bias)
    volume = np.random.default_rng(0).uniform(0.1, 1, (10, 19, 23)).astype(np.float32)
    one = context_gan.passes[0]
    made = predict((one,), {"generator_1": network}, {"mr": volume}, CPU, memory_bytes=2e8).volumes[one.writes[0]]
    assert np.allclose(made, volume, rtol=1e-3)


def test_the_input_changes_no_contrast_that_its_estimates_would_not_know(context_gan):
    assert [phase.feed.sources[0].augmentation.contrast for phase in context_gan.phases] == [0, 0, 0]


def test_an_estimate_comes_with_its_neighbouring_slices_as_the_input_does(toy_study, toy_cohort):
    study = toy_study(2, 1)
    pool = Pool(study, toy_cohort(study)[:2])
    plain = Batches(Feed(1, Pair((16, 16), PLAIN)), pool, (0,))
    turned = Feed(4, Pair((16, 16), replace(PLAIN, mirrored=(0, 1, 2)), also=("again",)))
    for place, volumes in enumerate(pool.volumes):
        scale = pool.scales[place]["mr"]
        pool.prepared[place] = {"again": scale.to_network(volumes["mr"].astype(np.float32))}
    assert plain[0]["input"].shape[1] == 3
    for number in range(4):
        batch = Batches(turned, pool, (0,))[number]
        assert torch.allclose(batch["again"], batch["input"], atol=1e-6)


def test_a_cascade_reads_the_input_and_the_stage_before_alone():
    last = Pass("", ("t1", "t2"), ("ct", "pet"), dimensions=2, neighbours=1, multiple=4)
    first, middle, end = cascade(last, ("one", "two", "three"))
    assert first == replace(last, network="one", writes=("ct by one", "pet by one"))
    assert middle == replace(last, network="two", reads=("t1", "t2", *first.writes), writes=("ct by two", "pet by two"))
    assert end == replace(last, network="three", reads=("t1", "t2", *middle.writes))
    assert TRANSLATION.whole_volume("only", 4) == cascade(TRANSLATION.whole_volume("", 4), ("only",))[0]
