"""SegAN: segmentation against a critic that compares, on several scales, what two label maps leave of the image."""

from functools import partial

from torch.optim import RMSprop

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.segmentation import Masked
from MedGANLogic.parts.discriminators.feature_critic import FeatureCritic
from MedGANLogic.parts.generators.segmentor import SummedUNet
from MedGANLogic.parts.losses.feature import multi_scale_l1
from MedGANLogic.recipe import Clip, Phase, Player, Recipe, Term
from MedGANLogic.study import SEGMENTATION, Settings, Study

EXAMPLE = SEGMENTATION

MARKS = "[paper], but for the steps, ours for one GPU [assumed]"
PUBLISHED = Settings(width=64, levels=4, patch=160, batch=64, steps=40_000, rate=2e-5)


def recipe(study: Study) -> Recipe:
    """Return SegAN (Xue et al. 2018, eqs. 1-2 and §3: one multi-scale L1, raised by a clipped critic, then lowered)."""
    settings = study.adapted(PUBLISHED)
    seen = study.in_channels * len(study.labels.labels)
    networks = {
        "generator": SummedUNet(
            study.dimensions, study.in_channels, study.out_channels, settings.width, settings.levels
        ),
        "discriminator": FeatureCritic(study.dimensions, seen, settings.width, levels=3),
    }
    rmsprop = partial(RMSprop, lr=settings.rate)
    players = (
        Player(
            "critic",
            ("discriminator",),
            rmsprop,
            (Term(-1.0, multi_scale_l1, "described_fake", "described_real"),),
            after=(Clip("discriminator", 0.05),),
        ),
        Player(
            "segmentor",
            ("generator",),
            rmsprop,
            (Term(1.0, multi_scale_l1, "described_fake", "described_real"),),
        ),
    )
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False)))
    return Recipe(
        title="SegAN",
        source="arXiv:1706.01805",
        networks=networks,
        phases=(Phase(settings.steps, feed, Masked, players),),
        passes=(study.whole_volume("generator", multiple=2**settings.levels),),
        departures=(
            "masks multiply (x + 1) / 2, so that dark is 0 as in the paper, whose images begin there [assumed]",
            "softmax over background and labels (paper: a sigmoid a label), the same for one label [assumed]",
            "one critic sees all labels' masks; three levels of 64, 128, 256 [paper: third-party code]",
            "skips summed [paper: third-party code]; batch norm's gains are clipped too [paper: released code]",
            "voxels where the volumes disagree are dark; mirrored as `mirrors` says, contrast of MR jittered [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
