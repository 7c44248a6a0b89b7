"""pix2pix's game on a plain U-Net: for CPUs, small cohorts and small bundles."""

from copy import deepcopy
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.paired import Paired
from MedGANLogic.parts.discriminators.patch import PatchDiscriminator
from MedGANLogic.parts.generators.plain_unet import PlainUNet
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.voxelwise import masked_l1
from MedGANLogic.recipe import ExponentialAverage, Phase, Player, Recipe, Term, cosine
from MedGANLogic.study import TRANSLATION, Settings, Study

EXAMPLE = TRANSLATION

MARKS = "[assumed] throughout: sized for two CPU cores"
PUBLISHED = Settings(width=32, levels=4, patch=112, batch=12, steps=10_000, rate=5e-4)


def recipe(study: Study) -> Recipe:
    """Return pix2pix's objective (Isola et al. 2017, eq. 4: NS + 100·L1, D's loss halved) with the ``l1`` network."""
    settings = study.adapted(PUBLISHED)
    generator = PlainUNet(study.dimensions, study.in_channels, study.out_channels, settings.width, settings.levels)
    discriminator = PatchDiscriminator(study.dimensions, study.in_channels + study.out_channels, settings.width, 3)
    players = (
        Player(
            "discriminator",
            ("discriminator",),
            partial(Adam, lr=settings.rate, betas=(0.5, 0.999)),
            (Term(0.5, called_real, "score_real_pair"), Term(0.5, called_fake, "score_fake_pair")),
            schedule=cosine,
        ),
        Player(
            "generator",
            ("generator",),
            partial(Adam, lr=settings.rate, betas=(0.5, 0.999)),
            (Term(1.0, called_real, "score_fake_pair"), Term(100.0, masked_l1, "fake_b", "real_b", "weight")),
            schedule=cosine,
            after=(ExponentialAverage("generator", "generator_average", 0.998),),
        ),
    )
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(bent=0.5, narrowed=0.4)))
    return Recipe(
        title="pix2pix on a plain U-Net",
        source="arXiv:1611.07004",
        networks={
            "generator": generator,
            "discriminator": discriminator,
            "generator_average": deepcopy(generator),
        },
        phases=(Phase(settings.steps, feed, Paired, players),),
        passes=(study.whole_volume("generator_average", multiple=2**settings.levels),),
        departures=(
            "a plain U-Net without dropout and with a linear output in place of U256 [assumed]",
            "patches at native resolution: mirrored, turned, bent, narrowed, contrast of MR jittered [assumed]",
            "first levels 32 channels wide (paper: 64), batches of 12 (paper: 1), cosine rate [assumed]",
            "predicts with an exponential average (.998) of the generator's weights [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
