"""Moeskops' tissue segmentation: a dilated network that sees far, by cross entropy and, in turn, by an adversary."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.segmentation import Segmented
from MedGANLogic.parts.discriminators.image import ImageDiscriminator
from MedGANLogic.parts.generators.segmenting_cnn import DilatedCNN
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.segmentation import voxel_cross_entropy
from MedGANLogic.recipe import Phase, Player, Recipe, Term, weighed
from MedGANLogic.study import SEGMENTATION, Study, WeighedSettings

EXAMPLE = SEGMENTATION

MARKS = "[paper] for width; [assumed] for the rest; pixel weighs cross entropy, with adversarial = 0 it is alone"
PUBLISHED = WeighedSettings(width=32, patch=256, batch=4, steps=30_000, rate=1e-3, pixel=1.0, adversarial=1.0)


def recipe(study: Study) -> Recipe:
    """Return the adversarial dilated network (Moeskops et al. 2017: a batch moves the segmenter by cross entropy, the
    discriminator, and the segmenter by the adversarial term)."""
    settings = study.adapted(PUBLISHED)
    dimensions, channels, width = study.dimensions, study.in_channels, settings.width
    classes = len(study.labels.volumes(""))
    # Where no weight is given to the adversary, there is none.
    adam, judging = partial(Adam, lr=settings.rate), float(settings.adversarial > 0)
    # Adam steps as far whatever its only term weighs: the weight is in the rate.
    weighed_adam = partial(Adam, lr=settings.rate * settings.adversarial)
    deceived = Term(settings.adversarial, called_real, "score_fake_pair")
    segmented = Term(settings.pixel, voxel_cross_entropy, "fake_b", "real_b", "weight")
    judged = (Term(judging, called_real, "score_real_pair"), Term(judging, called_fake, "score_fake_pair"))
    networks, players = weighed(
        {
            "generator": DilatedCNN(dimensions, channels, classes, width),
            "discriminator": ImageDiscriminator(dimensions, channels + classes, width, settings.patch),
        },
        (
            Player("segmenter", ("generator",), adam, (segmented,)),
            Player("discriminator", ("discriminator",), adam, judged),
            Player("deceiver", ("generator",), weighed_adam, (deceived,)),
        ),
    )
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False)))
    return Recipe(
        title="Adversarial training of a dilated network (Moeskops)",
        source="arXiv:1707.03195",
        networks=networks,
        phases=(Phase(settings.steps, feed, Segmented, players),),
        passes=(study.whole_volume("generator", multiple=8),),
        departures=(
            "three turns a batch [paper?]; each with an Adam of its own, the third's rate times its weight [assumed]",
            "a discriminator of whole patches, SRGAN's, on image and one-hot or probabilities [assumed]",
            "zero padding; voxels where the volumes disagree show the discriminator the labels [assumed]",
            "patches around the body, mirrored as `mirrors` says, contrast of MR jittered [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
