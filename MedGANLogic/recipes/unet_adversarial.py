"""A U-Net that segments, held to Dice and cross entropy, against a judge of label maps; or without it."""

from copy import deepcopy
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.segmentation import Segmented
from MedGANLogic.parts.discriminators.patch import PatchDiscriminator
from MedGANLogic.parts.generators.plain_unet import FineUNet
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.segmentation import soft_dice, voxel_cross_entropy
from MedGANLogic.passes import mirrored_too
from MedGANLogic.recipe import ExponentialAverage, Phase, Player, Recipe, Term, cosine, weighed
from MedGANLogic.study import SEGMENTATION, Study, WeighedSettings

EXAMPLE = SEGMENTATION

MARKS = "[assumed] throughout: sized for two CPU cores; the adversary's weight is of the paper's order [paper?]"
PUBLISHED = WeighedSettings(width=16, levels=4, patch=40, batch=4, steps=4000, rate=1e-3, pixel=1.0, adversarial=0.02)


def recipe(study: Study) -> Recipe:
    """Return Luc et al.'s objective (2016, eq. 1, with the non-saturating term of §3) on a U-Net, and Dice.

    With ``adversarial`` 0 it is the same network without adversary.
    """
    settings = study.adapted(PUBLISHED)
    seen = study.in_channels + len(study.labels.labels) + 1
    adam, judging = partial(Adam, lr=settings.rate), float(settings.adversarial > 0)
    generator = FineUNet(study.dimensions, study.in_channels, study.out_channels, settings.width, settings.levels)
    judged = (Term(judging, called_real, "score_real_pair"), Term(judging, called_fake, "score_fake_pair"))
    segmented = (
        Term(settings.pixel, voxel_cross_entropy, "fake_b", "real_b", "weight"),
        Term(settings.pixel, soft_dice, "probabilities", "real_b", "weight"),
        Term(settings.adversarial, called_real, "score_fake_pair"),
    )
    average = ExponentialAverage("generator", "generator_average", 0.998)
    networks, players = weighed(
        {
            "generator": generator,
            "generator_average": deepcopy(generator),
            "discriminator": PatchDiscriminator(study.dimensions, seen, settings.width, 2),
        },
        (
            Player("discriminator", ("discriminator",), adam, judged, schedule=cosine),
            Player("generator", ("generator",), adam, segmented, schedule=cosine, after=(average,)),
        ),
    )
    patch = Augmentation(quarter_turns=False, contrast=0.2, warped=0.5)
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), patch))
    return Recipe(
        title="U-Net against a judge of label maps",
        source="arXiv:1611.08408",
        networks=networks,
        phases=(Phase(settings.steps, feed, Segmented, players),),
        passes=mirrored_too(study.whole_volume("generator_average", 2 ** (settings.levels - 1)), study.mirrored_axes),
        departures=(
            "a U-Net with batch norm, and Dice beside cross entropy, in place of dilated networks [assumed]",
            "a patch discriminator on image and label map, one-hot or probabilities (paper: their product) [assumed]",
            "half of the patches skewed and warped, contrast of MR jittered; mirrored as `mirrors` says, in prediction "
            "too (the mean of all) [assumed]",
            "predicts with an exponential average (.998) of the weights [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
