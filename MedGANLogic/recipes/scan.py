"""SCAN: organs in chest X-rays by a small network, against a critic of what organs look like together."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.segmentation import Segmented
from MedGANLogic.parts.discriminators.evaluation import ResidualCritic
from MedGANLogic.parts.generators.fcn import ResidualFCN
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.segmentation import voxel_cross_entropy
from MedGANLogic.recipe import Phase, Player, Recipe, Term, weighed
from MedGANLogic.study import SEGMENTATION, Study, WeighedSettings

EXAMPLE = SEGMENTATION

MARKS = "[paper?], but for the steps, of which half are supervised alone, ours for one GPU [assumed]"
PUBLISHED = WeighedSettings(
    width=8, levels=4, patch=400, batch=10, steps=20_000, rate=2e-4, pixel=1.0, adversarial=0.01
)


def recipe(study: Study) -> Recipe:
    """Return SCAN (Dai et al. 2017, §3: cross entropy, then with it λ·BCE against a critic of masks)."""
    settings = study.limited_to(2).adapted(PUBLISHED)
    classes, width, levels = len(study.labels.labels) + 1, settings.width, settings.levels
    adam, judging = partial(Adam, lr=settings.rate), float(settings.adversarial > 0)
    segmented = Term(settings.pixel, voxel_cross_entropy, "fake_b", "real_b", "weight")
    fooled = Term(settings.adversarial, called_real, "score_fake_pair")
    judged = (Term(judging, called_real, "score_real_pair"), Term(judging, called_fake, "score_fake_pair"))
    alone = Player("segmenter", ("generator",), adam, (segmented,))
    networks, players = weighed(
        {
            "generator": ResidualFCN(study.dimensions, study.in_channels, classes, width, levels),
            "discriminator": ResidualCritic(study.dimensions, study.in_channels + classes, width, levels),
        },
        (
            Player("critic", ("discriminator",), adam, judged),
            Player("segmenter", ("generator",), adam, (segmented, fooled)),
        ),
    )
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False)))
    half = settings.steps // 2
    return Recipe(
        title="Structure correcting adversarial network (SCAN)",
        source="arXiv:1703.08770",
        networks=networks,
        phases=(
            Phase(half, feed, Segmented, weighed(networks, (alone,))[1]),
            Phase(settings.steps - half, feed, Segmented, players),
        ),
        passes=(study.whole_volume("generator", multiple=2**levels),),
        departures=(
            "residual blocks and their kernels [paper: third-party code]; several channels copied as one [assumed]",
            "the critic's first maps are as many as the segmenter's, or just more, beside its more channels [assumed]",
            "where a voxel does not count, the critic sees the truth; in each step its turn comes first [assumed]",
            "patches around the body, not the whole X-ray resized; mirrored as `mirrors` says, contrast of MR "
            "jittered [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
