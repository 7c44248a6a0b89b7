"""Kamnitsas' unsupervised domain adaptation: a lesion segmenter that does not show which scanner an image is of."""

from dataclasses import replace
from functools import partial

from torch.optim import RMSprop

from MedGANLogic.feeds import Augmentation, Feed, Images, Pair
from MedGANLogic.games.adaptation import Adaptation
from MedGANLogic.parts.discriminators.domain import DomainClassifier
from MedGANLogic.parts.generators.dual_resolution import DualResolutionCNN
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.segmentation import voxel_cross_entropy
from MedGANLogic.recipe import Linear, Phase, Player, Recipe, Term
from MedGANLogic.study import SEGMENTATION, Settings, Study

EXAMPLE = replace(SEGMENTATION, dimensions=3, neighbours=0)

MARKS = (
    "[paper] for width; [paper?] for rate and batch (of each domain), which are DeepMedic's; [assumed] for patch "
    "and steps"
)
PUBLISHED = Settings(width=30, patch=36, batch=5, steps=40_000, rate=1e-3)


def recipe(study: Study) -> Recipe:
    """Return the adaptation (Kamnitsas et al. 2017, §2: CE of the labels less α·CE of the domains, α rising).

    The source domain are the subjects with labels, the other those without. Instead of reversing a gradient, two
    players have the same terms with opposite signs.
    """
    settings = study.adapted(PUBLISHED)
    classes = len(study.labels.volumes(""))
    segmenter = DualResolutionCNN(study.dimensions, study.in_channels, classes, settings.width)
    read = segmenter.activation_channels
    optimizer = partial(RMSprop, lr=settings.rate, alpha=0.9, eps=1e-4, momentum=0.6)
    # The mean over voxels of both domains, of which each has half. α is 0 up to epoch 10, .05 from epoch 35 of 50.
    tells = (Term(0.5, called_real, "domain_of_source"), Term(0.5, called_fake, "domain_of_foreign"))
    against = Linear(0.0, -0.5 * 0.05, begin=10 / 50, end=35 / 50)
    hides = (Term(against, called_real, "domain_of_source"), Term(against, called_fake, "domain_of_foreign"))
    segments = Term(1.0, voxel_cross_entropy, "logits", "labels", "weight")
    players = (
        Player("domain classifier", ("domain_classifier",), optimizer, tells),
        Player("segmenter", ("segmenter",), optimizer, (segments, *hides)),
    )
    patch, augmentation = study.patch_shape(settings.patch), Augmentation(quarter_turns=False, contrast=0.0)
    foreign = Images("foreign", study.inputs, patch, augmentation, lacking=study.targets)
    feed = Feed(settings.batch, Pair(patch, augmentation), foreign)
    return Recipe(
        title="Unsupervised domain adaptation of lesion segmentation (Kamnitsas)",
        source="arXiv:1612.08894",
        networks={
            "segmenter": segmenter,
            "domain_classifier": DomainClassifier(study.dimensions, read, settings.width * 10 // 3),
        },
        phases=(Phase(settings.steps, feed, Adaptation, players),),
        passes=(study.whole_volume("segmenter", multiple=3),),
        departures=(
            "RMSProp with DeepMedic's numbers for both networks, constant rate [paper?]; SGD [seed]",
            "α rises from 0 to .05 over epochs 10 to 35 [paper?], taken as shares of 50 epochs [assumed]",
            "which layers the domain classifier reads, and its own layers [paper?]",
            "padded convolutions and one window for both paths; patches around the body, mirrored as `mirrors` says "
            "[assumed]",
            *study.departures(PUBLISHED),
        ),
    )
