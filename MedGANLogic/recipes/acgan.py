"""AC-GAN: the discriminator is not told the class of an image, it must say it."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Uniform
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.information import Classified
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator, Head
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.latent import cross_entropy
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import CLASSES, Settings, Study

EXAMPLE = CLASSES

MARKS = "[paper], table 1, but for the width, which is DCGAN's"
PUBLISHED = Settings(width=128, patch=128, batch=100, steps=50_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return AC-GAN (Odena et al. 2017, eqs. 2 and 3: D raises L_S + L_C, G raises L_C - L_S; classes are drawn)."""
    settings, classes, noise = study.adapted(PUBLISHED), study.classified, Uniform((100,))
    dimensions, channels = study.dimensions, study.out_channels
    discriminator = DCGANDiscriminator(dimensions, channels, settings.width, settings.patch, 1)
    networks = {
        "generator": DCGANGenerator(dimensions, 100 + classes.size, channels, settings.width, settings.patch),
        "discriminator": discriminator,
        "classifier": Head(discriminator.feature_count, classes.size),
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.5, 0.999))
    told = Term(1.0, cross_entropy, "class_fake", "wanted")
    judged = (
        Term(1.0, called_real, "score_real"),
        Term(1.0, called_fake, "score_fake"),
        Term(1.0, cross_entropy, "class_real", "condition"),
        told,
    )
    players = (
        Player("discriminator", ("discriminator", "classifier"), adam, judged),
        Player("generator", ("generator",), adam, (Term(1.0, called_real, "score_fake"), told)),
    )
    feed = Feed(
        settings.batch,
        Images("image", study.targets, study.patch_shape(settings.patch), Augmentation(quarter_turns=False)),
        Drawn("noise", noise),
        Drawn("wanted", classes),
    )
    return Recipe(
        title="Auxiliary classifier GAN",
        source="arXiv:1610.09585",
        networks=networks,
        phases=(Phase(settings.steps, feed, Classified, players),),
        passes=(Draw("generator", ("noise", "condition"), study.written, dimensions),),
        departures=(
            "DCGAN's bodies in place of the paper's own; no dropout or activation noise in D [assumed]",
            "noise between -1 and 1, as DCGAN's [assumed]",
            "G's share of -L_S is the non-saturating one [assumed]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance={"noise": noise, "condition": classes},
    )
