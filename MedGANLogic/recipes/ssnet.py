"""SSNet: large organs by large kernels against a patch discriminator, slice by slice, from one to three sides."""

from dataclasses import dataclass
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.segmentation import SegmentedBefore
from MedGANLogic.parts.discriminators.patch import PatchDiscriminator
from MedGANLogic.parts.generators.global_convolution import GlobalConvolutionalNetwork
from MedGANLogic.parts.image_pool import ImagePool
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.segmentation import soft_dice
from MedGANLogic.passes import from_sides
from MedGANLogic.recipe import Phase, Player, Recipe, Term, weighed
from MedGANLogic.study import SEGMENTATION, Study, WeighedSettings


@dataclass(frozen=True, kw_only=True)
class SSNetSettings(WeighedSettings):
    """``views``: planes whose slices are learnt from and predicted by, 1 (the study's) to 3."""

    views: int


EXAMPLE = SEGMENTATION

MARKS = "[paper], but rate, batch and steps [assumed]; 'views' is 1 or 3 [paper?]: with thick slices, 1"
PUBLISHED = SSNetSettings(width=64, patch=512, batch=4, steps=40_000, rate=1e-4, pixel=1.0, adversarial=0.01, views=3)


def recipe(study: Study) -> Recipe:
    """Return SSNet (Huo et al. 2018, §2: a global convolutional network, Dice + λ·NS against a 70×70 PatchGAN)."""
    settings = study.limited_to(2).adapted(PUBLISHED)
    classes, judging = len(study.labels.labels) + 1, float(settings.adversarial > 0)
    judged = (Term(judging, called_real, "score_real_pair"), Term(judging, called_fake, "score_pooled_pair"))
    segmented = (
        Term(settings.pixel, soft_dice, "probabilities", "real_b", "weight"),
        Term(settings.adversarial, called_real, "score_fake_pair"),
    )
    of_judge = partial(Adam, lr=2 * settings.rate, betas=(0.5, 0.999))
    of_segmenter = partial(Adam, lr=settings.rate, weight_decay=1e-5)
    networks, players = weighed(
        {
            "generator": GlobalConvolutionalNetwork(study.in_channels, classes, settings.width, kernel=7),
            "discriminator": PatchDiscriminator(2, study.in_channels + classes, settings.width, layers=3),
            "pool": ImagePool(10),
        },
        (
            Player("discriminator", ("discriminator",), of_judge, judged),
            Player("segmenter", ("generator",), of_segmenter, segmented),
        ),
    )
    patch = Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False), views=settings.views)
    return Recipe(
        title="Splenomegaly segmentation network (SSNet)",
        source="arXiv:1712.00542",
        networks=networks,
        phases=(Phase(settings.steps, Feed(settings.batch, patch), SegmentedBefore, players),),
        passes=from_sides(study.whole_volume("generator", multiple=32), settings.views),
        departures=(
            "ResNet-50 begins with drawn weights, because nothing is downloaded [assumed]",
            "Dice of each slice by itself, 1 added above and below [assumed]; of the batch [paper: related code]",
            "one network for all views, whose mean probability counts; half the judge's rate, decay 1e-5 [assumed]",
            "a history of 10 fakes [paper: related code]; patches around the body, mirrored as `mirrors` says, MR's "
            "contrast jittered [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
