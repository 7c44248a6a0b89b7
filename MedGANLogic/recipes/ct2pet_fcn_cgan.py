"""CT to virtual PET by two networks: one that does not miss what is hot, and one whose images look real."""

from dataclasses import replace
from functools import partial

import numpy as np
from torch.optim import Adam

from MedGANLogic.domain import CT, PET
from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.uptake import uptake_in
from MedGANLogic.parts.discriminators.patch import PatchDiscriminator
from MedGANLogic.parts.generators.fcn import FCN4s
from MedGANLogic.parts.generators.strided_unet import StridedUNet
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.voxelwise import masked_l1, suv_weighted_l2
from MedGANLogic.passes import Chosen
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import Settings, Study

EXAMPLE = Study({"ct": CT}, {"pet": PET}, neighbours=0)

MARKS = (
    "pix2pix's for the cGAN [paper?], steps for both branches together; the FCN has four times the batch and half "
    "the rate [assumed], and VGG16's five levels at most"
)
PUBLISHED = Settings(width=64, levels=8, patch=256, batch=1, steps=80_000, rate=2e-4)

#: SUV above which the FCN is believed [paper?].
_HOT = 2.5


def recipe(study: Study) -> Recipe:
    """Return FCN and cGAN, trained one after the other without sharing anything, and blended where it is hot
    (Ben-Cohen et al. 2017, §2: L2 weighted by SUV; NS + 100·L1, D's loss halved)."""
    settings = study.adapted(PUBLISHED)
    width, levels = settings.width, min(settings.levels, 5)
    window, channels = study.window_in("SUV"), (study.in_channels, study.out_channels)
    hot = float(window.scale(np.empty(0)).to_network(np.array(_HOT)))
    cgan = partial(Adam, lr=settings.rate, betas=(0.5, 0.999))
    weighted = Term(1.0, suv_weighted_l2, "regressed_b", "real_b", "suv_b", "weight")
    judged = (Term(0.5, called_real, "score_real_pair"), Term(0.5, called_fake, "score_fake_pair"))
    translated = (Term(1.0, called_real, "score_fake_pair"), Term(100.0, masked_l1, "fake_b", "real_b", "weight"))
    regression = (Player("regressor", ("regressor",), partial(Adam, lr=settings.rate / 2), (weighted,)),)
    players = (
        Player("discriminator", ("discriminator",), cgan, judged),
        Player("generator", ("generator",), cgan, translated),
    )
    game, half = uptake_in(window), settings.steps // 2
    pair = Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False))
    return Recipe(
        title="CT to PET: FCN and cGAN blended",
        source="arXiv:1707.09585",
        networks={
            "regressor": FCN4s(study.dimensions, *channels, width, levels),
            "generator": StridedUNet(study.dimensions, *channels, width, settings.levels),
            "discriminator": PatchDiscriminator(study.dimensions, sum(channels), width, 3),
        },
        phases=(
            Phase(half, Feed(4 * settings.batch, pair), game, regression),
            Phase(settings.steps - half, Feed(settings.batch, pair), game, players),
        ),
        passes=(
            replace(study.whole_volume("regressor", multiple=2**levels), writes=("by FCN",)),
            replace(study.whole_volume("generator", multiple=2**settings.levels), writes=("by cGAN",)),
            Chosen(("by FCN", "by cGAN"), study.written, at=hot),
        ),
        departures=(
            "squared errors of the FCN weigh 1 + SUV; blended at 2.5 SUV, without a soft border [paper?]",
            "Adam(1e-4) for the FCN, pix2pix's settings for the cGAN, as many steps for each [assumed]",
            "predicts with running statistics of batch norm, without dropout [assumed]",
            "patches at native resolution, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
