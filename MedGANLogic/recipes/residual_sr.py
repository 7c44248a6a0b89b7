"""A residual network that magnifies, held to its target voxel by voxel, against a judge of images; or without it."""

from copy import deepcopy
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.paired import PairedApart
from MedGANLogic.parts.discriminators.patch import NormFreePatchDiscriminator
from MedGANLogic.parts.generators.magnifying_resnet import MagnifyingResNet
from MedGANLogic.parts.losses.adversarial import squared_fake, squared_real
from MedGANLogic.parts.losses.voxelwise import masked_l1
from MedGANLogic.recipe import ExponentialAverage, Phase, Player, Recipe, Term, cosine, weighed
from MedGANLogic.study import SUPER_RESOLUTION, Study, WeighedSettings

EXAMPLE = SUPER_RESOLUTION

MARKS = "[assumed] throughout: sized for two CPU cores; levels are residual blocks"
PUBLISHED = WeighedSettings(width=32, levels=6, patch=48, batch=16, steps=4000, rate=1e-3, pixel=1, adversarial=0.01)


def recipe(study: Study) -> Recipe:
    """Return EDSR's network and L1 (Lim et al. 2017), against a least-squares judge (arXiv:1611.04076, eq. 9).

    With ``adversarial`` 0 it is the same network without adversary.
    """
    settings = study.magnified.adapted(PUBLISHED)
    dimensions, channels = study.dimensions, study.out_channels
    generator = MagnifyingResNet(
        dimensions, study.in_channels, channels, settings.width, settings.levels, *study.factors
    )
    adam, judging = partial(Adam, lr=settings.rate), float(settings.adversarial > 0)
    judged = (Term(judging, squared_real, "score_real"), Term(judging, squared_fake, "score_fake"))
    refined = (
        Term(settings.pixel, masked_l1, "fake_b", "real_b", "weight"),
        Term(settings.adversarial, squared_real, "score_fake"),
    )
    average = ExponentialAverage("generator", "generator_average", 0.998)
    networks, players = weighed(
        {
            "generator": generator,
            "generator_average": deepcopy(generator),
            "discriminator": NormFreePatchDiscriminator(dimensions, channels, settings.width, 2),
        },
        (
            Player("discriminator", ("discriminator",), adam, judged, schedule=cosine),
            Player("generator", ("generator",), adam, refined, schedule=cosine, after=(average,)),
        ),
    )
    # Nothing is bent: to interpolate is to blur what is to be found. No contrast: the target has none.
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(contrast=0.0)))
    return Recipe(
        title="Residual network that magnifies, against a judge of images",
        source="arXiv:1707.02921",
        networks=networks,
        phases=(Phase(settings.steps, feed, PairedApart, players),),
        passes=(study.whole_volume("generator_average", multiple=1),),
        departures=(
            "corrects a cubic (2D) or linear (3D) interpolation; 6 blocks of width 32, not 32 of 256 [assumed]",
            "sub-pixel shuffle to the fine grid at once, along every axis by its own factor [assumed]",
            "a patch discriminator without norm, which sees an image alone (paper: none) [assumed]",
            "predicts with an exponential average (.998) of the weights; patches mirrored and turned [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
