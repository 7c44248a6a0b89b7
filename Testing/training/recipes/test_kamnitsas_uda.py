"""Domain adaptation against a loop written by hand with a reversed gradient, and what is read of which domain."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, softplus
from torch.optim import RMSprop

from MedGANLogic.cohort import CohortError
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.recipe import build
from MedGANLogic.recipes import example, load
from MedGANLogic.study import TRANSLATION, StudyError
from MedGANLogic.training import optimizers_of, play, start

CPU = torch.device("cpu")
#: Two steps of a thousand: α is rising.
STEPS = (400, 401)


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def study(request, toy_study):
    return toy_study(request.param, 0, example=example("kamnitsas-uda"), patch=12, steps=1000)


@pytest.fixture
def adaptation(study):
    return build(load("kamnitsas-uda"), study)


@pytest.fixture
def phase(adaptation):
    (phase,) = adaptation.phases
    return phase


@pytest.fixture
def cases(study, toy_cohort):
    return [case for case in toy_cohort(study) if case.part == "train"]


@pytest.fixture
def batches(phase, study, cases):
    drawn = Batches(phase.feed, Pool(study, cases), (study.seed,))
    return {step: drawn[step] for step in STEPS}


class Reversed(torch.autograd.Function):
    """Identity, whose gradient comes back times -α (Ganin & Lempitsky 2015, arXiv:1409.7495)."""

    @staticmethod
    def forward(context, activations, alpha):
        context.alpha = alpha
        return activations.clone()

    @staticmethod
    def backward(context, gradient):
        return -context.alpha * gradient, None


def trained_by_hand(networks, batches, alpha_at):
    """Train as the paper says: the classifier learns the domains, then the segmenter the labels, against it."""
    segmenter, classifier = networks["segmenter"], networks["domain_classifier"]
    rms = {
        name: RMSprop(net.parameters(), lr=1e-3, alpha=0.9, eps=1e-4, momentum=0.6) for name, net in networks.items()
    }
    for step, batch in batches.items():
        n, y, weight = len(batch["input"]), batch["target"], batch["weight"]
        logits, activations = segmenter.with_activations(torch.cat([batch["input"], batch["foreign"]]))
        told = classifier(activations.detach())
        rms["domain_classifier"].zero_grad()
        domain_cross_entropy(told, n).backward()
        rms["domain_classifier"].step()

        classifier.requires_grad_(False)
        told = classifier(Reversed.apply(activations, alpha_at(step)))
        costs = cross_entropy(logits[:n].float(), y, reduction="none") * weight[:, 0]
        rms["segmenter"].zero_grad()
        ((costs.flatten(1).sum(1) / weight.flatten(1).sum(1)).mean() + domain_cross_entropy(told, n)).backward()
        rms["segmenter"].step()
        classifier.requires_grad_(True)


def domain_cross_entropy(told, n):
    """Voxel by voxel: 1 for the source, 0 for the other domain."""
    return torch.cat([softplus(-told[:n]), softplus(told[n:])]).float().mean()


def played(adaptation, phase, batches):
    state = start(adaptation, CPU)
    optimizers = optimizers_of(phase, state.networks)
    for step, batch in batches.items():
        play(phase, state.networks, optimizers, iter([batch]), step, CPU)
    return state.networks


def moved(networks, before):
    return {
        f"{name}.{key}": value - before[name].state_dict()[key]
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }


# In 3D, because volumes are computed in float32: the weight that a gradient gets before it passes the classifier, and
# not after, rounds otherwise.
@pytest.mark.parametrize("study", [3], indirect=True)
def test_two_steps_are_those_of_a_loop_with_a_reversed_gradient(adaptation, phase, batches):
    before = deepcopy(dict(start(adaptation, CPU).networks))
    by_hand = deepcopy(before)
    # From epoch 10 to 35 of 50, α rises from 0 to .05.
    trained_by_hand(by_hand, batches, lambda step: 0.05 * (step / 1000 - 0.2) / 0.5)
    found, expected = moved(played(adaptation, phase, batches), before), moved(by_hand, before)
    for name, move in expected.items():
        assert torch.allclose(found[name], move, rtol=0, atol=2e-4 * float(move.abs().max()) + 1e-7), name


def test_before_the_ramp_the_segmenter_learns_as_if_there_were_no_classifier(adaptation, phase, batches):
    alone = replace(phase, players=(replace(phase.players[1], terms=phase.players[1].terms[:1]),))
    early, late = ({step: batches[STEPS[0]]} for step in (200, 999))

    def segmenter(phase, batches):
        networks = played(replace(adaptation, networks=deepcopy(dict(adaptation.networks))), phase, batches)
        return networks["segmenter"].state_dict()

    def same(one, other):
        return all(torch.equal(value, other[key]) for key, value in one.items())

    assert same(segmenter(phase, early), segmenter(alone, early))
    assert not same(segmenter(phase, late), segmenter(alone, late))


def test_alpha_rises_between_epochs_10_and_35_of_50(phase):
    (classifier, segmenter) = phase.players
    for term in segmenter.terms[1:]:
        alpha = [-2 * term.weight_at(epoch / 50) for epoch in (0, 10, 22.5, 35, 50)]
        assert alpha == pytest.approx([0, 0, 0.025, 0.05, 0.05])
    assert [(term.loss, term.names) for term in classifier.terms] == [
        (term.loss, term.names) for term in segmenter.terms[1:]
    ]


def gradients(adaptation, batch, *terms):
    """Return the gradient that terms alone give the segmenter, joined, when the ramp is over."""
    torch.manual_seed(0)
    game = adaptation.phases[0].game(adaptation.networks, batch, 999, 1.0)
    total = sum(term.weight_at(1.0) * term.value(game) for term in terms)
    weights = list(adaptation.networks["segmenter"].parameters())
    found = torch.autograd.grad(total, weights, allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def test_what_helps_the_classifier_is_undone_by_the_segmenter(adaptation, phase, batches):
    batch = batches[STEPS[0]]
    classifier, segmenter = (player.terms for player in phase.players)
    helps, hides = gradients(adaptation, batch, *classifier), gradients(adaptation, batch, *segmenter[1:])
    assert helps.abs().max() > 0
    assert torch.allclose(hides, -0.05 * helps, rtol=1e-3, atol=1e-3 * float(0.05 * helps.abs().max()))


def test_both_domains_pass_the_segmenter_in_one_batch(adaptation, phase, batches):
    seen = []
    segmenter = adaptation.networks["segmenter"]
    segmenter.fine[0].register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    game = phase.game(adaptation.networks, batches[STEPS[0]])
    assert all(getattr(game, name) is not None for name in sorted(game.names()))
    assert seen == [4]
    assert segmenter.fine[0][1].num_batches_tracked == 1


def test_what_a_network_said_is_forgotten_when_it_moves(adaptation, phase, batches):
    game = phase.game(adaptation.networks, batches[STEPS[0]])
    told, understood = game.domain_of_source, game.understood
    game.forget(("domain_classifier",))
    assert game.domain_of_source is not told
    assert game.understood is understood
    game.forget(("segmenter",))
    assert game.understood is not understood


def test_labels_of_the_other_domain_are_never_read(adaptation, phase, study, cases):
    (foreign,) = [case for case in cases if not set(study.targets) & case.volumes.keys()]
    _, others = phase.feed.sources
    pool = Pool(study, cases)
    assert pool.having(others.roles, others.lacking) == [cases.index(foreign)]
    assert cases.index(foreign) not in pool.having(study.domains)
    assert set(others.roles) == set(study.inputs)
    with pytest.raises(CohortError, match="no lesion"):
        Batches(phase.feed, Pool(study, [case for case in cases if case is not foreign]), (0,))


def test_the_loss_of_labels_reads_the_source_alone(adaptation, phase, batches):
    batch = batches[STEPS[0]]
    networks = {name: network.eval() for name, network in adaptation.networks.items()}
    segments = phase.players[1].terms[0]
    values = [
        segments.value(phase.game(networks, {**batch, "foreign": images}))
        for images in (batch["foreign"], -batch["foreign"])
    ]
    assert torch.equal(*values)


def test_the_prediction_needs_no_domain_classifier(adaptation):
    assert [one.networks for one in adaptation.passes] == [("segmenter",)]


def test_at_its_published_width_the_classifier_has_100_channels():
    with torch.device("meta"):
        networks = build(load("kamnitsas-uda"), example("kamnitsas-uda")).networks
    assert networks["domain_classifier"].arguments["width"] == 100
    assert networks["domain_classifier"].arguments["in_channels"] == networks["segmenter"].activation_channels


def test_a_study_without_labels_is_refused():
    with pytest.raises(StudyError, match="no labels"):
        build(load("kamnitsas-uda"), TRANSLATION)
