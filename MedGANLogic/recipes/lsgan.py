"""LSGAN: least squares in place of DCGAN's cross entropy."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Uniform
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.latent import Latent
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.losses.adversarial import squared_fake, squared_real
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import GENERATION, Settings, Study

EXAMPLE = GENERATION

MARKS = "[paper: released code] for batch, [assumed] for rate and patch; the steps are ours, for one GPU [assumed]"
PUBLISHED = Settings(width=128, patch=64, batch=64, steps=25_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return LSGAN (Mao et al. 2017, eq. 9: ½(D(y) - 1)² + ½D(G(z))² against ½(D(G(z)) - 1)²) on DCGAN's networks."""
    settings = study.adapted(PUBLISHED)
    noise = Uniform((100,))
    networks = {
        "generator": DCGANGenerator(study.dimensions, 100, study.out_channels, settings.width, settings.patch),
        "discriminator": DCGANDiscriminator(study.dimensions, study.out_channels, settings.width, settings.patch, 1),
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.5, 0.999))
    # squared_* hold the ½ themselves.
    judged = (Term(1.0, squared_real, "score_real"), Term(1.0, squared_fake, "score_fake"))
    players = (
        Player("discriminator", ("discriminator",), adam, judged),
        Player("generator", ("generator",), adam, (Term(1.0, squared_real, "score_fake"),)),
    )
    feed = Feed(
        settings.batch,
        Images("image", study.targets, study.patch_shape(settings.patch), Augmentation(quarter_turns=False)),
        Drawn("noise", noise),
    )
    return Recipe(
        title="Least squares GAN",
        source="arXiv:1611.04076",
        networks=networks,
        phases=(Phase(settings.steps, feed, Latent, players),),
        passes=(Draw("generator", ("noise",), study.written, study.dimensions),),
        departures=(
            "DCGAN's bodies with kernel 4 at 64², 100 numbers of noise, rate 2e-4 [assumed]",
            "the authors have 112², 1024 numbers and, on scenes, rate 1e-3 [paper: released code]",
            "both players learn from the same noise [paper: released code]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance={"noise": noise},
    )
