"""Conditional GAN: generator and discriminator are both told what the image should be."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Uniform
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.conditioned import Conditioned
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import CLASSES, Settings, Study

EXAMPLE = CLASSES

MARKS = "[assumed]: DCGAN's, but for the steps, ours for one GPU"
PUBLISHED = Settings(width=128, patch=64, batch=128, steps=25_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return a conditional GAN (Mirza & Osindero 2014, eq. 2: G(z|y), D(x|y)); non-saturating, DCGAN's training."""
    settings, condition, noise = study.adapted(PUBLISHED), study.described, Uniform((100,))
    dimensions, channels, size = study.dimensions, study.out_channels, condition.size
    networks = {
        "generator": DCGANGenerator(dimensions, 100 + size, channels, settings.width, settings.patch),
        "discriminator": DCGANDiscriminator(dimensions, channels + size, settings.width, settings.patch, 1),
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
        title="Conditional GAN",
        source="arXiv:1411.1784",
        networks=networks,
        phases=(Phase(settings.steps, feed, Conditioned, players),),
        passes=(Draw("generator", ("noise", "condition"), study.written, dimensions),),
        departures=(
            "DCGAN's bodies, noise and Adam in place of perceptrons and SGD with momentum [assumed]",
            "the condition is joined to the noise, and to the image as constant channels [assumed]",
            "the generator's loss is the non-saturating one [seed]",
            "a made image is asked to be what the real one beside it is [assumed]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance={"noise": noise, "condition": condition},
    )
