"""Noise reduction in low-dose CT by small valid convolutions, on squared errors, an adversary, or both."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.paired import inside
from MedGANLogic.parts.discriminators.image import CubeDiscriminator
from MedGANLogic.parts.generators.denoising_cnn import ValidResidualCNN
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.voxelwise import masked_l2
from MedGANLogic.recipe import Phase, Player, Recipe, Term, weighed
from MedGANLogic.study import DENOISING, Study, WeighedSettings

EXAMPLE = replace(DENOISING, dimensions=3, neighbours=0)

MARKS = (
    "[assumed] but for what is compared: levels are convolutions; of the paper's three networks 'both' is this, 'mse' "
    "has adversarial = 0, 'adv' has pixel = 0 and adversarial = 1 [seed]"
)
PUBLISHED = WeighedSettings(
    width=32, levels=7, patch=25, batch=64, steps=40_000, rate=1e-4, pixel=1.0, adversarial=1e-3
)


def recipe(study: Study) -> Recipe:
    """Return the GAN for low-dose CT (Wolterink et al. 2017, §III: L_G = w₁·MSE + w₂·NS, NS for the discriminator)."""
    settings = study.corrected.adapted(PUBLISHED)
    dimensions, width, layers = study.dimensions, settings.width, settings.levels
    centre = settings.patch - 2 * layers
    # Where no weight is given to the adversary, there is none.
    adam, judging = partial(Adam, lr=settings.rate, betas=(0.9, 0.999)), float(settings.adversarial > 0)
    judged = (Term(judging, called_real, "score_real"), Term(judging, called_fake, "score_fake"))
    improved = (
        Term(settings.pixel, masked_l2, "fake_b", "real_b", "weight"),
        Term(settings.adversarial, called_real, "score_fake"),
    )
    networks, players = weighed(
        {
            "generator": ValidResidualCNN(dimensions, study.in_channels, study.out_channels, width, layers),
            "discriminator": CubeDiscriminator(dimensions, study.out_channels, width, centre),
        },
        (
            Player("discriminator", ("discriminator",), adam, judged),
            Player("generator", ("generator",), adam, improved),
        ),
    )
    feed = Feed(settings.batch, Pair(study.patch_shape(settings.patch), Augmentation(contrast=0.0)))
    return Recipe(
        title="GAN for noise reduction in low-dose CT",
        source="doi:10.1109/TMI.2017.2708987",
        networks=networks,
        phases=(Phase(settings.steps, feed, inside(layers), players),),
        passes=(replace(study.whole_volume("generator", multiple=8), margin=layers),),
        departures=(
            "seven layers, nine of the discriminator, without norm; images in [-1, 1] [paper?]",
            "widths, strides, patches, weights; the last convolution begins at 0 [assumed]",
            "patches mirrored and turned by quarters; air counts a tenth, and nothing where volumes disagree [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
