"""SAGAN against loops written by hand: what is sharp is learnt first, then held against the generator."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from by_hand import CPU, assert_same, lowered, two_steps
from torch import nn
from torch.nn.functional import avg_pool2d
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.games.denoising import Sharpened
from MedGANLogic.parts.features.local_binary_patterns import sharpness_map
from MedGANLogic.recipe import build
from MedGANLogic.study import StudyError
from MedGANLogic.training import optimizers_of, play

NAME = "sagan-sharpness"


@pytest.fixture
def sagan(toy_study):
    return build(recipes.load(NAME), toy_study(2, 0, example=recipes.example(NAME)))


def players_of(phase):
    return {player.name: player for player in phase.players}


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


def trained_to_see(networks, batches):
    adam = Adam(networks["sharpness"].parameters(), lr=2e-4, betas=(0.5, 0.999))
    for batch in batches:
        with autocast():
            seen = networks["sharpness"](batch["target"])
        adam.zero_grad()
        (seen.float() - sharpness_map(batch["target"])).square().mean().backward()
        adam.step()


def trained_to_denoise(networks, batches):
    generator, discriminator, sharpness = (networks[name] for name in ("generator", "discriminator", "sharpness"))
    adam_d = Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for step, batch in enumerate(batches):
        x, y, weight = batch["input"], batch["target"], batch["weight"]
        torch.manual_seed(step)
        with autocast():
            real = discriminator(torch.cat([x, y], 1)).float()
            fake = generator(x)
            shown = torch.where(weight > 0, fake, y)
            made = discriminator(torch.cat([x, shown.detach()], 1)).float()
        adam_d.zero_grad()
        ((real - 1).square().mean() / 2 + made.square().mean() / 2).backward()
        adam_d.step()

        discriminator.requires_grad_(False)
        with autocast():
            scored = discriminator(torch.cat([x, shown], 1)).float()
            blurred = (sharpness(shown).float() - sharpness(y).float()).square().mean()
        l1 = (((fake.float() - y).abs() * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)).mean()
        adam_g.zero_grad()
        ((scored - 1).square().mean() / 2 + 100 * l1 + 0.001 * blurred).backward()
        adam_g.step()
        discriminator.requires_grad_(True)


def test_at_first_the_sharpness_network_alone_learns(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, dimensions=2, patch=32)
    by_hand = deepcopy(played.fresh)
    trained_to_see(by_hand, played.batches)
    assert_same(played, by_hand, spared=0.02, still=("generator", "discriminator"))


def test_then_two_steps_are_those_written_by_hand_and_the_sharpness_network_stays_bit_equal(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, place=1, dimensions=2, patch=32)
    by_hand = deepcopy(played.fresh)
    trained_to_denoise(by_hand, played.batches)
    assert_same(played, by_hand, spared=0.02, still=("sharpness",))
    before, after = (networks["sharpness"].state_dict() for networks in (played.fresh, played.networks))
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_what_is_lowered_is_what_the_paper_says(sagan):
    first, last = sagan.phases
    game = SimpleNamespace(
        sharpness_b=torch.tensor([0.0]),
        perceived_real=torch.tensor([3.0]),
        perceived_fake=torch.tensor([1.0]),
        score_real_pair=torch.tensor([2.0]),
        score_fake_pair=torch.tensor([-1.0]),
        fake_b=torch.full((1, 1, 1, 1), 0.5),
        real_b=torch.zeros(1, 1, 1, 1),
        weight=torch.ones(1, 1, 1, 1),
    )
    assert lowered(players_of(first)["sharpness"], game) == 9
    assert lowered(players_of(last)["discriminator"], game) == 0.5 + 0.5
    assert lowered(players_of(last)["generator"], game) == pytest.approx(2 + 100 * 0.5 + 0.001 * 4)


def test_a_quarter_of_the_steps_is_for_the_sharpness_network(sagan):
    assert [phase.steps for phase in sagan.phases] == [10, 30]


def test_the_sharpness_term_is_nothing_at_the_target_more_where_it_is_blurred_and_reaches_the_generator(sagan):
    term = players_of(sagan.phases[1])["generator"].terms[2]
    assert term.weight == 0.001
    target = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    batch = {"target": target, "weight": torch.ones_like(target)}

    def cost(image):
        networks = {**sagan.networks, "generator": nn.Identity()}
        return term.value(Sharpened(networks, {**batch, "input": image}))

    assert cost(target) == 0
    blurred = avg_pool2d(target, 3, stride=1, padding=1).requires_grad_()
    assert cost(blurred) > 0
    (slope,) = torch.autograd.grad(cost(blurred), blurred)
    assert slope.abs().sum() > 0


def test_after_some_steps_blurred_slices_are_called_less_sharp(sagan):
    phase = sagan.phases[0]
    random = torch.Generator().manual_seed(0)

    def slices():
        """Return two slices of fine structures, one of them blurred."""
        sharp = torch.rand(2, 1, 32, 32, generator=random) * 1.6 - 0.8
        blurred = avg_pool2d(sharp[1:], 5, stride=1, padding=2, count_include_pad=False)
        image = torch.cat([sharp[:1], blurred])
        return {"input": image, "target": image, "weight": torch.ones_like(image)}

    optimizers = {"sharpness": Adam(sagan.networks["sharpness"].parameters(), lr=5e-3)}
    assert optimizers.keys() == optimizers_of(phase, sagan.networks).keys()
    batches = iter([slices() for _ in range(60)])
    for step in range(60):
        play(phase, sagan.networks, optimizers, batches, step, CPU)
    shown = slices()["target"]
    true, seen = sharpness_map(shown), sagan.networks["sharpness"](shown)
    assert true[1].mean() < true[0].mean()
    assert seen[1].mean() < seen[0].mean()


def test_a_study_of_volumes_is_refused(toy_study):
    with pytest.raises(StudyError, match="2 dimensions"):
        build(recipes.load(NAME), toy_study(3, 0, example=recipes.example(NAME)))
