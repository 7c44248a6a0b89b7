"""Progressive growing against a loop written by hand; its phases; that a stage fades in from the stage before."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from by_hand import STEPS, assert_same, lowered, players_of, published, two_steps
from torch.nn.functional import avg_pool3d, interpolate
from torch.optim import Adam

from MedGANLogic.chance import Normal
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.games.growing import FadingIn, Growing
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import ExponentialAverage, build
from MedGANLogic.recipes import example, load
from MedGANLogic.study import StudyError

#: The toy's phases of eight steps at edge 16: edges, and whether the newest stage fades in.
PHASES = [(4, Growing), (8, FadingIn), (8, Growing), (16, FadingIn), (16, Growing)]


@pytest.fixture
def study(toy_study):
    return toy_study(3, 0, example=example("pgan"), patch=16)


@pytest.fixture
def recipe(study):
    return build(load("pgan"), study)


@pytest.fixture
def batches(recipe, study, toy_cohort):
    """Return the first batch of every phase."""
    pool = Pool(study, toy_cohort(study)[:2])
    return [Batches(phase.feed, pool, (0,))[0] for phase in recipe.phases]


def doubled(images):
    return interpolate(images, scale_factor=2)


def trained_by_hand(networks, batches, stage, fades, steps):
    """Train a stage as appendix A.1 says: critic, then generator, then the average."""
    generator, critic, average = (networks[name] for name in ("generator", "discriminator", "generator_average"))
    of_generator, of_critic = (Adam(one.parameters(), lr=1e-3, betas=(0.0, 0.99)) for one in (generator, critic))
    for step, fade, batch in zip(steps, fades, batches, strict=True):
        image = batch["image"]
        if fade < 1:
            image = fade * image + (1 - fade) * doubled(avg_pool3d(image, 2))
        fake = generator(batch["noise"], stage, fade)
        seen = fake.detach()
        share = batch["mixing"].reshape(-1, 1, 1, 1, 1)
        between = (share * image + (1 - share) * seen).requires_grad_()
        real, made = critic(image, fade), critic(seen, fade)
        (gradients,) = torch.autograd.grad(critic(between, fade).sum(), between, create_graph=True)
        penalty = ((gradients.flatten(1).norm(dim=1) - 1) ** 2).mean()
        of_critic.zero_grad()
        (made.mean() - real.mean() + 10 * penalty + 0.001 * (real**2).mean()).backward()
        of_critic.step()

        of_generator.zero_grad()
        (-critic(fake, fade).mean()).backward()
        of_generator.step()
        decay = min(0.999, (1 + step) / (10 + step))
        for followed, following in zip(generator.parameters(), average.parameters(), strict=True):
            following.data = decay * following.data + (1 - decay) * followed.data


# The first stage, one that fades in, and one that is there.
@pytest.mark.parametrize(("place", "stage", "fades"), [(0, 0, (1, 1)), (1, 1, (3 / 8, 4 / 8)), (4, 2, (1, 1))])
def test_two_steps_are_those_of_a_loop_written_by_hand(toy_study, toy_cohort, place, stage, fades):
    played = two_steps("pgan", toy_study, toy_cohort, place, first=3)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches, stage, fades, range(3, 3 + STEPS))
    assert_same(played, by_hand, spared=0.02)


def test_every_stage_fades_in_and_is_then_there_for_as_long(recipe, study, batches):
    assert [
        (batch["image"].shape[-1], phase.game) for batch, phase in zip(batches, recipe.phases, strict=True)
    ] == PHASES
    assert [phase.steps for phase in recipe.phases] == [8] * 5
    assert all(phase.players == recipe.phases[0].players for phase in recipe.phases)
    assert [phase.steps for phase in published("pgan").phases] == [10_000] * 11


def test_steps_that_cannot_be_dealt_evenly_are_all_dealt(toy_study):
    recipe = build(load("pgan"), toy_study(2, 0, example=example("pgan"), patch=16, steps=42))
    assert sum(phase.steps for phase in recipe.phases) == 42
    assert {phase.steps for phase in recipe.phases} == {8, 9}


def test_coarse_images_are_the_means_of_fine_ones(batches):
    finest = batches[-1]["image"]
    for batch in batches:
        factor = 16 // batch["image"].shape[-1]
        assert torch.allclose(batch["image"], avg_pool3d(finest, factor), atol=1e-6)


@pytest.mark.parametrize("place", [1, 3])
def test_at_its_beginning_a_stage_is_the_doubled_stage_before(recipe, batches, place):
    before = Growing(recipe.networks, batches[place - 1])
    for game, same in ((FadingIn, True), (Growing, False)):
        grown = game(recipe.networks, batches[place], step=0, done=0.0)
        assert torch.allclose(grown.fake, doubled(before.fake), atol=1e-6) == same
        assert torch.allclose(grown.image, doubled(before.image), atol=1e-6) == same
        assert torch.allclose(grown.score_real, before.score_real, atol=1e-5) == same
        assert torch.allclose(grown.score_fake, before.score_fake, atol=1e-5) == same


@pytest.mark.parametrize("place", [1, 3])
def test_on_its_way_a_stage_is_a_mixture_and_at_its_end_the_new_one_alone(recipe, batches, place):
    old, half, there = (FadingIn(recipe.networks, batches[place], 0, done) for done in (0.0, 0.25, 1.0))
    new = Growing(recipe.networks, batches[place])
    for name in ("fake", "image"):
        mixed = 0.75 * getattr(old, name) + 0.25 * getattr(new, name)
        assert torch.allclose(getattr(half, name), mixed, atol=1e-5)
        assert torch.equal(getattr(there, name), getattr(new, name))
    for name in ("score_real", "score_fake", "slopes_between"):
        assert torch.equal(getattr(there, name), getattr(new, name))


def test_the_finished_stage_is_independent_of_the_layers_that_made_the_old_image(recipe, batches):
    game = Growing(recipe.networks, batches[2])
    fake, score = game.fake.clone(), game.score_real.clone()
    with torch.no_grad():
        for layers in (recipe.networks["generator"].to_image[0], recipe.networks["discriminator"].from_image[0]):
            for weight in layers.parameters():
                weight.fill_(7.0)
    again = Growing(recipe.networks, batches[2])
    assert torch.equal(again.fake, fake)
    assert torch.equal(again.score_real, score)


def test_identical_images_deviate_by_zero(recipe):
    deviation = recipe.networks["discriminator"].end[0]
    features = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0)).expand(5, -1, -1, -1, -1)
    assert not deviation(features)[:, -1].any()
    assert (deviation(features * torch.arange(5).reshape(-1, 1, 1, 1, 1))[:, -1] > 0).all()


def test_the_critics_loss_is_wasserstein_with_penalty_and_drift():
    players = players_of("pgan")
    # Slopes of norm 3, scores of 10 and 20 on real images.
    slopes = torch.zeros(2, 1, 4, 4)
    slopes[:, 0, 0, 0] = 3
    game = SimpleNamespace(
        score_real=torch.tensor([10.0, 20.0]), score_fake=torch.tensor([4.0, 6.0]), slopes_between=slopes
    )
    assert lowered(players["critic"], game) == pytest.approx(-15 + 5 + 10 * 4 + 0.001 * 250)
    assert lowered(players["generator"], game) == -5


def test_the_average_predicts_at_full_size(recipe):
    *_, generator = recipe.phases[-1].players
    assert generator.after == (ExponentialAverage("generator", "generator_average", 0.999),)
    assert recipe.passes == (Draw("generator_average", ("noise",), ("mr",), 3),)
    assert recipe.chance == {"noise": Normal((512,))}
    with torch.no_grad():
        assert recipe.networks["generator_average"](torch.randn(1, 512)).shape == (1, 1, 16, 16, 16)


def test_a_patch_that_no_stage_has_is_refused(toy_study):
    with pytest.raises(StudyError, match="stages have edges 4, 8, 16"):
        build(load("pgan"), toy_study(2, 0, example=example("pgan"), patch=24))
