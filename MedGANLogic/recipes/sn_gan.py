"""SN-GAN: a discriminator of Lipschitz constant one, layer by layer, by spectral normalisation."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Normal
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.latent import Latent
from MedGANLogic.parts.discriminators.spectral import SpectralDiscriminator
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import GENERATION, Settings, Study

EXAMPLE = GENERATION

MARKS = "[paper] for width, patch, batch and rate (its setting C); the steps are ours, for one GPU"
PUBLISHED = Settings(width=64, patch=32, batch=64, steps=25_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return SN-GAN (Miyato et al. 2018, §2 and table 1 C: NS, one turn each, norm on D alone)."""
    settings = study.adapted(PUBLISHED)
    noise = Normal((128,))
    networks = {
        "generator": DCGANGenerator(study.dimensions, 128, study.out_channels, settings.width, settings.patch),
        "discriminator": SpectralDiscriminator(study.dimensions, study.out_channels, settings.width, settings.patch, 1),
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.5, 0.999))
    judged = (Term(1.0, called_real, "score_real"), Term(1.0, called_fake, "score_fake"))
    players = (
        Player("discriminator", ("discriminator",), adam, judged),
        Player("generator", ("generator",), adam, (Term(1.0, called_real, "score_fake"),)),
    )
    feed = Feed(
        settings.batch,
        Images("image", study.targets, study.patch_shape(settings.patch), Augmentation(quarter_turns=False)),
        Drawn("noise", noise),
    )
    return Recipe(
        title="SN-GAN (spectral normalisation)",
        source="arXiv:1802.05957",
        networks=networks,
        phases=(Phase(settings.steps, feed, Latent, players),),
        passes=(Draw("generator", ("noise",), study.written, study.dimensions),),
        departures=(
            "DCGAN's generator: its last layer is a transposed convolution (paper: c3) [assumed]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance={"noise": noise},
    )
