"""Wasserstein GAN: a critic whose weights are kept small instead of a discriminator."""

from functools import partial

from torch.optim import RMSprop

from MedGANLogic.chance import Normal
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.latent import Latent
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.losses.adversarial import scored_high, scored_low
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import Clip, Phase, Player, Recipe, Term
from MedGANLogic.study import GENERATION, Settings, Study

EXAMPLE = GENERATION

MARKS = "[paper]; width [paper: released code]; the steps are ours, for one GPU [assumed]"
PUBLISHED = Settings(width=64, patch=64, batch=64, steps=25_000, rate=5e-5)


def recipe(study: Study) -> Recipe:
    """Return WGAN (Arjovsky et al. 2017, algorithm 1: five critic turns, RMSProp(5e-5), every weight within ±.01)."""
    settings = study.adapted(PUBLISHED)
    noise = Normal((100,))
    networks = {
        "generator": DCGANGenerator(study.dimensions, 100, study.out_channels, settings.width, settings.patch),
        "discriminator": DCGANDiscriminator(study.dimensions, study.out_channels, settings.width, settings.patch, 1),
    }
    rmsprop = partial(RMSprop, lr=settings.rate)
    judged = (Term(1.0, scored_high, "score_real"), Term(1.0, scored_low, "score_fake"))
    players = (
        Player("critic", ("discriminator",), rmsprop, judged, turns=5, after=(Clip("discriminator", 0.01),)),
        Player("generator", ("generator",), rmsprop, (Term(1.0, scored_high, "score_fake"),)),
    )
    feed = Feed(
        settings.batch,
        Images("image", study.targets, study.patch_shape(settings.patch), Augmentation(quarter_turns=False)),
        Drawn("noise", noise),
    )
    return Recipe(
        title="Wasserstein GAN",
        source="arXiv:1701.07875",
        networks=networks,
        phases=(Phase(settings.steps, feed, Latent, players),),
        passes=(Draw("generator", ("noise",), study.written, study.dimensions),),
        departures=(
            "the generator learns from the noise of the critic's last turn (paper: new noise) [assumed]",
            "batch norm's gains are clipped like every weight of the critic [paper: released code]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance={"noise": noise},
    )
