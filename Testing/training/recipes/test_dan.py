"""DAN against a loop written by hand, and what its evaluator may know."""

from copy import deepcopy

import pytest
import torch
from torch.nn.functional import cross_entropy, softplus
from torch.optim import Adam

from MedGANLogic.cohort import CohortError
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.recipe import build
from MedGANLogic.recipes import example, load
from MedGANLogic.study import TRANSLATION, StudyError
from MedGANLogic.training import optimizers_of, play, seed_of, start

CPU = torch.device("cpu")
#: Two steps of the adversarial phase's twenty while λ is rising.
STEPS = (6, 7)


@pytest.fixture(params=[(2, 1), (3, 0)], ids=["2.5D", "3D"])
def study(request, toy_study):
    return toy_study(*request.param, example=example("dan"))


@pytest.fixture
def dan(study):
    return build(load("dan"), study)


@pytest.fixture
def cases(study, toy_cohort):
    return [case for case in toy_cohort(study) if case.part == "train"]


@pytest.fixture
def batches(dan, study, cases):
    """Return batches of the adversarial phase, by their steps."""
    drawn = Batches(dan.phases[1].feed, Pool(study, cases), (study.seed,))
    return {step: drawn[step] for step in STEPS}


def autocast(study):
    return torch.autocast("cpu", torch.bfloat16, enabled=study.dimensions == 2)


def trained_by_hand(networks, batches, study, weight_at):
    """Train as the paper says: the evaluator tells labelled images' segmentations (1) from the others' (0), then the
    segmenter learns the labels, and lowers λ·BCE(evaluator(unlabelled), 1)."""
    segmenter, evaluator = networks["segmenter"], networks["evaluator"]
    adam_e, adam_s = Adam(evaluator.parameters(), lr=1e-4), Adam(segmenter.parameters(), lr=1e-4)
    for step, batch in batches.items():
        x, u, y, weight = (batch[name] for name in ("input", "unlabelled", "target", "weight"))
        torch.manual_seed(seed_of(study.seed, step))
        with autocast(study):
            logits = segmenter(x)
            first = softplus(-evaluator(torch.cat([x, logits.detach().softmax(1)], 1))).mean()
            logits_u = segmenter(u)
            second = softplus(evaluator(torch.cat([u, logits_u.detach().softmax(1)], 1))).mean()
        adam_e.zero_grad()
        (first.float() + second.float()).backward()
        adam_e.step()

        evaluator.requires_grad_(False)
        with autocast(study):
            costs = cross_entropy(logits.float(), y, reduction="none") * weight[:, 0]
            fooled = softplus(-evaluator(torch.cat([u, logits_u.softmax(1)], 1))).mean()
        adam_s.zero_grad()
        ((costs.flatten(1).sum(1) / weight.flatten(1).sum(1)).mean() + weight_at(step) * fooled.float()).backward()
        adam_s.step()
        evaluator.requires_grad_(True)
    return {"evaluator": adam_e, "segmenter": adam_s}


def test_two_adversarial_steps_are_bit_equal_to_a_loop_written_by_hand(dan, study, batches):
    state = start(dan, CPU)
    by_hand = deepcopy(dict(state.networks))
    phase = dan.phases[1]
    assert phase.steps == 20
    # λ is .1 once half of the phase is done.
    trained_by_hand(by_hand, batches, study, lambda step: 0.1 * (step / 20) / 0.5)
    optimizers = optimizers_of(phase, state.networks)
    for step, batch in batches.items():
        torch.manual_seed(seed_of(study.seed, step))
        play(phase, state.networks, optimizers, iter([batch]), step, CPU)
    for name, network in by_hand.items():
        found = state.networks[name].state_dict()
        assert all(torch.equal(value, found[key]) for key, value in network.state_dict().items()), name


def test_the_first_phase_is_cross_entropy_alone_and_leaves_the_evaluator_as_it_was(dan, study, batches):
    state = start(dan, CPU)
    by_hand = deepcopy(dict(state.networks))
    phase = dan.phases[0]
    # Unlabelled images are not even drawn.
    assert all("unlabelled" not in source.needs and "without" not in source.needs for source in phase.feed.sources)
    adam = Adam(by_hand["segmenter"].parameters(), lr=1e-4)
    for step, batch in batches.items():
        labelled = {name: value for name, value in batch.items() if name != "unlabelled"}
        play(phase, state.networks, state.optimizers, iter([labelled]), step, CPU)
        with autocast(study):
            costs = cross_entropy(by_hand["segmenter"](batch["input"]).float(), batch["target"], reduction="none")
        adam.zero_grad()
        weight = batch["weight"]
        ((costs * weight[:, 0]).flatten(1).sum(1) / weight.flatten(1).sum(1)).mean().backward()
        adam.step()
    for name, network in by_hand.items():
        found = state.networks[name].state_dict()
        assert all(torch.equal(value, found[key]) for key, value in network.state_dict().items()), name


def test_the_second_phase_goes_on_from_the_first_for_the_other_half_of_the_steps(dan, study):
    assert [phase.steps for phase in dan.phases] == [20, 20]
    assert [[player.name for player in phase.players] for phase in dan.phases] == [
        ["segmenter"],
        ["evaluator", "segmenter"],
    ]


def test_no_label_enters_the_evaluator(dan, batches):
    phase, batch = dan.phases[1], batches[STEPS[0]]
    scores = []
    for target in (batch["target"], batch["target"].flip(1)):
        game = phase.game({name: net.eval() for name, net in dan.networks.items()}, {**batch, "target": target})
        scores.append(torch.cat([game.score_labelled, game.score_unlabelled]))
    assert torch.equal(*scores)


def test_the_evaluator_sees_the_image_beside_its_segmentation(dan, batches):
    phase, batch = dan.phases[1], batches[STEPS[0]]
    networks = {name: net.eval() for name, net in dan.networks.items()}
    joined = []
    networks["evaluator"].register_forward_hook(lambda _module, inputs, _output: joined.append(inputs[0]))
    game = phase.game(networks, batch)
    assert game.score_unlabelled.shape == (2, 1)
    (image, probabilities) = joined[0].tensor_split([batch["unlabelled"].shape[1]], dim=1)
    assert torch.equal(image, batch["unlabelled"])
    assert torch.allclose(probabilities, networks["segmenter"](batch["unlabelled"]).softmax(1))


def test_what_a_network_said_is_forgotten_when_it_moves(dan, batches):
    game = dan.phases[1].game(dan.networks, batches[STEPS[0]])
    by_both = game.score_labelled, game.score_unlabelled
    by_segmenter = game.logits, game.logits_unlabelled
    game.forget(("evaluator",))
    assert (game.logits is by_segmenter[0]) and (game.logits_unlabelled is by_segmenter[1])
    assert (game.score_labelled is not by_both[0]) and (game.score_unlabelled is not by_both[1])
    game.forget(("segmenter",))
    assert (game.logits is not by_segmenter[0]) and (game.logits_unlabelled is not by_segmenter[1])


@pytest.mark.parametrize(("score", "expected"), [(8.0, (0, 8)), (-8.0, (8, 0))])
def test_labelled_is_called_1_and_unlabelled_0_by_the_evaluator_and_1_by_the_segmenter(dan, score, expected):
    evaluator, segmenter = dan.phases[1].players
    targets = {term.names[0]: term for term in evaluator.terms}
    costs = [targets[name].loss(torch.tensor([[score]])).item() for name in ("score_labelled", "score_unlabelled")]
    assert costs == pytest.approx(expected, abs=1e-3)
    assert [term.weight for term in evaluator.terms] == [1, 1]
    (fooled,) = [term for term in segmenter.terms if term.names[0].startswith("score")]
    assert fooled.names == ("score_unlabelled",)
    assert fooled.loss(torch.tensor([[score]])).item() == pytest.approx(expected[0], abs=1e-3)
    assert [fooled.weight_at(done) for done in (0, 0.25, 0.5, 1)] == pytest.approx([0, 0.05, 0.1, 0.1])


def test_unlabelled_images_are_of_subjects_without_labels_alone(dan, study, cases):
    unlabelled = [case for case in cases if not set(study.targets) & case.volumes.keys()]
    assert len(unlabelled) == 1
    source = dan.phases[1].feed.sources[1]
    pool = Pool(study, cases)
    assert pool.having(source.roles, source.lacking) == [cases.index(unlabelled[0])]
    with pytest.raises(CohortError, match="no lesion"):
        Batches(dan.phases[1].feed, Pool(study, [case for case in cases if case not in unlabelled]), (0,))


def test_the_prediction_needs_no_evaluator(dan):
    assert [one.networks for one in dan.passes] == [("segmenter",)]


def test_a_study_without_labels_is_refused(toy_study):
    with pytest.raises(StudyError, match="no labels"):
        build(load("dan"), toy_study(example=TRANSLATION))
