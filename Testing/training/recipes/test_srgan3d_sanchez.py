"""The 3D SRGAN against a loop written by hand; its layers are in test_parts_super_resolution.py."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from by_hand import assert_same, lowered, players_of, published, two_steps
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.degradation import Averaged
from MedGANLogic.games.paired import PairedNoisily
from MedGANLogic.parts.generators.leaky_resnet import ResizedResNet, ShuffledResNet
from MedGANLogic.recipe import build
from MedGANLogic.study import StudyError

NAME = "srgan3d-sanchez"


def slopes(volume):
    """Return the differences of neighbours along the three axes."""
    return (
        volume[:, :, 1:] - volume[:, :, :-1],
        volume[:, :, :, 1:] - volume[:, :, :, :-1],
        volume[..., 1:] - volume[..., :-1],
    )


def trained_by_hand(networks, batches):
    generator, discriminator = networks["generator"], networks["discriminator"]
    adam_d, adam_g = (Adam(network.parameters(), lr=1e-4) for network in (discriminator, generator))
    for step, batch in enumerate(batches):
        # The decay is every step's, whatever the steps in all.
        for group in (*adam_d.param_groups, *adam_g.param_groups):
            group["lr"] = 1e-4 / (1 + 0.5 * step / 4920)
        y = batch["target"]
        fake = torch.where(batch["weight"] > 0, generator(batch["input"]), y)
        real_label, fake_label = batch["labels"].split(1, dim=1)
        adam_d.zero_grad()
        real, made = discriminator(y), discriminator(fake.detach())
        ((real - real_label) ** 2).mean().add(((made - fake_label) ** 2).mean()).backward()
        adam_d.step()

        adam_g.zero_grad()
        squares = ((fake - y) ** 2).sum()
        edges = sum(((a.abs() - b.abs()) ** 2).sum() for a, b in zip(slopes(fake), slopes(y), strict=True))
        judged = ((discriminator(fake) - batch["wanted"]) ** 2).mean()
        (squares + edges + 0.1 * judged).backward()
        adam_g.step()


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, width=2)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches)
    assert_same(played, by_hand, spared=0.02)
    assert {tuple(batch["input"].shape[2:]) for batch in played.batches} == {(8, 8, 8)}


def test_the_rate_falls_as_one_over_one_and_half_of_every_4920_steps():
    recipe = published(NAME)
    (phase,) = recipe.phases
    for player in phase.players:
        assert [player.schedule(step / phase.steps) for step in (0, 4920, 9840)] == pytest.approx([1, 1 / 1.5, 1 / 2])


def game_of(batch, seed=0):
    """Return the tensors of a game in which nothing is learnt: images, scores and labels."""
    random = torch.Generator().manual_seed(seed)
    images = {name: torch.rand(batch, 1, 4, 4, 4, generator=random) for name in ("shown_b", "real_b")}
    numbers = ("score_real", "score_fake", "label_real", "label_fake", "wanted")
    return images | {name: torch.rand(batch, 1, generator=random) for name in numbers}


def terms_of(batch):
    """Return what every term of the generator costs, for a study of so many images a batch."""
    study = replace(recipes.example(NAME), changes={"width": 2, "patch": 32, "batch": batch})
    generator = {player.name: player for player in build(recipes.load(NAME), study).phases[0].players}["generator"]
    return generator.terms


def test_repeating_a_batch_doubles_squares_and_gradients_and_leaves_the_judges_term():
    once = game_of(2)
    twice = {name: value.repeat(2, *[1] * (value.dim() - 1)) for name, value in once.items()}
    costs = [
        [term.weight * term.value(SimpleNamespace(**game)).item() for term in terms_of(batch)]
        for batch, game in ((2, once), (4, twice))
    ]
    ratios = [after / before for before, after in zip(*costs, strict=True)]
    assert ratios == pytest.approx([2, 2, 1])
    # Sums, not means: of 2 · 4³ squares.
    assert costs[0][0] == pytest.approx((once["shown_b"] - once["real_b"]).square().sum().item(), rel=1e-5)


def test_gradient_differences_are_blind_to_what_is_turned_round_while_squares_are_not():
    squares, gradients, _ = terms_of(2)
    real = game_of(2)["real_b"]
    turned = SimpleNamespace(shown_b=0.25 - real, real_b=real)
    assert gradients.value(turned) == pytest.approx(0, abs=1e-9)
    assert squares.value(turned) > 0.1


def test_what_is_lowered_is_what_the_released_code_says():
    players = players_of(NAME)
    game = SimpleNamespace(
        score_real=torch.tensor([[2.0]]),
        label_real=torch.tensor([[1.0]]),
        score_fake=torch.tensor([[-1.0]]),
        label_fake=torch.tensor([[0.25]]),
        wanted=torch.tensor([[0.5]]),
        shown_b=torch.tensor([[[0.0, 3.0]]]),
        real_b=torch.tensor([[[0.0, 1.0]]]),
    )
    assert lowered(players["discriminator"], game) == 1 + 1.25**2
    # Of one image where the batch holds two: the sums weigh twice.
    assert lowered(players["generator"], game) == pytest.approx(2 * 4 + 2 * 4 + 0.1 * 2.25)


def test_labels_come_with_the_batch_and_are_told_in_their_order():
    labels = torch.tensor([[1.1, 0.2], [0.1, 0.9]])
    game = PairedNoisily({}, {"labels": labels, "wanted": torch.tensor([[1.0], [0.8]])})
    assert torch.equal(torch.cat([game.label_real, game.label_fake], dim=1), labels)
    assert torch.equal(game.wanted, game.batch["wanted"])


def test_every_image_has_labels_of_its_own(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, width=2)
    labels = torch.cat([batch["labels"] for batch in played.batches])
    assert labels.unique().numel() == labels.numel()
    assert all(((batch["wanted"] >= 0.7) & (batch["wanted"] <= 1.2)).all() for batch in played.batches)


def test_a_coarse_voxel_is_seen_through_a_gaussian_of_one_fine_voxel():
    (made,) = recipes.example(NAME).made.values()
    weights = made.matrix(20, 2)[10]
    places = torch.arange(40) - 20.5
    expected = torch.exp(-0.5 * places.double() ** 2)
    assert weights == pytest.approx((expected / expected.sum()).numpy(), abs=1e-4)


@pytest.mark.parametrize("kind", [ResizedResNet, ShuffledResNet])
def test_the_papers_other_upsamplings_take_the_place_of_the_recipes(toy_study, kind):
    recipe = build(recipes.load(NAME), toy_study(3, 0, example=recipes.example(NAME)))
    generator = recipe.networks["generator"]
    image = torch.zeros(1, 1, 4, 6, 5)
    assert kind(**generator.arguments)(image).shape == generator(image).shape == (1, 1, 8, 12, 10)


@pytest.mark.parametrize("by", [3, (1, 2, 2)], ids=str)
def test_what_doubling_cannot_reach_is_refused(toy_study, by):
    study = replace(toy_study(3, 0, example=recipes.example(NAME)), made={"mr": Averaged("fine", by)})
    with pytest.raises(StudyError, match="2, 4, 8 or 16"):
        build(recipes.load(NAME), study)
