"""AC-GAN against a loop written by hand; the class is told to the generator alone, and asked of the discriminator."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bundled import bundled
from by_hand import STEPS, assert_same, lowered, players_of, two_steps
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.optim import Adam

from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.inference.translate import sample
from MedGANLogic.recipe import build
from MedGANLogic.recipes import load
from MedGANLogic.study import CLASSES, GENERATION, StudyError


@pytest.fixture(scope="module")
def once(toy_study, toy_cohort):
    return two_steps("acgan", toy_study, toy_cohort)


@pytest.fixture
def played(once):
    return deepcopy(once)


def said(logits, truth):
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def test_two_steps_are_those_of_equations_2_and_3_written_by_hand(played):
    networks = deepcopy(played.fresh)
    generator, discriminator, classifier = (networks[name] for name in ("generator", "discriminator", "classifier"))
    both = [*discriminator.parameters(), *classifier.parameters()]
    of_generator, of_both = (
        Adam(weights, lr=2e-4, betas=(0.5, 0.999)) for weights in (list(generator.parameters()), both)
    )
    assert len(played.batches) == STEPS
    for batch in played.batches:
        truth, wanted = batch["condition"].argmax(1), batch["wanted"].argmax(1)
        fake = generator(torch.cat([batch["noise"], batch["wanted"]], dim=1))
        of_both.zero_grad()
        real, made = discriminator.body(batch["image"]), discriminator.body(fake.detach())
        source = said(discriminator.head(real), 1.0) + said(discriminator.head(made), 0.0)
        (source + cross_entropy(classifier(real), truth) + cross_entropy(classifier(made), wanted)).backward()
        of_both.step()
        of_generator.zero_grad()
        made = discriminator.body(fake)
        (said(discriminator.head(made), 1.0) + cross_entropy(classifier(made), wanted)).backward()
        of_generator.step()
    assert_same(played, networks)


def test_the_objective_at_known_logits():
    players = players_of("acgan")
    right, wrong = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    surely = torch.tensor([[4.0, 0.0]])
    game = SimpleNamespace(
        score_real=torch.zeros(1), score_fake=torch.zeros(1), class_real=surely, condition=right, wanted=wrong
    )
    game.class_fake = surely
    known, missed = np.log1p(np.exp(-4)), np.log1p(np.exp(4))
    assert lowered(players["generator"], game) == pytest.approx(np.log(2) + missed)
    assert lowered(players["discriminator"], game) == pytest.approx(2 * np.log(2) + known + missed)


@pytest.mark.parametrize(("place", "networks"), [(0, ("discriminator", "classifier")), (1, ("generator",))])
def test_the_class_head_teaches_both_players(played, place, networks):
    player = played.phase.players[place]
    assert player.moves == networks
    game = played.phase.game(played.networks, played.batches[0])
    (term,) = (term for term in player.terms if term.names == ("class_fake", "wanted"))
    weights = [weight for name in networks for weight in played.networks[name].parameters()]
    gradients = torch.autograd.grad(term.weight * term.value(game), weights, allow_unused=True)
    # Of these weights only those of the source's own head are no way from class to loss.
    unmoved = [name for name in networks if name == "discriminator"]
    assert sum(gradient is None for gradient in gradients) == 2 * len(unmoved)
    assert all(gradient.any() for gradient in gradients if gradient is not None)


def test_the_discriminator_is_told_no_class(played):
    batch = played.batches[0]
    other = {**batch, "condition": 1 - batch["condition"], "wanted": 1 - batch["wanted"]}
    networks = {name: network.eval() for name, network in played.networks.items()}
    game, turned = (played.phase.game(networks, one) for one in (batch, other))
    assert torch.equal(game.score_real, turned.score_real)
    assert torch.equal(game.class_real, turned.class_real)
    assert not torch.equal(game.fake, turned.fake)
    assert networks["discriminator"].arguments["in_channels"] == 1


def test_wanted_classes_are_drawn_and_know_nothing_of_the_real_ones(toy_study, toy_cohort):
    study = toy_study(2, 0, example=CLASSES, patch=16, batch=16)
    feed = build(load("acgan"), study).phases[0].feed
    batch = Batches(feed, Pool(study, toy_cohort(study)), (0,))[0]
    pairs = {(int(c), int(w)) for c, w in zip(batch["condition"].argmax(1), batch["wanted"].argmax(1), strict=True)}
    assert pairs == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_class_can_be_asked_for_by_name(played, toy_study, tmp_path):
    study = toy_study(3, 0, example=CLASSES, patch=16)
    bundle = bundled(played.recipe, played.networks, study, tmp_path)
    first, again, other = (
        sample(bundle, seed=5, choices={"class": name}, device="cpu")[0].image.voxels for name in ("t1", "t1", "t2")
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("attributes", [{}, {"age": (0.0, 9.0)}])
@pytest.mark.parametrize("classes", [(), ("t1",), ("t1", "t2")])
def test_a_study_without_classes_to_tell_apart_is_refused(toy_study, classes, attributes):
    study = replace(toy_study(example=GENERATION), classes=classes, attributes=attributes)
    if len(classes) == 2 and not attributes:
        build(load("acgan"), study)
        return
    with pytest.raises(StudyError, match="tells classes apart"):
        build(load("acgan"), study)
