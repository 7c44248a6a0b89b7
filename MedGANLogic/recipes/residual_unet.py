"""A residual U-Net for denoising, without adversary: the baseline that every denoising GAN must be compared with."""

from copy import deepcopy
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.paired import Paired
from MedGANLogic.parts.generators.norm_free_unet import ResidualUNet
from MedGANLogic.parts.losses.voxelwise import masked_l1, masked_l2
from MedGANLogic.recipe import ExponentialAverage, Phase, Player, Recipe, Term, cosine
from MedGANLogic.study import DENOISING, Settings, Study

EXAMPLE = DENOISING

MARKS = "[assumed] throughout: a baseline of ours, sized for two CPU cores"
PUBLISHED = Settings(width=32, levels=4, patch=64, batch=16, steps=10_000, rate=1e-3)

#: Both count alike where errors are a fiftieth of half the window: 20 HU of 1024 [assumed].
LIKENESS = (
    Term(1.0, masked_l1, "fake_b", "real_b", "weight"),
    Term(50.0, masked_l2, "fake_b", "real_b", "weight"),
)


def recipe(study: Study) -> Recipe:
    """Return a U-Net that says what is to be added to its input, trained on L1 + 50·L2 (arXiv:1608.03981, eq. 1)."""
    settings = study.corrected.adapted(PUBLISHED)
    generator = ResidualUNet(study.dimensions, study.in_channels, study.out_channels, settings.width, settings.levels)
    player = Player(
        "generator",
        ("generator",),
        partial(Adam, lr=settings.rate),
        LIKENESS,
        schedule=cosine,
        after=(ExponentialAverage("generator", "generator_average", 0.998),),
    )
    # Nothing is bent: to interpolate is to smooth the noise that is to be known. No contrast: the target has none.
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(contrast=0.0)))
    return Recipe(
        title="Residual U-Net (denoising baseline, no adversary)",
        source="arXiv:1608.03981",
        networks={"generator": generator, "generator_average": deepcopy(generator)},
        phases=(Phase(settings.steps, feed, Paired, (player,)),),
        passes=(study.whole_volume("generator_average", multiple=2 ** (settings.levels - 1)),),
        departures=(
            "a U-Net without norm instead of convolutions in a row with batch norm; L1 beside L2 [assumed]",
            "predicts with an exponential average (.998) of the weights; patches mirrored and turned [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
