"""SRGAN in 3D: finer volumes of the brain, held to voxels and gradients, judged by least squares with noisy labels."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import NoisyLabels, Uniform
from MedGANLogic.degradation import SliceProfile
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Pair
from MedGANLogic.games.paired import PairedNoisily
from MedGANLogic.parts.discriminators.image import VolumeDiscriminator
from MedGANLogic.parts.generators.leaky_resnet import NearestResNet
from MedGANLogic.parts.losses.gradient import gradient_difference
from MedGANLogic.parts.losses.voxelwise import half_squared_sum, l2
from MedGANLogic.recipe import InverseTime, Phase, Player, Recipe, Term
from MedGANLogic.study import SUPER_RESOLUTION, Settings, Study

#: A Gaussian of σ = 1 fine voxel is 2.355 of them wide where it is half as high: 1.1774 coarse ones.
EXAMPLE = replace(SUPER_RESOLUTION, dimensions=3, made={"mr": SliceProfile("fine", 2, thickness=1.1774)})

MARKS = (
    "[paper: released code], but for the patch (there 128×128×92) and the steps, ours for one GPU [assumed]; levels "
    "are residual blocks"
)
PUBLISHED = Settings(width=32, levels=6, patch=64, batch=2, steps=40_000, rate=1e-4)


def recipe(study: Study) -> Recipe:
    """Return the 3D SRGAN (Sánchez & Vilaplana 2018: squares + gradient differences, both summed, + .1·LS)."""
    settings = study.limited_to(3).adapted(PUBLISHED)
    dimensions, channels = study.dimensions, study.out_channels
    networks = {
        "generator": NearestResNet(
            dimensions, study.in_channels, channels, settings.width, settings.levels, study.doublings
        ),
        "discriminator": VolumeDiscriminator(dimensions, channels, settings.width, settings.patch),
    }
    adam, slower = partial(Adam, lr=settings.rate), InverseTime(0.5 * settings.steps / 4920)
    judged = (Term(1.0, l2, "score_real", "label_real"), Term(1.0, l2, "score_fake", "label_fake"))
    refined = (
        # Sums over the batch, of which several processes hold a share each.
        Term(2.0 * settings.batch, half_squared_sum, "shown_b", "real_b"),
        Term(settings.batch, gradient_difference, "shown_b", "real_b"),
        Term(0.1, l2, "score_fake", "wanted"),
    )
    feed = Feed(
        settings.batch,
        # No contrast: the target would have to change with the input.
        Pair(study.patch_shape(settings.patch), Augmentation(contrast=0.0)),
        Drawn("labels", NoisyLabels(real=(0.7, 1.2), made=(0.0, 0.3), exchanged=0.1)),
        Drawn("wanted", Uniform((1,), 0.7, 1.2)),
    )
    players = (
        Player("discriminator", ("discriminator",), adam, judged, schedule=slower),
        Player("generator", ("generator",), adam, refined, schedule=slower),
    )
    return Recipe(
        title="3D SRGAN for the brain",
        source="arXiv:1812.11440",
        networks=networks,
        phases=(Phase(settings.steps, feed, PairedNoisily, players),),
        passes=(study.whole_volume("generator", multiple=4),),
        departures=(
            "of the paper's three upsamplings the sub-pixels that begin as nearest neighbours [assumed]",
            "labels exchanged image by image (released code: once for a whole run) [assumed]",
            "the volume's window to [-1, 1] (paper: half of each patch's maximum) [assumed]",
            "a coarse voxel lies amid its fine ones (paper: on one of them) [assumed]",
            "patches mirrored and turned by quarters; voxels that do not count cost nothing [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
