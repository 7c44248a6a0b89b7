"""Relativistic average GAN: real images should look more real than the average of those that were made."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Normal
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.latent import Latent
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.losses.adversarial import more_real
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import GENERATION, Settings, Study

EXAMPLE = GENERATION

MARKS = "[paper: released code], its 64² images, also for the steps"
PUBLISHED = Settings(width=64, patch=64, batch=32, steps=100_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return RaSGAN (Jolicoeur-Martineau 2018, §4 and algorithm 2: each side against the other's mean; Adam β .5)."""
    settings = study.adapted(PUBLISHED)
    noise = Normal((128,))
    networks = {
        "generator": DCGANGenerator(study.dimensions, 128, study.out_channels, settings.width, settings.patch),
        "discriminator": DCGANDiscriminator(study.dimensions, study.out_channels, settings.width, settings.patch, 1),
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.5, 0.999))
    players = (
        Player("discriminator", ("discriminator",), adam, (Term(1.0, more_real, "score_real", "score_fake"),)),
        Player("generator", ("generator",), adam, (Term(1.0, more_real, "score_fake", "score_real"),)),
    )
    feed = Feed(
        settings.batch,
        Images("image", study.targets, study.patch_shape(settings.patch), Augmentation(quarter_turns=False)),
        Drawn("noise", noise),
    )
    return Recipe(
        title="Relativistic average GAN",
        source="arXiv:1807.00734",
        networks=networks,
        phases=(Phase(settings.steps, feed, Latent, players),),
        passes=(Draw("generator", ("noise",), study.written, study.dimensions),),
        departures=(
            "the generator learns from the discriminator's images and noise (paper: new ones) [assumed]",
            "neither loss is halved, as in the paper's formulas [paper]; the authors halve both [paper: released code]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance={"noise": noise},
    )
