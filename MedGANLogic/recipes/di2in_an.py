"""DI2IN-AN: the liver in CT by a deeply supervised volumetric network, against a judge of its probability map."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.segmentation import DeeplySupervised
from MedGANLogic.parts.discriminators.image import ImageDiscriminator
from MedGANLogic.parts.generators.plain_unet import DeeplySupervisedUNet
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.segmentation import branch_cross_entropy
from MedGANLogic.recipe import Phase, Player, Recipe, Term, weighed
from MedGANLogic.study import ORGAN, Study, WeighedSettings

EXAMPLE = ORGAN

MARKS = "[assumed] throughout: levels double the width from 16 to 256"
PUBLISHED = WeighedSettings(
    width=16, levels=5, patch=128, batch=2, steps=40_000, rate=1e-3, pixel=1.0, adversarial=0.01
)


def recipe(study: Study) -> Recipe:
    """Return DI2IN-AN (Yang et al. 2017, §2: cross entropy of every branch + λ·NS of the last, D on masks alone)."""
    settings = study.limited_to(3).adapted(PUBLISHED)
    classes, width, levels = len(study.labels.labels) + 1, settings.width, settings.levels
    # At the segmenter's rate the judge is sure of itself within 20 steps.
    of_judge, judging = partial(Adam, lr=settings.rate / 10), float(settings.adversarial > 0)
    judged = (Term(judging, called_real, "score_real"), Term(judging, called_fake, "score_fake"))
    segmented = (
        Term(settings.pixel, branch_cross_entropy, "branches", "real_b", "weight"),
        Term(settings.adversarial, called_real, "score_fake"),
    )
    networks, players = weighed(
        {
            "generator": DeeplySupervisedUNet(3, study.in_channels, classes, width, levels),
            "discriminator": ImageDiscriminator(3, classes, width, settings.patch),
        },
        (
            Player("discriminator", ("discriminator",), of_judge, judged),
            Player("segmenter", ("generator",), partial(Adam, lr=settings.rate), segmented),
        ),
    )
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False)))
    return Recipe(
        title="Adversarial deep image-to-image network (DI2IN-AN)",
        source="arXiv:1707.08037",
        networks=networks,
        phases=(Phase(settings.steps, feed, DeeplySupervised, players),),
        passes=(study.whole_volume("generator", multiple=2 ** (levels - 1)),),
        departures=(
            "a U-Net's layers, batch norm, nearest-neighbour doubling; a branch a level, of equal weight [assumed]",
            "softmax over background and labels; the judge sees all of them, and SRGAN's layers are its own [assumed]",
            "the judge learns at a tenth of the rate [assumed]",
            "patches around the body, mirrored as `mirrors` says; where a voxel does not count, the judge sees the "
            "truth [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
