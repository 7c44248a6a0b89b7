"""AnoGAN: what a generator of healthy images cannot make is not healthy."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Normal
from MedGANLogic.degradation import Predicted
from MedGANLogic.domain import UNLIKENESS
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.latent import Latent
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.passes import Difference, Search
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import ANOMALY, Settings, Study

#: Beside the map of differences a score for every patch; a target "nearest" would show the nearest healthy image.
EXAMPLE = replace(
    ANOMALY,
    targets={**ANOMALY.targets, "score": UNLIKENESS},
    made={**ANOMALY.made, "score": Predicted()},
)

MARKS = "[paper] for the patch, [paper?] for the width; the rest is DCGAN's, the steps are ours, for one GPU [assumed]"
PUBLISHED = Settings(width=64, patch=64, batch=128, steps=25_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return AnoGAN (Schlegl et al. 2017, §2: a DCGAN of images of the healthy; eqs. 1-5 with λ .1 and 500 steps of z).

    The anomaly is |x - G(z)|; of every patch on a grid, z is searched for alone. The discriminator is in the bundle:
    its last hidden layer is f of eq. 4.
    """
    settings, noise = study.adapted(PUBLISHED), Normal((100,))
    image, anomaly = study.searched("score", "nearest")
    dimensions, patch = study.dimensions, settings.patch
    networks = {
        "generator": DCGANGenerator(dimensions, 100, 1, settings.width, patch),
        "discriminator": DCGANDiscriminator(dimensions, 1, settings.width, patch, 1),
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.5, 0.999))
    judged = (Term(1.0, called_real, "score_real"), Term(1.0, called_fake, "score_fake"))
    players = (
        Player("discriminator", ("discriminator",), adam, judged),
        Player("generator", ("generator",), adam, (Term(1.0, called_real, "score_fake"),)),
    )
    augmentation = Augmentation(quarter_turns=False, contrast=0.0)
    images = Images("image", study.inputs, study.patch_shape(patch), augmentation)
    search = Search("generator", (image,), ("nearest", "score"), dimensions, 0, patch, largest=patch)
    return Recipe(
        title="AnoGAN",
        source="arXiv:1703.05921",
        networks=networks,
        phases=(Phase(settings.steps, Feed(settings.batch, images, Drawn("noise", noise)), Latent, players),),
        passes=(
            replace(search, judge="discriminator", latent=100, steps=500, rate=1e-2, balance=0.1),
            Difference((image, "nearest"), (anomaly,)),
        ),
        departures=(
            "normal noise; Adam searches z at .01, from one start for all; kernel 4 for 5 [assumed]",
            "the image and score of the lowest loss on the way, not of the last step [assumed]",
            "patches around the body, mirrored; predicted on a grid of patches, scores per voxel [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
