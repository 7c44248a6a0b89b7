"""SRGAN: finer images, judged by what a network sees in them instead of by their pixels."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.perceptual import Perceptual
from MedGANLogic.parts.discriminators.image import ImageDiscriminator
from MedGANLogic.parts.features.frozen import frozen_features
from MedGANLogic.parts.generators.subpixel_resnet import SubpixelResNet
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.feature import feature_square
from MedGANLogic.parts.losses.voxelwise import l2
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import SUPER_RESOLUTION, Settings, Study

EXAMPLE = SUPER_RESOLUTION

MARKS = "[paper], but for the steps, ours for one GPU [assumed]; levels are residual blocks"
PUBLISHED = Settings(width=64, levels=16, patch=96, batch=16, steps=100_000, rate=1e-4)


def recipe(study: Study) -> Recipe:
    """Return SRGAN (Ledig et al. 2017, eqs. 3-6 and §3.2: MSE first, then VGG features + 10⁻³·NS, 1e-4 then 1e-5)."""
    settings = study.limited_to(2).adapted(PUBLISHED)
    dimensions, channels = study.dimensions, study.out_channels
    features = frozen_features(study.about.get("features"), dimensions, channels)
    networks = {
        "generator": SubpixelResNet(
            dimensions, study.in_channels, channels, settings.width, settings.levels, study.doublings
        ),
        "discriminator": ImageDiscriminator(dimensions, channels, settings.width, settings.patch),
        "features": features,
    }
    first, last = partial(Adam, lr=settings.rate), partial(Adam, lr=settings.rate / 10)
    rebuild = Player("generator", ("generator",), first, (Term(1.0, l2, "fake_b", "real_b"),))
    judge = partial(
        Player,
        "discriminator",
        ("discriminator",),
        terms=(Term(1.0, called_real, "score_real"), Term(1.0, called_fake, "score_fake")),
    )
    refine = partial(
        Player,
        "generator",
        ("generator",),
        terms=(
            Term(1.0, feature_square, "features_fake", "features_real"),
            Term(1e-3, called_real, "score_fake"),
        ),
    )
    # No contrast: the target would have to change with the input.
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(contrast=0.0)))
    half, quarter = settings.steps // 2, settings.steps // 4
    return Recipe(
        title="SRGAN",
        source="arXiv:1609.04802",
        networks=networks,
        phases=(
            Phase(half, feed, Perceptual, (rebuild,)),
            Phase(quarter, feed, Perceptual, (judge(optimizer=first), refine(optimizer=first))),
            Phase(quarter, feed, Perceptual, (judge(optimizer=last), refine(optimizer=last))),
        ),
        passes=(study.whole_volume("generator", multiple=8),),
        departures=(
            *features.departures,
            "half of the steps for the pixels alone (paper: 10⁶ of 1.2·10⁶) [assumed]",
            "coarse images in [-1, 1] (paper: [0, 1]), made by averaging (paper: Gaussian filter) [assumed]",
            "optimizers begin anew with every phase; patches mirrored and turned by quarters [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
