"""A game remembers its tensors for as long as the networks that made them stand still."""

from functools import partial
from itertools import count

import pytest
import torch
from torch import nn
from torch.optim import SGD

from MedGANLogic.feeds import Feed
from MedGANLogic.games.paired import Paired
from MedGANLogic.games.segmentation import Segmented, SegmentedApart
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.voxelwise import masked_l1
from MedGANLogic.recipe import Game, Phase, Player, Term, tensor
from MedGANLogic.training import play

NO_FEED = Feed(1)
CPU = torch.device("cpu")


class Counted(nn.Conv2d):
    """A network that counts how often it is asked."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, 1)
        self.asked = 0

    def forward(self, image):
        self.asked += 1
        return super().forward(image)


class Chain(Game):
    @tensor
    def raw(self):
        return self.batch["raw"]

    @tensor
    def first(self):
        return self.network("a")(self.raw)

    @tensor
    def second(self):
        return self.network("b")(self.first)

    @tensor
    def both(self):
        return self.first + self.second


class LongerChain(Chain):
    @tensor
    def third(self):
        return 2 * self.both


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return {"a": Counted(1, 1), "b": Counted(1, 1)}


@pytest.fixture
def chain(networks):
    return LongerChain(networks, {"raw": torch.ones(1, 1, 2, 2)})


def test_a_tensor_is_computed_once_however_often_it_is_read(chain, networks):
    assert chain.third is chain.third
    assert chain.second is chain.second
    assert chain.both is not chain.first
    assert (networks["a"].asked, networks["b"].asked) == (1, 1)


def test_only_what_passed_through_the_moved_network_is_forgotten(chain, networks):
    raw, first, second = chain.raw, chain.first, chain.second
    chain.forget(("b",))
    assert chain.raw is raw
    assert chain.first is first
    assert chain.second is not second
    assert (networks["a"].asked, networks["b"].asked) == (1, 2)


def test_a_move_upstream_reaches_everything_downstream(chain, networks):
    before = chain.third.detach().clone()
    with torch.no_grad():
        networks["a"].weight.add_(1)
    chain.forget(("a",))
    assert not torch.equal(chain.third, before)
    assert torch.equal(chain.third, 2 * (networks["a"](chain.raw) + networks["b"](networks["a"](chain.raw))))


def test_dependence_is_noted_also_through_tensors_that_were_known(chain):
    assert chain.second is not None  # known before anything that is made of it is read
    third = chain.third
    chain.forget(("b",))
    assert chain.third is not third
    first = chain.first
    chain.forget(("a",))
    assert chain.first is not first


def test_a_move_of_a_stranger_forgets_nothing(chain):
    third = chain.third
    chain.forget(("c",))
    chain.forget(())
    assert chain.third is third


def test_names_include_inherited_tensors_and_nothing_else():
    assert Chain.names() == {"raw", "first", "second", "both"}
    assert LongerChain.names() == {"raw", "first", "second", "both", "third"}


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return {"generator": Counted(1, 1), "discriminator": Counted(2, 1)}


@pytest.fixture
def players():
    descent = partial(SGD, lr=0.1)
    terms = (Term(0.5, called_real, "score_real_pair"), Term(0.5, called_fake, "score_fake_pair"))
    adversarial = (Term(1.0, called_real, "score_fake_pair"), Term(10.0, masked_l1, "fake_b", "real_b", "weight"))
    return {
        "discriminator": Player("discriminator", ("discriminator",), descent, terms),
        "generator": Player("generator", ("generator",), descent, adversarial),
    }


def batches():
    for number in count():
        random = torch.Generator().manual_seed(number)
        one = {name: torch.randn(2, 1, 4, 4, generator=random) for name in ("input", "target")}
        yield {**one, "weight": torch.ones(2, 1, 4, 4)}


def played(pair, *players):
    optimizers = {
        player.name: player.optimizer([w for name in player.moves for w in pair[name].parameters()])
        for player in players
    }
    drawn = batches()
    play(Phase(1, NO_FEED, Paired, players), pair, optimizers, drawn, 0, CPU)
    return drawn


@pytest.mark.parametrize(("mover", "other"), [("discriminator", "generator"), ("generator", "discriminator")])
def test_a_players_backward_gives_nobody_else_a_gradient(pair, players, mover, other):
    played(pair, players[mover])
    assert all(weight.grad.any() for weight in pair[mover].parameters())
    assert all(weight.grad is None for weight in pair[other].parameters())


def test_a_later_player_adds_nothing_to_an_earlier_ones_gradient(pair, players):
    played(pair, players["discriminator"], players["generator"])
    together = pair["discriminator"].weight.grad.clone()
    torch.manual_seed(0)
    alone = {"generator": Counted(1, 1), "discriminator": Counted(2, 1)}
    played(alone, players["discriminator"])
    assert torch.equal(together, alone["discriminator"].weight.grad)


def test_players_share_the_fake_and_score_it_anew_after_a_move(pair, players):
    played(pair, players["discriminator"], players["generator"])
    assert pair["generator"].asked == 1
    assert pair["discriminator"].asked == 3  # real, fake, and the fake again once the discriminator has moved


def test_every_further_turn_is_a_new_game_on_the_next_batch(pair, players):
    critic = Player("critic", ("discriminator",), partial(SGD, lr=0.1), players["discriminator"].terms, turns=3)
    left = played(pair, critic, players["generator"])
    number_of_the_next = 3
    expected = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(number_of_the_next))
    assert torch.equal(next(left)["input"], expected)
    assert pair["generator"].asked == 3  # once a game; the generator's own turn is in the last


def test_where_the_pair_does_not_count_the_discriminator_is_shown_the_target(pair):
    batch = next(batches())
    batch["weight"][:, :, :2] = 0
    game = Paired(pair, batch)
    same = game.score_fake_pair == game.score_real_pair
    assert same[:, :, :2].all()
    assert not same[:, :, 2:].any()


@pytest.fixture
def labels():
    """Return a batch of 4² with two classes, whose last column does not count."""
    random = torch.Generator().manual_seed(0)
    lesion = (torch.rand(1, 1, 4, 4, generator=random) > 0.5).float()
    weight = torch.ones(1, 1, 4, 4)
    weight[..., -1] = 0
    return {
        "input": torch.rand(1, 1, 4, 4, generator=random),
        "target": torch.cat([1 - lesion, lesion], 1),
        "weight": weight,
    }


class Seeing(nn.Module):
    def forward(self, joined):
        self.seen = joined
        return joined[:, -1].mean(dim=(1, 2))


def test_probabilities_are_what_a_discriminator_sees_of_a_segmentation_and_what_it_moves(labels):
    torch.manual_seed(0)
    networks = {"generator": nn.Conv2d(1, 2, 1), "discriminator": Seeing()}
    for game, beside in ((Segmented(networks, labels), 1), (SegmentedApart(networks, labels), 0)):
        score = game.score_fake_pair if beside else game.score_fake
        image, shown = networks["discriminator"].seen.tensor_split([beside], dim=1)
        assert torch.equal(image, labels["input"][:, :beside])
        assert torch.allclose(shown.sum(1), torch.ones(1, 4, 4))
        assert torch.equal(shown[..., -1], labels["target"][..., -1])
        assert torch.equal(shown[..., :-1], networks["generator"](labels["input"]).softmax(1)[..., :-1])
        (slope,) = torch.autograd.grad(score, networks["generator"].weight)
        assert slope.abs().max() > 0
        real = game.score_real_pair if beside else game.score_real
        assert torch.equal(networks["discriminator"].seen[:, beside:], labels["target"])
        assert real.shape == (1,)
