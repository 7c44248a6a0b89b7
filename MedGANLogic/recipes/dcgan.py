"""DCGAN: images from noise by convolutions alone."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Uniform
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.latent import Latent
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import GENERATION, Settings, Study

EXAMPLE = GENERATION

MARKS = "[paper], but for the steps, ours for one GPU [assumed]"
PUBLISHED = Settings(width=128, patch=64, batch=128, steps=25_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return DCGAN (Radford et al. 2015, §3 and §4: fig. 1, NS, Adam(2e-4, .5, .999)); noise as there, U(-1, 1)^100."""
    settings = study.adapted(PUBLISHED)
    noise = Uniform((100,))
    networks = {
        "generator": DCGANGenerator(study.dimensions, 100, study.out_channels, settings.width, settings.patch),
        "discriminator": DCGANDiscriminator(study.dimensions, study.out_channels, settings.width, settings.patch, 1),
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
        title="DCGAN",
        source="arXiv:1511.06434",
        networks=networks,
        phases=(Phase(settings.steps, feed, Latent, players),),
        passes=(Draw("generator", ("noise",), study.written, study.dimensions),),
        departures=(
            "kernels of 4 (paper: 5) [assumed]",
            "both players learn from the same noise [paper: released code]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance={"noise": noise},
    )
