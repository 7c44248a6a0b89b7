"""The plain L1 network: the baseline that every GAN must be compared with."""

from copy import deepcopy
from functools import partial

from torch.optim import AdamW

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.paired import Paired
from MedGANLogic.parts.generators.plain_unet import PlainUNet
from MedGANLogic.parts.losses.voxelwise import masked_l1
from MedGANLogic.recipe import ExponentialAverage, Phase, Player, Recipe, Term, cosine
from MedGANLogic.study import TRANSLATION, Settings, Study

EXAMPLE = TRANSLATION

MARKS = "[assumed] throughout: a baseline of ours, sized for two CPU cores"
PUBLISHED = Settings(width=32, levels=4, patch=112, batch=12, steps=10_000, rate=2e-3)


def recipe(study: Study) -> Recipe:
    """Return a U-Net trained on the L1 error alone: one player, no adversary (arXiv:1505.04597)."""
    settings = study.adapted(PUBLISHED)
    generator = PlainUNet(study.dimensions, study.in_channels, study.out_channels, settings.width, settings.levels)
    player = Player(
        "generator",
        ("generator",),
        partial(AdamW, lr=settings.rate),
        (Term(1.0, masked_l1, "fake_b", "real_b", "weight"),),
        schedule=cosine,
        after=(ExponentialAverage("generator", "generator_average", 0.998),),
    )
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(bent=0.5, narrowed=0.4)))
    return Recipe(
        title="L1 network (baseline, no adversary)",
        source="arXiv:1505.04597",
        networks={"generator": generator, "generator_average": deepcopy(generator)},
        phases=(Phase(settings.steps, feed, Paired, (player,)),),
        passes=(study.whole_volume("generator_average", multiple=2**settings.levels),),
        departures=(
            "regression instead of segmentation, L1 loss, batch norm, padding, half resolution [assumed]",
            "patches mirrored, turned, bent, narrowed, contrast of MR jittered; no elastic deformation [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
