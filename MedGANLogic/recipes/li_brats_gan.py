"""Li's tumour segmentation: small patches by valid convolutions, judged with the image they belong to."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.segmentation import SegmentedCentre
from MedGANLogic.parts.discriminators.two_stream import TwoStreamDiscriminator
from MedGANLogic.parts.generators.segmenting_cnn import ValidPatchCNN
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.segmentation import voxel_cross_entropy
from MedGANLogic.recipe import Phase, Player, Recipe, Term, weighed
from MedGANLogic.study import SEGMENTATION, Study, WeighedSettings

EXAMPLE = SEGMENTATION

MARKS = (
    "[paper?: third-party code], but for the steps, ours for one GPU [assumed]; rate is the segmenter's, ten times the "
    "discriminator's; pixel weighs cross entropy, with adversarial = 0 it is alone"
)
PUBLISHED = WeighedSettings(width=64, patch=31, batch=128, steps=30_000, rate=1e-3, pixel=1.0, adversarial=1.0)


def recipe(study: Study) -> Recipe:
    """Return the adversarial network for brain tumours (Li, Wang & Yu 2017: CE + NS against half of NS)."""
    settings = study.adapted(PUBLISHED)
    dimensions, channels, width = study.dimensions, study.in_channels, settings.width
    classes = len(study.labels.volumes(""))
    # Where no weight is given to the adversary, there is none.
    half = 0.5 * (settings.adversarial > 0)
    # Each of 50 epochs leaves .96 of a rate.
    falls = partial(pow, 0.96**50)
    judged = (Term(half, called_real, "score_real_pair"), Term(half, called_fake, "score_fake_pair"))
    segmented = (
        Term(settings.pixel, voxel_cross_entropy, "fake_b", "real_b", "weight"),
        Term(settings.adversarial, called_real, "score_fake_pair"),
    )
    networks, players = weighed(
        {
            "generator": ValidPatchCNN(dimensions, channels, classes, width),
            "discriminator": TwoStreamDiscriminator(dimensions, channels, classes, width),
        },
        (
            Player("discriminator", ("discriminator",), partial(Adam, lr=settings.rate / 10), judged, schedule=falls),
            Player("segmenter", ("generator",), partial(Adam, lr=settings.rate), segmented, schedule=falls),
        ),
    )
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False)))
    return Recipe(
        title="Adversarial network for brain tumour segmentation (Li)",
        source="doi:10.1007/978-3-319-75238-9_11",
        networks=networks,
        phases=(Phase(settings.steps, feed, SegmentedCentre, players),),
        passes=(replace(study.whole_volume("generator", multiple=8), margin=ValidPatchCNN.MARGIN),),
        departures=(
            "layers, dropout, rates falling by .96 an epoch and weights [third-party code]; 50 epochs [assumed]",
            "labels of a patch's centre (third-party code: of every second voxel of all of it) [assumed]",
            "intensities by each volume's own window, not equalised over the cohort; windows of any size that overlap, "
            "not tiles side by side; small components go where a study's finish takes them away [assumed]",
            "the discriminator's turn first; patches around the body, mirrored as `mirrors` says, contrast of MR "
            "jittered [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
