"""DAN: segmentation from few labelled and many unlabelled images, by a network that judges segmentations."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Images, Pair
from MedGANLogic.games.semi import PartlyLabelled
from MedGANLogic.parts.discriminators.evaluation import EvaluationNetwork
from MedGANLogic.parts.generators.fcn import MultiLevelFCN
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.segmentation import voxel_cross_entropy
from MedGANLogic.recipe import Linear, Phase, Player, Recipe, Term
from MedGANLogic.study import SEGMENTATION, Settings, Study

EXAMPLE = SEGMENTATION

MARKS = (
    "[paper] for width and levels, which are VGG16's; [assumed] for the rest. Half of the steps are supervised alone"
)
PUBLISHED = Settings(width=64, levels=5, patch=192, batch=4, steps=40_000, rate=1e-4)


def recipe(study: Study) -> Recipe:
    """Return DAN (Zhang et al. 2017, §2: CE, and with it λ·BCE against an evaluator that tells segmentations of
    labelled images, called 1, from those of unlabelled ones, called 0)."""
    settings = study.adapted(PUBLISHED)
    classes, width, levels = len(study.labels.volumes("")), settings.width, settings.levels
    segmenter = MultiLevelFCN(study.dimensions, study.in_channels, classes, width, levels)
    evaluator = EvaluationNetwork(study.dimensions, study.in_channels + classes, width, levels, settings.patch)
    adam = partial(Adam, lr=settings.rate)
    segmented = Term(1.0, voxel_cross_entropy, "logits", "labels", "weight")
    # Against a 1 instead of away from a 0: where the evaluator is sure, the gradient does not vanish.
    taken_for_labelled = Term(Linear(0.0, 0.1, end=0.5), called_real, "score_unlabelled")
    judged = (Term(1.0, called_real, "score_labelled"), Term(1.0, called_fake, "score_unlabelled"))
    supervised = (Player("segmenter", ("segmenter",), adam, (segmented,)),)
    players = (
        Player("evaluator", ("evaluator",), adam, judged),
        Player("segmenter", ("segmenter",), adam, (segmented, taken_for_labelled)),
    )
    patch, augmentation = study.patch_shape(settings.patch), Augmentation(quarter_turns=False)
    pair = Pair(patch, augmentation)
    unlabelled = Images("unlabelled", study.inputs, patch, augmentation, lacking=study.targets)
    half = settings.steps // 2
    return Recipe(
        title="Deep adversarial network (DAN), semi-supervised segmentation",
        source="doi:10.1007/978-3-319-66179-7_47",
        networks={"segmenter": segmenter, "evaluator": evaluator},
        phases=(
            Phase(half, Feed(settings.batch, pair), PartlyLabelled, supervised),
            Phase(settings.steps - half, Feed(settings.batch, pair, unlabelled), PartlyLabelled, players),
        ),
        passes=(study.whole_volume("segmenter", multiple=2**levels),),
        departures=(
            "λ rises from 0 to .1 over the first half of the adversarial phase; Adam [assumed]",
            "the evaluator's score of labelled images moves the evaluator alone, not the segmenter too [assumed]",
            "batch norm and no pre-training on photographs, because nothing is downloaded [assumed]",
            "patches around the body, mirrored as `mirrors` says, contrast of MR jittered [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
