"""What every recipe promises, in every number of dimensions."""

import ast
import re
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from MedGANLogic import recipes
from MedGANLogic.bundle import describe, open_bundle, rounded, save
from MedGANLogic.catalogue import Card
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.images import Image
from MedGANLogic.inference.translate import translate
from MedGANLogic.recipe import build
from MedGANLogic.study import Settings, Study
from MedGANLogic.training import play, seed_of, start

CPU = torch.device("cpu")
FORKS = (ast.If, ast.IfExp, ast.BoolOp, ast.Match, ast.Try, ast.Lambda)
LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SETTING = re.compile(rf"({'|'.join(field.name for field in fields(Settings))}) \S+ \(paper: (\S+)\)")


@pytest.fixture(params=recipes.names())
def name(request):
    return request.param


@pytest.fixture
def recipe(name, study):
    return build(recipes.load(name), study)


@pytest.fixture
def batches(recipe, study, toy_cases):
    return Batches(recipe.feed, Pool(study, toy_cases[:2]), study.seed)


def one_step(recipe, batches, players=None, seed=0):
    phase = recipe.phases[0]
    phase = replace(phase, players=players or phase.players)
    state = start(recipe, CPU)
    torch.manual_seed(seed_of(seed, 0))
    losses = play(phase, state.networks, state.optimizers, (batches[number] for number in range(99)), 0, CPU)
    return losses, state


def weights(networks):
    return {
        name: {key: value.detach().clone() for key, value in net.named_parameters()} for name, net in networks.items()
    }


def same(some, others):
    return some.keys() == others.keys() and all(torch.equal(value, others[key]) for key, value in some.items())


def test_every_term_reads_tensors_of_its_game_and_every_player_moves_known_networks(recipe):
    for phase in recipe.phases:
        for player in phase.players:
            assert set(player.moves) <= set(recipe.networks)
            assert player.terms
            for term in player.terms:
                assert set(term.names) <= phase.game.names()
    assert {one.network for one in recipe.passes} <= set(recipe.networks)


def test_one_step_is_finite_and_names_every_loss(recipe, batches):
    losses, state = one_step(recipe, batches)
    assert len(losses) == sum(len(player.terms) for player in recipe.phases[0].players)
    assert all(torch.isfinite(loss) for loss in losses.values())
    for network in state.networks.values():
        assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_each_player_changes_the_weights_of_its_own_networks_alone(name, study, toy_cases):
    for number in range(len(build(recipes.load(name), study).phases[0].players)):
        recipe = build(recipes.load(name), study)
        player = replace(recipe.phases[0].players[number], after=())
        before = weights(recipe.networks)
        _, state = one_step(recipe, Batches(recipe.feed, Pool(study, toy_cases[:2]), 0), (player,))
        after = weights(state.networks)
        moved = {network for network in before if not same(before[network], after[network])}
        assert moved == set(player.moves)


def test_the_same_seed_gives_the_same_step(name, study, toy_cases):
    ends = []
    for seed in (study.seed, study.seed, study.seed + 1):
        seeded = replace(study, seed=seed)
        recipe = build(recipes.load(name), seeded)
        _, state = one_step(recipe, Batches(recipe.feed, Pool(seeded, toy_cases[:2]), seed), seed=seed)
        ends.append({f"{n}.{k}": v for n, net in state.networks.items() for k, v in net.state_dict().items()})
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


@pytest.fixture
def opened(recipe, study, batches, tmp_path):
    """Return a bundle that was saved after one step and opened again, and the networks that were saved."""
    _, state = one_step(recipe, batches)
    networks = {one.network: rounded(state.networks[one.network].eval()) for one in recipe.passes}
    card = Card(
        name="toy",
        title=recipe.title,
        task="mr-to-ct",
        inputs=study.inputs,
        targets=study.targets,
        spacing_mm=None,
        plane=study.plane,
        networks=describe(networks, recipe.passes),
        passes=recipe.passes,
        validity={},
        training={"recipe": recipe.title, "source": recipe.source, "study": study.to_json()},
        departures=recipe.departures,
        measured={},
        licence="CC0",
    )
    return open_bundle(save(card, networks, "# Toy\n", tmp_path / "bundle")), networks


def test_a_saved_bundle_opens_bit_equal(opened, recipe, study):
    bundle, saved = opened
    assert bundle.networks.keys() == saved.keys()
    for network, expected in saved.items():
        assert same(expected.state_dict(), bundle.networks[network].state_dict())
    assert bundle.card.passes == recipe.passes
    assert bundle.card.departures == recipe.departures
    # The study that a model is trained on from comes from its card.
    assert Study.from_json(bundle.card.training["study"]) == study


def test_a_small_volume_is_translated_on_its_own_grid_and_within_reach_of_the_window(opened, toy_cases, study):
    bundle, _ = opened
    mr = toy_cases[3].image("mr", study.inputs["mr"])
    turned = np.array([[0.0, -2.0, 0.3, 11], [1.9, 0.0, 0.5, -7], [-0.4, 0.0, 3.8, 5], [0, 0, 0, 1]])
    turned[:3, :3] = np.linalg.qr(turned[:3, :3])[0] * (2.0, 2.0, 4.0)
    image = Image(mr.voxels, turned, "none")
    result = translate(bundle, image, device="cpu", force=True).image
    target = study.targets["ct"].window
    middle, reach = (target.low + target.high) / 2, target.high - target.low
    assert result.grid.matches(image.grid)
    assert result.unit == "HU"
    assert np.isfinite(result.voxels).all()
    # A linear output may leave the window; by more than half of the window's width it is no CT.
    assert np.abs(result.voxels - middle).max() < reach


def test_its_file_is_short_and_has_neither_fork_nor_loop(name):
    file = Path(recipes.__path__[0], f"{name.replace('-', '_')}.py")
    text = file.read_text(encoding="utf-8")
    found = Counter(type(node).__name__ for node in ast.walk(ast.parse(text)) if isinstance(node, FORKS + LOOPS))
    # A comprehension is a loop too: what must be made in a row is made by a part.
    assert not found
    assert len(text.splitlines()) < 80


def test_its_source_can_be_looked_up(recipe):
    assert re.fullmatch(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d{4,9}/\S+", recipe.source)
    assert recipe.title


def test_departures_name_the_settings_that_differ_and_only_those(name, toy_study):
    def departed(**changes):
        study = replace(toy_study(dimensions=2, neighbours=0), changes=changes)
        found = [SETTING.fullmatch(text) for text in build(recipes.load(name), study).departures]
        return {match[1]: match[2] for match in found if match}

    width, steps = departed(width=3, steps=7), departed(width=3, steps=7, batch=11, rate=0.123)
    assert set(width) == {"width", "steps"}
    assert set(steps) == {"width", "steps", "batch", "rate"}
    # Said again with the paper's own numbers, the study departs in its width alone.
    papers = {setting: float(value) for setting, value in steps.items()}
    assert set(departed(**{**papers, "width": 3})) == {"width"}


def test_a_setting_that_does_not_exist_is_refused(name, toy_study):
    study = replace(toy_study(), changes={"widht": 4})
    with pytest.raises(ValueError, match="widht"):
        build(recipes.load(name), study)


def test_an_average_follows_its_network_and_is_moved_by_nobody(recipe, batches):
    acts = [act for phase in recipe.phases for player in phase.players for act in player.after]
    moved = {network for phase in recipe.phases for player in phase.players for network in player.moves}
    before = weights(recipe.networks)
    _, state = one_step(recipe, batches)
    for act in acts:
        assert act.into not in moved
        for key, value in state.networks[act.into].named_parameters():
            # At its first step the average goes nine tenths of the way.
            expected = torch.lerp(before[act.into][key], state.networks[act.of].get_parameter(key), 0.9)
            assert torch.allclose(value, expected, atol=1e-7)
