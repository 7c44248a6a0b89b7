"""BEGAN: a discriminator that rebuilds images, and a generator that is held in balance with it."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Uniform
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.equilibrium import Equilibrium, Rebalance
from MedGANLogic.parts.balance import Balance
from MedGANLogic.parts.discriminators.autoencoder import Autoencoder
from MedGANLogic.parts.generators.upsampling import UpsamplingDecoder
from MedGANLogic.parts.losses.adversarial import balanced_energy, convergence, energy
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import Linear, Phase, Player, Recipe, Term
from MedGANLogic.study import GENERATION, Settings, Study

EXAMPLE = GENERATION

MARKS = "[paper], but for the steps, which are ours for one GPU [assumed]"
PUBLISHED = Settings(width=64, patch=64, batch=16, steps=100_000, rate=1e-4)


def recipe(study: Study) -> Recipe:
    """Return BEGAN (Berthelot et al. 2017, §3.3 and §3.4: ℒ(y) - k·ℒ(G(z)) against ℒ(G(z)), γ .5, λ .001, k₀ 0)."""
    settings = study.adapted(PUBLISHED)
    noise = Uniform((64,))
    size = settings.patch
    networks = {
        "generator": UpsamplingDecoder(study.dimensions, 64, study.out_channels, settings.width, size),
        "discriminator": Autoencoder(study.dimensions, study.out_channels, settings.width, size, 64),
        "balance": Balance(diversity=0.5, rate=1e-3),
    }
    rebuilding = (
        Term(1.0, energy, "image", "rebuilt_image"),
        Term(-1.0, balanced_energy, "fake", "rebuilt_fake", "balance"),
        # The measure of convergence is no loss: without weight, it is only logged with them.
        Term(0.0, convergence, "energy_real", "energy_fake", "diversity"),
    )
    adam, slower = partial(Adam, lr=settings.rate), Linear(1.0, 0.125)
    rebalance = Rebalance("balance", "energy_real", "energy_fake")
    players = (
        Player("discriminator", ("discriminator",), adam, rebuilding, slower, after=(rebalance,)),
        Player("generator", ("generator",), adam, (Term(1.0, energy, "fake", "rebuilt_fake"),), slower),
    )
    feed = Feed(
        settings.batch,
        Images("image", study.targets, study.patch_shape(size), Augmentation(quarter_turns=False)),
        Drawn("noise", noise),
    )
    return Recipe(
        title="BEGAN",
        source="arXiv:1703.10717",
        networks=networks,
        phases=(Phase(settings.steps, feed, Equilibrium, players),),
        passes=(Draw("generator", ("noise",), study.written, study.dimensions),),
        departures=(
            "the rate falls in a line to an eighth (paper: halved whenever convergence stalls) [assumed]",
            "the discriminator moves first, on the same noise (paper: both at once, each on its own) [assumed]",
            "neither vanishing residuals nor skip connections, which the paper leaves open [paper]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance={"noise": noise},
    )
