"""A residual U-Net for denoising, without adversary: the baseline that every denoising GAN must be compared with."""

from copy import deepcopy
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.paired import Paired
from MedGANLogic.parts.generators.norm_free_unet import ResidualUNet
from MedGANLogic.parts.losses.voxelwise import masked_log_l2, masked_root_l2
from MedGANLogic.recipe import ExponentialAverage, Phase, Player, Recipe, Term, cosine
from MedGANLogic.study import DENOISING, Settings, Study

EXAMPLE = DENOISING

MARKS = "[assumed] throughout: a baseline of ours, sized for two CPU cores"
PUBLISHED = Settings(width=48, levels=3, patch=64, batch=16, steps=12000, rate=1e-3)


def recipe(study: Study) -> Recipe:
    """Return a U-Net that says what is to be added to its input, trained on RMS errors, then PSNR."""
    settings = study.corrected.adapted(PUBLISHED)
    generator = ResidualUNet(study.dimensions, study.in_channels, study.out_channels, settings.width, settings.levels)
    player = partial(
        Player,
        "generator",
        ("generator",),
        partial(Adam, lr=settings.rate),
        schedule=cosine,
        after=(ExponentialAverage("generator", "generator_average", 0.998),),
    )
    near = player(terms=(Term(1.0, masked_root_l2, "fake_b", "real_b", "weight"),))
    nearer = player(terms=(Term(1.0, masked_log_l2, "fake_b", "real_b", "weight"),))
    begun = 3 * settings.steps // 5
    # Nothing is bent: to interpolate is to smooth the noise that is to be known. No contrast: the target has none.
    augmentation = Augmentation(contrast=0.0, noise=(0.1, 2.0), recorrupted=(0.5, 1.0))
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), augmentation))
    return Recipe(
        title="Residual U-Net (denoising baseline, no adversary)",
        source="arXiv:1608.03981",
        networks={"generator": generator, "generator_average": deepcopy(generator)},
        # PSNR alone, from the start, is content with what changes nothing: images of little noise outweigh all others.
        phases=(Phase(begun, feed, Paired, (near,)), Phase(settings.steps - begun, feed, Paired, (nearer,))),
        passes=(study.whole_volume("generator_average", multiple=2**settings.levels),),
        departures=(
            "a U-Net without norm at half resolution instead of convolutions in a row with batch norm [assumed]",
            "the root of each patch's L2, then its logarithm, instead of L2: all noise levels are heard [assumed]",
            "predicts with an exponential average (.998) of the weights; patches mirrored and turned [assumed]",
            "the noise of inputs is multiplied by .1 to 2: doses above and below the cohort's [assumed]",
            "where a study has its target again: noise as strong as the target's own goes into the input, and its "
            "negative into the target (Pang et al., CVPR 2021 [paper?])",
            *study.departures(PUBLISHED),
        ),
    )
