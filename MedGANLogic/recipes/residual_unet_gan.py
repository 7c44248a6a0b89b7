"""The residual U-Net in a game for natural noise texture: a discriminator judges the grain of its results."""

from copy import deepcopy
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.denoising import Grained
from MedGANLogic.parts.discriminators.patch import NormFreePatchDiscriminator
from MedGANLogic.parts.generators.norm_free_unet import ResidualUNet
from MedGANLogic.parts.losses.adversarial import squared_fake, squared_real
from MedGANLogic.parts.losses.voxelwise import masked_log_l2
from MedGANLogic.recipe import ExponentialAverage, Phase, Player, Recipe, Term, cosine, weighed
from MedGANLogic.study import DENOISING, Study, WeighedSettings

EXAMPLE = DENOISING

MARKS = "[assumed] throughout: sized for two CPU cores"
PUBLISHED = WeighedSettings(width=48, levels=3, patch=64, batch=16, steps=2000, rate=2e-4, pixel=1.0, adversarial=5.0)


def recipe(study: Study) -> Recipe:
    """Return the ``residual-unet`` against a least-squares discriminator of grain (arXiv:1611.04076, eq. 9).

    The likeness to the target alone decides on what is coarse, which nobody else sees: there the result keeps its HU.
    ``adversarial`` is what texture may cost in accuracy.
    """
    settings = study.corrected.adapted(PUBLISHED)
    generator = ResidualUNet(study.dimensions, study.in_channels, study.out_channels, settings.width, settings.levels)
    adam, judging = partial(Adam, lr=settings.rate, betas=(0.5, 0.999)), float(settings.adversarial > 0)
    judged = (Term(judging, squared_real, "score_real"), Term(judging, squared_fake, "score_fake"))
    improved = (
        Term(settings.pixel, masked_log_l2, "fake_b", "real_b", "weight"),
        Term(settings.adversarial, squared_real, "score_fake"),
    )
    average = ExponentialAverage("generator", "generator_average", 0.998)
    networks, players = weighed(
        {
            "generator": generator,
            "generator_average": deepcopy(generator),
            "discriminator": NormFreePatchDiscriminator(study.dimensions, study.out_channels, settings.width, 2),
        },
        (
            Player("discriminator", ("discriminator",), adam, judged, schedule=cosine),
            Player("generator", ("generator",), adam, improved, schedule=cosine, after=(average,)),
        ),
    )
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(contrast=0.0, noise=(0.1, 2.0))))
    return Recipe(
        title="Residual U-Net against a judge of grain",
        source="arXiv:1611.04076",
        networks=networks,
        phases=(Phase(settings.steps, feed, Grained, players),),
        passes=(study.whole_volume("generator_average", multiple=2**settings.levels),),
        departures=(
            "a residual U-Net and a patch discriminator without norm; the likeness is the logarithm of L2 [assumed]",
            "the discriminator sees the image less its means over 9 voxels, enlarged twentyfold, alone [assumed]",
            "predicts with an exponential average (.998) of the weights; patches mirrored and turned [assumed]",
            "the noise of inputs is multiplied by .1 to 2: doses above and below the cohort's [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
