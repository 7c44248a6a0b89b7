"""VAE-GAN against a loop written by hand; which gradient reaches which network."""

from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from by_hand import CPU, STEPS, assert_same, lowered, players_of, published, two_steps
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import RMSprop

from MedGANLogic.chance import Normal as NormalChance
from MedGANLogic.recipe import Phase
from MedGANLogic.training import optimizers_of, play


@pytest.fixture(scope="module")
def once(toy_study, toy_cohort):
    # Of a batch of two a batch norm of single numbers leaves nothing but signs.
    return two_steps("vae-gan", partial(toy_study, batch=4), toy_cohort)


@pytest.fixture
def played(once):
    return deepcopy(once)


def said(logits, truth):
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def coded(encoder, image, deviation):
    """Return codes, and how far their distribution is from the prior (eq. 3)."""
    mean, log_variance = encoder(image).chunk(2, dim=1)
    divergence = (log_variance.exp() + mean.square() - 1 - log_variance).sum(1).mean() / 2
    return mean + (log_variance / 2).exp() * deviation, divergence


def test_two_steps_are_those_of_algorithm_1_written_by_hand(played):
    networks = deepcopy(played.fresh)
    encoder, decoder, discriminator = (networks[name] for name in ("encoder", "generator", "discriminator"))
    of_encoder, of_decoder, of_discriminator = (
        RMSprop(network.parameters(), lr=3e-4, alpha=0.9) for network in (encoder, decoder, discriminator)
    )
    assert len(played.batches) == STEPS
    for batch in played.batches:
        image = batch["image"]
        code, divergence = coded(encoder, image, batch["deviation"])
        rebuilt, drawn = decoder(code.detach()), decoder(batch["noise"])

        of_discriminator.zero_grad()
        real, again, fake = (discriminator(one) for one in (image, rebuilt.detach(), drawn.detach()))
        (said(real, 1.0) + said(again, 0.0) + said(fake, 0.0)).backward()
        of_discriminator.step()

        of_decoder.zero_grad()
        seen, sought = discriminator.body(rebuilt), discriminator.body(image).detach()
        adversarial = said(discriminator.head(seen), 1.0) + said(discriminator(drawn), 1.0)
        (adversarial + 0.01 * (seen - sought).square().mean()).backward()
        of_decoder.step()

        of_encoder.zero_grad()
        likelihood = (discriminator.body(decoder(code)) - sought).square().sum() / 2 / len(image)
        (divergence + likelihood).backward()
        of_encoder.step()
    # RMSProp's first step is as long for a gradient that rounding leaves as for any other.
    assert_same(played, networks, spared=0.03)


def test_the_encoder_lowers_the_evidence_bound_of_gaussian_features():
    recipe = published("vae-gan")
    (encoder,) = (player for player in recipe.phases[0].players if player.name == "encoder")
    random = torch.Generator().manual_seed(0)
    shape = (3, *recipe.networks["discriminator"].feature_shape)
    seen, sought = torch.randn(2, *shape, generator=random)
    moments = torch.randn(3, 256, generator=random)
    game = SimpleNamespace(moments=moments, features_rebuilt=seen, features_real=sought)
    mean, log_variance = moments.chunk(2, dim=1)
    divergence = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
    # eq. 7, less what no weight changes.
    likelihood = Normal(seen, 1.0).log_prob(sought) - Normal(sought, 1.0).log_prob(sought)
    expected = divergence - likelihood.flatten(1).sum(1).mean()
    assert lowered(encoder, game) == pytest.approx(expected.item(), rel=1e-4)


def test_the_discriminator_sees_both_kinds_of_fakes_and_the_decoder_answers_for_both():
    players = players_of("vae-gan")
    features = torch.ones(2, 4)
    game = SimpleNamespace(
        score_real=torch.tensor([1.0]),
        score_rebuilt=torch.tensor([2.0]),
        score_fake=torch.tensor([3.0]),
        features_rebuilt=features,
        features_real=3 * features,
    )
    real, rebuilt, fake = torch.sigmoid(torch.tensor([1.0, 2.0, 3.0], dtype=torch.double))
    judged = -real.log() - (1 - rebuilt).log() - (1 - fake).log()
    assert lowered(players["discriminator"], game) == pytest.approx(judged.item(), rel=1e-5)
    assert lowered(players["decoder"], game) == pytest.approx((0.04 - rebuilt.log() - fake.log()).item(), rel=1e-5)


def moved(played, player, networks):
    """Return a network's state after one step of a player of a game whose networks were changed."""
    (one,) = (one for one in played.phase.players if one.name == player)
    phase = Phase(1, played.phase.feed, played.phase.game, (one,))
    play(phase, networks, optimizers_of(phase, networks), iter(played.batches), 0, CPU)
    return networks[one.moves[0]].state_dict()


def test_the_adversarial_term_never_reaches_the_encoder(played):
    states = []
    for factor in (1, -7):
        networks = deepcopy(dict(played.fresh))
        with torch.no_grad():
            networks["discriminator"].head[0].weight.mul_(factor)
        states.append(moved(played, "encoder", networks))
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_the_divergence_reaches_the_encoder_alone(played):
    game = played.phase.game(played.networks, played.batches[0])
    (term,) = (term for player in played.phase.players for term in player.terms if term.names == ("moments",))
    value = term.value(game)
    for name, network in played.networks.items():
        gradients = torch.autograd.grad(value, list(network.parameters()), allow_unused=True, retain_graph=True)
        assert all((gradient is not None) == (name == "encoder") for gradient in gradients)
    holders = [player.name for player in played.phase.players if term in player.terms]
    assert holders == ["encoder"]


def test_no_loss_compares_voxels(played):
    read = {name for player in played.phase.players for term in player.terms for name in term.names}
    assert not read & {"image", "rebuilt", "fake"}


def test_what_is_sampled_is_drawn_as_the_prior_was(played):
    assert played.recipe.chance == {"noise": NormalChance((128,))}
    drawn = [torch.cat([batch[name] for batch in played.batches]) for name in ("noise", "deviation")]
    assert not torch.equal(*drawn)
