"""RED-CNN: low-dose CT by a residual encoder-decoder on squared errors; a baseline without adversary."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.paired import Paired
from MedGANLogic.parts.generators.red_cnn import ResidualEncoderDecoder
from MedGANLogic.parts.losses.voxelwise import masked_l2
from MedGANLogic.recipe import Linear, Phase, Player, Recipe, Term
from MedGANLogic.study import DENOISING, Settings, Study

EXAMPLE = replace(DENOISING, neighbours=0)

MARKS = (
    "[paper] for width, patch and rate; levels are convolutions, and as many deconvolutions; batch and steps [assumed]"
)
PUBLISHED = Settings(width=96, levels=5, patch=55, batch=128, steps=40_000, rate=1e-4)


def recipe(study: Study) -> Recipe:
    """Return RED-CNN (Chen et al. 2017, §II and §III: MSE on patches of 55, Adam from 1e-4 down to 1e-5)."""
    settings = study.corrected.adapted(PUBLISHED)
    generator = ResidualEncoderDecoder(
        study.dimensions, study.in_channels, study.out_channels, settings.width, settings.levels
    )
    player = Player(
        "generator",
        ("generator",),
        partial(Adam, lr=settings.rate),
        (Term(1.0, masked_l2, "fake_b", "real_b", "weight"),),
        schedule=Linear(1.0, 0.1),
    )
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(contrast=0.0)))
    return Recipe(
        title="RED-CNN (denoising baseline, no adversary)",
        source="arXiv:1702.00288",
        networks={"generator": generator},
        phases=(Phase(settings.steps, feed, Paired, (player,)),),
        passes=(study.whole_volume("generator", multiple=4 * (settings.levels + 1)),),
        departures=(
            "images in [-1, 1], and so no ReLU at the end (paper: [0, 1]) [assumed]",
            "the rate falls on a straight line (paper: slowly) [assumed]",
            "patches anywhere in the body, mirrored and turned by quarters (paper: by 45°, flipped, scaled) [assumed]",
            "air counts a tenth; voxels where the volumes disagree cost nothing [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
