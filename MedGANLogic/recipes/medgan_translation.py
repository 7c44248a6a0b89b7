"""MedGAN: one image into another by U-Nets end to end, held to the target by what the discriminator itself sees."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.perceptual import Layered
from MedGANLogic.parts.discriminators.patch import TwoLayerPatchDiscriminator
from MedGANLogic.parts.features.frozen import frozen_features
from MedGANLogic.parts.generators.cascaded_unet import CascadedUNet
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.feature import gram_square
from MedGANLogic.parts.losses.voxelwise import l1, l2, masked_l1
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import TRANSLATION, Settings, Study

EXAMPLE = replace(TRANSLATION, neighbours=0)

MARKS = "[paper], but for batch and rate [paper?] and the steps, ours for one GPU [assumed]; levels are U-blocks"
PUBLISHED = Settings(width=64, levels=6, patch=256, batch=1, steps=60_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return MedGAN (Armanious et al. 2018, eqs. 2-9: NS + 20·what D sees + 1e-4·style + 1e-4·content; CasNet).

    A U-block halves a patch until one voxel is left: 8 levels for 256.
    """
    settings = study.limited_to(2).adapted(PUBLISHED)
    dimensions, channels = study.dimensions, study.out_channels
    features = frozen_features(study.about.get("features"), dimensions, channels)
    depth = settings.patch.bit_length() - 1
    networks = {
        "generator": CascadedUNet(
            dimensions, study.in_channels, channels, settings.width, depth, blocks=settings.levels
        ),
        "discriminator": TwoLayerPatchDiscriminator(dimensions, study.in_channels + channels, settings.width),
        "features": features,
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.5, 0.999))
    judged = (Term(1.0, called_real, "score_real_pair"), Term(1.0, called_fake, "score_fake_pair"))
    translated = (
        Term(1.0, called_real, "score_fake_pair"),
        Term(20.0, masked_l1, "fake_b", "real_b", "weight"),
        Term(20.0, l1, "first_fake", "first_real"),
        Term(20.0, l1, "second_fake", "second_real"),
        Term(1e-4, gram_square, "features_fake", "features_real"),
        Term(1e-4, l2, "features_fake", "features_real"),
    )
    players = (
        Player("discriminator", ("discriminator",), adam, judged),
        Player("generator", ("generator",), adam, translated, turns=3),
    )
    # No contrast: the target would have to change with the input.
    pair = Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False, contrast=0.0))
    return Recipe(
        title="MedGAN",
        source="arXiv:1806.06397",
        networks=networks,
        phases=(Phase(settings.steps, Feed(settings.batch, pair), Layered, players),),
        passes=(study.whole_volume("generator", multiple=2**depth),),
        departures=(
            *features.departures,
            "weights of the terms, the image itself as D's layer 0 among them [paper?]",
            "style and content of the features' last level (paper: of several) [paper?]",
            "U-blocks are pix2pix's; predicts without dropout, with running statistics of batch norm [assumed]",
            "patches at native resolution, mirrored; voxels where the volumes disagree cost nothing [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
