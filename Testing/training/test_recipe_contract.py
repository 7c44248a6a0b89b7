"""What every recipe promises, in every number of dimensions."""

import ast
import contextlib
import re
from collections import Counter
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundled import bundled

from MedGANLogic import recipes
from MedGANLogic.domain import PET, FixedWindow, Labels
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.images import Image
from MedGANLogic.inference.translate import sample, translate
from MedGANLogic.passes import Search
from MedGANLogic.recipe import ExponentialAverage, build
from MedGANLogic.study import Settings, Study, StudyError
from MedGANLogic.training import optimizers_of, play, predict_beforehand, seed_of, start

CPU = torch.device("cpu")
TOY = {"width": 4, "levels": 3, "patch": 32, "batch": 2, "steps": 40}
FORKS = (ast.If, ast.IfExp, ast.BoolOp, ast.Match, ast.Try, ast.Lambda)
LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SETTING = re.compile(rf"({'|'.join(field.name for field in fields(Settings))}) \S+ \(paper: (\S+)\)")


def variants(name):
    """Return the dimensions and neighbours that a recipe can be trained in; what it is an example of is among them."""
    example, known, possible = recipes.example(name), recipes.published(name).numbers, []
    for dimensions, neighbours in ((2, 0), (2, 1), (3, 0)):
        toy = {setting: value for setting, value in TOY.items() if setting in known}
        # So small, networks are made faster than torch thinks up what it would take to make them.
        with contextlib.suppress(StudyError):
            study = replace(example, dimensions=dimensions, neighbours=neighbours, changes=toy)
            build(recipes.load(name), study)
            # Without input there is nothing that could have neighbours.
            if study.inputs or not neighbours:
                possible.append((dimensions, neighbours))
    assert (example.dimensions, example.neighbours) in possible
    return possible


@pytest.fixture(params=recipes.names())
def name(request):
    return request.param


@pytest.fixture(params=[(name, *variant) for name in recipes.names() for variant in variants(name)], ids=str)
def varied(request):
    return request.param


@pytest.fixture
def study(varied, toy_study):
    name, dimensions, neighbours = varied
    return toy_study(dimensions, neighbours, example=recipes.example(name))


@pytest.fixture
def recipe(varied, study):
    recipe = build(recipes.load(varied[0]), study)
    # A search takes hundreds of steps: to see that it fits, few will do.
    return replace(
        recipe, passes=tuple(replace(one, steps=2) if isinstance(one, Search) else one for one in recipe.passes)
    )


@pytest.fixture
def cases(study, toy_cohort):
    return toy_cohort(study)


def first_steps(recipe, study, cases, only=None, seed=0):
    """Play one step of every phase, or of one with some players alone; return losses by phase, and the state."""
    state = start(recipe, CPU)
    pool = Pool(study, [case for case in cases if case.part == "train"])
    played = []
    for phase in recipe.phases if only is None else (only,):
        predict_beforehand(pool, phase, state)
        batches = Batches(phase.feed, pool, (seed,))
        optimizers = optimizers_of(phase, state.networks)
        torch.manual_seed(seed_of(seed, 0))
        numbered = (batches[number] for number in range(99))
        played.append(play(phase, state.networks, optimizers, numbered, 0, CPU))
    return played, state


def weights(networks):
    return {
        name: {key: value.detach().clone() for key, value in net.named_parameters()} for name, net in networks.items()
    }


def same(some, others):
    return some.keys() == others.keys() and all(torch.equal(value, others[key]) for key, value in some.items())


def test_every_term_reads_tensors_of_its_game_and_every_player_moves_known_networks(recipe):
    for phase in recipe.phases:
        names = phase.game.names()
        assert {*phase.game.scores, phase.game.made, phase.game.real} - {""} <= names
        for player in phase.players:
            assert set(player.moves) <= set(recipe.networks)
            assert player.terms
            for term in player.terms:
                assert set(term.names) <= names
    assert {name for one in recipe.passes for name in one.networks} <= set(recipe.networks)


def test_one_step_of_every_phase_is_finite_and_names_every_loss(recipe, study, cases):
    played, state = first_steps(recipe, study, cases)
    for phase, losses in zip(recipe.phases, played, strict=True):
        assert len(losses) == sum(len(player.terms) for player in phase.players)
        assert all(torch.isfinite(loss) for loss in losses.values())
    for network in state.networks.values():
        assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_each_player_changes_the_weights_of_its_own_networks_alone(varied, study, cases):
    built = build(recipes.load(varied[0]), study)
    for phase in built.phases:
        for number in range(len(phase.players)):
            recipe = replace(built, networks=deepcopy(dict(built.networks)))
            player = replace(phase.players[number], after=())
            before = weights(recipe.networks)
            _, state = first_steps(recipe, study, cases, replace(phase, players=(player,)))
            after = weights(state.networks)
            moved = {network for network in before if not same(before[network], after[network])}
            assert moved == set(player.moves)


def test_the_same_seed_gives_the_same_step(varied, study, cases):
    ends = []
    for seed in (study.seed, study.seed, study.seed + 1):
        seeded = replace(study, seed=seed)
        recipe = build(recipes.load(varied[0]), seeded)
        _, state = first_steps(recipe, seeded, cases, recipe.phases[0], seed=seed)
        ends.append({f"{n}.{k}": v for n, net in state.networks.items() for k, v in net.state_dict().items()})
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


@pytest.fixture
def opened(recipe, study, cases, tmp_path):
    """Return a bundle that was saved after one step and opened again, and the networks that were saved."""
    _, state = first_steps(recipe, study, cases)
    used = {name for one in recipe.passes for name in one.networks}
    return bundled(recipe, state.networks, study, tmp_path), {name: state.networks[name] for name in used}


def test_a_saved_bundle_opens_bit_equal(opened, recipe, study):
    bundle, saved = opened
    assert bundle.networks.keys() == saved.keys()
    for network, expected in saved.items():
        assert same(expected.state_dict(), bundle.networks[network].state_dict())
    assert bundle.card.passes == recipe.passes
    assert bundle.card.chance == recipe.chance
    assert bundle.card.departures == recipe.departures
    # The study that a model is trained on from comes from its card.
    assert Study.from_json(bundle.card.training["study"]) == study


def test_a_small_volume_is_predicted_on_the_promised_grid_and_within_reach_of_the_window(opened, toy_case, study):
    bundle, _ = opened
    if not study.inputs:
        (made, *_) = sample(bundle, seed=3, count=2, device="cpu")
        again, other = (sample(bundle, seed, device="cpu")[0].image for seed in (3, 4))
        first = np.s_[:, :, :, :1] if study.dimensions == 2 else np.s_[:]
        # What is drawn together is the same but for the order in which sums are rounded.
        assert np.allclose(made.image.voxels[first], again.voxels[first], atol=1e-4)
        assert not np.array_equal(again.voxels, other.voxels)
        results = {next(iter(study.targets)): made.image}
    else:
        image = turned(toy_case("T", "test", 9), study)
        made = translate(bundle, image, device="cpu", force=True)
        first = next(iter(image.values()))
        assert made.image.grid.extent_mm == pytest.approx(first.grid.extent_mm)
        assert np.prod(made.image.grid.shape) == np.prod(first.grid.shape) * np.prod(study.finer_axes)
        results = {next(iter(study.targets)): made.image, **{role: one.image for role, one in made.further.items()}}
    assert results.keys() == study.targets.keys()
    for role, result in results.items():
        domain = study.targets[role]
        assert result.unit == domain.unit
        assert np.isfinite(result.voxels).all()
        if isinstance(domain.window, Labels):
            assert set(np.unique(result.voxels)) <= {0, *(label.value for label in domain.window.labels)}
        elif isinstance(domain.window, FixedWindow):
            # A linear output may leave the window; by more than half of the window's width it is no CT.
            middle, reach = (domain.window.low + domain.window.high) / 2, domain.window.high - domain.window.low
            assert np.abs(result.voxels - middle).max() < reach


def turned(case, study):
    """Return the toy's volumes on an oblique grid with another order of axes, by the study's roles."""
    affine = np.array([[0.0, -2.0, 0.3, 11], [1.9, 0.0, 0.5, -7], [-0.4, 0.0, 3.8, 5], [0, 0, 0, 1]])
    affine[:3, :3] = np.linalg.qr(affine[:3, :3])[0] * (2.0, 2.0, 4.0)
    labels = (case.volumes["mr"] > 330).astype(np.int16)
    case = replace(case, volumes={**case.volumes, "seg": labels}, slopes={**case.slopes, "seg": 1.0})
    return {
        role: Image(case.image(domain.modality.lower(), domain).voxels, affine, domain.unit)
        for role, domain in study.inputs.items()
    }


def test_its_file_is_short_and_has_neither_fork_nor_loop(name):
    file = Path(recipes.__path__[0], f"{name.replace('-', '_')}.py")
    text = file.read_text(encoding="utf-8")
    found = Counter(type(node).__name__ for node in ast.walk(ast.parse(text)) if isinstance(node, FORKS + LOOPS))
    # A comprehension is a loop too: what must be made in a row is made by a part.
    assert not found
    assert len(text.splitlines()) < 80


def test_what_it_says_of_itself_can_be_looked_up(name):
    said = recipes.described(name)
    assert re.fullmatch(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d{4,9}/\S+", said["source"])
    assert said["title"]
    assert said["task"]
    assert said["needs"]
    # What is not the paper's says so.
    for departure in (said["settings"]["marks"], *said["departures"]):
        assert re.search(r"\[(assumed|paper\??|seed)[^\]]*\]|\(paper: ", departure), departure


def test_it_is_listed_as_it_says_of_itself(name):
    (listed,) = (entry for entry in recipes.titles() if entry["name"] == name)
    assert listed["about"]
    assert listed.items() - {("about", listed["about"])} <= recipes.described(name).items()


def test_departures_name_the_settings_that_differ_and_only_those(name):
    def departed(**changes):
        study = replace(recipes.example(name), changes=changes)
        with torch.device("meta"):
            found = [SETTING.fullmatch(text) for text in recipes.load(name)(study).departures]
        return {match[1]: match[2] for match in found if match}

    other = {"width": 3, "patch": 2 * recipes.published(name).patch, "steps": 97}
    width, steps = departed(**other), departed(**other, batch=11, rate=0.123)
    assert set(width) == {"width", "patch", "steps"}
    assert set(steps) == {"width", "patch", "steps", "batch", "rate"}
    # Said again with the paper's own numbers, the study departs in its width alone.
    papers = {setting: float(value) for setting, value in steps.items()}
    assert set(departed(**{**papers, "width": 3})) == {"width"}


@pytest.mark.parametrize(
    "changes", [{"widht": 4}, {"width": 16.7}, {"batch": 0}, {"rate": -1}, {"patch": "large"}], ids=str
)
def test_a_setting_that_does_not_exist_or_has_no_sense_is_refused(name, changes):
    (setting,) = changes
    with pytest.raises(StudyError, match=setting):
        build(recipes.load(name), replace(recipes.example(name), changes=changes))


def test_a_system_has_levels_to_choose_only_where_it_reads_them(name):
    published = recipes.published(name).numbers
    if "levels" not in published:
        with pytest.raises(StudyError, match="'levels' is no setting of this system: there are width, patch"):
            build(recipes.load(name), replace(recipes.example(name), changes={"levels": 3}))
        return
    shapes = []
    for levels in (published["levels"], published["levels"] - 1):
        study = replace(recipes.example(name), changes={"levels": levels})
        with torch.device("meta"):
            built = recipes.load(name)(study)
        shapes.append([value.shape for network in built.networks.values() for value in network.parameters()])
    assert shapes[0] != shapes[1]


def test_what_it_begins_with_is_the_studys_to_have(name):
    example = recipes.example(name)
    other = replace(example, inputs={} if example.inputs else {"pet": PET}, made={}, guides={}, strength=None)
    with torch.device("meta"), pytest.raises(StudyError):
        build(recipes.load(name), other)


def test_an_average_follows_its_network_and_is_moved_by_nobody(recipe, study, cases):
    players = [player for phase in recipe.phases for player in phase.players]
    moved = {network for player in players for network in player.moves}
    averages = [act for player in players for act in player.after if isinstance(act, ExponentialAverage)]
    assert not moved & {act.into for act in averages}
    before = weights(recipe.networks)
    _, state = first_steps(recipe, study, cases, recipe.phases[-1])
    for act in {act for player in recipe.phases[-1].players for act in player.after} & set(averages):
        for key, value in state.networks[act.into].named_parameters():
            # At its first step the average goes nine tenths of the way.
            expected = torch.lerp(before[act.into][key], state.networks[act.of].get_parameter(key), 0.9)
            assert torch.allclose(value, expected, atol=1e-7)
