"""Thin slices of thick ones: 3D residual blocks, sub-pixels along the slice axis alone, and a judge of volumes."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.degradation import Averaged
from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.paired import PairedApart
from MedGANLogic.parts.discriminators.image import VolumeDiscriminator
from MedGANLogic.parts.generators.leaky_resnet import SliceResNet
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.gradient import total_variation
from MedGANLogic.parts.losses.voxelwise import l2
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import SUPER_RESOLUTION, Settings, Study

EXAMPLE = replace(SUPER_RESOLUTION, dimensions=3, made={"mr": Averaged("fine", (3, 1, 1))})

MARKS = "[assumed]; the patch is the thick slices' own, levels are residual blocks"
PUBLISHED = Settings(width=32, levels=6, patch=32, batch=4, steps=40_000, rate=1e-4)


def recipe(study: Study) -> Recipe:
    """Return the thin-slice GAN (Li, Wang & Yu 2017, eq. 8 of review 002: MSE + α·NS + β·3D-TV + γ·‖W‖²)."""
    settings, times = study.adapted(PUBLISHED), study.thinner
    dimensions, channels = study.dimensions, study.out_channels
    networks = {
        "generator": SliceResNet(dimensions, study.in_channels, channels, settings.width, settings.levels, times),
        "discriminator": VolumeDiscriminator(dimensions, channels, settings.width, settings.patch, times),
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.9, 0.999))
    judged = (Term(1.0, called_real, "score_real"), Term(1.0, called_fake, "score_fake"))
    refined = (
        Term(1.0, l2, "fake_b", "real_b"),
        Term(1e-3, called_real, "score_fake"),
        Term(1e-4, total_variation, "fake_b"),
    )
    players = (
        Player("discriminator", ("discriminator",), adam, judged),
        # A decay of 2γ has the gradient of γ·‖W‖².
        Player("generator", ("generator",), partial(adam, weight_decay=2e-5), refined),
    )
    # No contrast: the target would have to change with the input.
    feed = Feed(settings.batch, Pair(study.fine_patch_shape(settings.patch), Augmentation(contrast=0.0)))
    return Recipe(
        title="Thin-slice GAN",
        source="doi:10.1007/978-3-319-67389-9_38",
        networks=networks,
        phases=(Phase(settings.steps, feed, PairedApart, players),),
        passes=(study.whole_volume("generator", multiple=4),),
        departures=(
            "6 blocks of width 32, sub-pixels along the slice axis; the 3D SRGAN's discriminator [assumed]",
            "α 10⁻³, β 10⁻⁴, γ 10⁻⁵, which norms' gains and biases feel, too [assumed]",
            "thick slices are means of thin ones (paper: of other scans [paper?]) [assumed]",
            "patches mirrored and turned by quarters [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
