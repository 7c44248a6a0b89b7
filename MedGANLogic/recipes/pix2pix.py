"""pix2pix: paired translation by a conditional GAN with an L1 term."""

from copy import deepcopy
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.paired import Paired
from MedGANLogic.parts.discriminators.patch import PatchDiscriminator
from MedGANLogic.parts.generators.strided_unet import StridedUNet
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.voxelwise import masked_l1
from MedGANLogic.recipe import ExponentialAverage, Phase, Player, Recipe, Term
from MedGANLogic.study import TRANSLATION, Settings, Study

EXAMPLE = TRANSLATION

MARKS = "[paper], but for the steps, ours for one GPU [assumed]"
PUBLISHED = Settings(width=64, levels=8, patch=256, batch=1, steps=60_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return pix2pix for a study (Isola et al. 2017, §3: U-Net, 70×70 PatchGAN, NS + 100·L1, D's loss halved)."""
    settings = study.adapted(PUBLISHED)
    generator = StridedUNet(study.dimensions, study.in_channels, study.out_channels, settings.width, settings.levels)
    discriminator = PatchDiscriminator(study.dimensions, study.in_channels + study.out_channels, settings.width, 3)
    adam = partial(Adam, lr=settings.rate, betas=(0.5, 0.999))
    players = (
        Player(
            "discriminator",
            ("discriminator",),
            adam,
            (Term(0.5, called_real, "score_real_pair"), Term(0.5, called_fake, "score_fake_pair")),
        ),
        Player(
            "generator",
            ("generator",),
            adam,
            (Term(1.0, called_real, "score_fake_pair"), Term(100.0, masked_l1, "fake_b", "real_b", "weight")),
            after=(ExponentialAverage("generator", "generator_average", 0.999),),
        ),
    )
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False)))
    return Recipe(
        title="pix2pix",
        source="arXiv:1611.07004",
        networks={
            "generator": generator,
            "discriminator": discriminator,
            "generator_average": deepcopy(generator),
        },
        phases=(Phase(settings.steps, feed, Paired, players),),
        passes=(study.whole_volume("generator_average", multiple=2**settings.levels),),
        departures=(
            "predicts with an exponential average (.999) of the generator's weights [assumed]",
            "predicts without dropout, with running statistics of batch norm, so that windows do not matter [assumed]",
            "patches at native resolution instead of resize-and-crop jitter; contrast jitter of MR [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
