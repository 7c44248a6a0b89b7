"""BEGAN against a loop written by hand; its balance, its measure of convergence, and that both outlive a stop."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from by_hand import STEPS, assert_same, lowered, players_of, two_steps
from torch import nn
from torch.optim import Adam

from MedGANLogic import processes
from MedGANLogic.chance import Uniform
from MedGANLogic.games.equilibrium import Equilibrium, Rebalance
from MedGANLogic.parts.balance import Balance
from MedGANLogic.training import resume, save, start


def surprise(image, discriminator):
    return (image - discriminator(image)).abs().mean()


def trained_by_hand(networks, batches, steps):
    """Train as §3.4 says; return the measure of convergence at the last step."""
    generator, discriminator, k = networks["generator"], networks["discriminator"], networks["balance"].k.item()
    of_generator, of_discriminator = (Adam(one.parameters(), lr=1e-4) for one in (generator, discriminator))
    for step, batch in zip(steps, batches, strict=True):
        for optimizer in (of_generator, of_discriminator):
            optimizer.param_groups[0]["lr"] = 1e-4 * (1 - 7 / 8 * step / 40)
        fake = generator(batch["noise"])
        real_energy, fake_energy = surprise(batch["image"], discriminator), surprise(fake.detach(), discriminator)
        of_discriminator.zero_grad()
        (real_energy - k * fake_energy).backward()
        of_discriminator.step()
        imbalance = 0.5 * real_energy.item() - fake_energy.item()
        k = min(max(k + 0.001 * imbalance, 0), 1)

        of_generator.zero_grad()
        surprise(fake, discriminator).backward()
        of_generator.step()
    networks["balance"].k.fill_(k)
    return real_energy.item() + abs(imbalance)


def test_two_steps_are_those_of_a_loop_written_by_hand(toy_study, toy_cohort):
    played = two_steps("began", toy_study, toy_cohort, first=20)
    by_hand = deepcopy(played.fresh)
    convergence = trained_by_hand(by_hand, played.batches, range(20, 20 + STEPS))
    assert_same(played, by_hand)
    assert played.losses["discriminator/2 convergence(energy_real, energy_fake, diversity)"].item() == pytest.approx(
        convergence, abs=1e-6
    )
    assert played.recipe.chance == {"noise": Uniform((64,))}


class Halved(nn.Module):
    """A discriminator that rebuilds half of what it sees."""

    def forward(self, image):
        return image / 2


@pytest.fixture
def game():
    """Return a game whose real images have energy 1 and whose fakes have energy 0.25, at k = 0.3."""
    balance = Balance(diversity=0.5, rate=0.001)
    balance.k.fill_(0.3)
    networks = {"generator": nn.Identity(), "discriminator": Halved(), "balance": balance}
    return Equilibrium(networks, {"image": torch.full((2, 1, 4, 4), 2.0), "noise": torch.full((2, 1, 4, 4), -0.5)})


def test_losses_at_known_energies(game):
    players = players_of("began")
    assert lowered(players["discriminator"], game) == pytest.approx(1 - 0.3 * 0.25)
    assert lowered(players["generator"], game) == pytest.approx(0.25)


# Fakes that are rebuilt better than the balance wants, and worse.
@pytest.mark.parametrize(("noise", "convergence"), [(-0.5, 1.25), (-2.0, 1.5)])
def test_the_measure_of_convergence_is_logged_and_not_lowered(game, noise, convergence):
    other = Equilibrium(game.networks, {**game.batch, "noise": torch.full((2, 1, 4, 4), noise)})
    *_, measured = players_of("began")["discriminator"].terms
    assert measured.weight == 0
    assert measured.value(other).item() == pytest.approx(convergence)


def test_after_the_discriminators_step_the_balance_follows_its_energies(game):
    players = players_of("began")
    (act,) = players["discriminator"].after
    act(game)
    assert game.networks["balance"].k.item() == pytest.approx(0.3 + 0.001 * (0.5 * 1 - 0.25))
    assert players["generator"].after == ()


def test_the_balance_follows_its_law_on_a_script_and_stays_within_zero_and_one():
    balance = Balance(diversity=0.5, rate=0.1)
    assert balance.k == 0
    found = []
    for real, fake in ((2.0, 0.5), (2.0, 3.0), (4.0, 0.0), (20.0, 0.0), (0.0, 1.0)):
        balance.follow(torch.tensor(real), torch.tensor(fake))
        found.append(balance.k.item())
    assert found == pytest.approx([0.05, 0.0, 0.2, 1.0, 0.9])


def test_a_fake_that_is_rebuilt_badly_is_the_discriminators_gain_and_the_generators_loss(game):
    players = players_of("began")
    worse = Equilibrium(game.networks, {**game.batch, "noise": 2 * game.batch["noise"]})
    assert lowered(players["discriminator"], worse) < lowered(players["discriminator"], game)
    assert lowered(players["generator"], worse) > lowered(players["generator"], game)


def test_a_checkpoint_holds_the_balance(toy_study, toy_cohort, tmp_path):
    recipe = two_steps("began", toy_study, toy_cohort).recipe
    state = start(recipe, torch.device("cpu"))
    state.networks["balance"].k.fill_(0.25)
    save(state, tmp_path)
    state.networks["balance"].k.fill_(0.75)
    resume(state, recipe, tmp_path)
    assert state.networks["balance"].k == 0.25


def test_several_processes_keep_one_balance(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    # The other process has found energies that are 1 larger.
    monkeypatch.setattr(processes.distributed, "all_reduce", lambda energy: energy.add_(energy + 1))
    game = SimpleNamespace(networks={"balance": Balance(0.5, 0.1)}, real=torch.tensor(3.0), fake=torch.tensor(0.5))
    Rebalance("balance", "real", "fake")(game)
    assert game.networks["balance"].k.item() == pytest.approx(0.1 * (0.5 * 3.5 - 1.0))


def test_the_rate_falls_to_an_eighth():
    players = players_of("began")
    for player in players.values():
        assert [player.schedule(done) for done in (0, 0.5, 1)] == [1, 0.5625, 0.125]
