"""Wasserstein GAN with gradient penalty: a critic whose slope is kept at one instead of clipping its weights."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Normal, Uniform
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.latent import Latent
from MedGANLogic.parts.discriminators.dcgan import LayerNormCritic
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.losses.adversarial import scored_high, scored_low, unit_slope
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import GENERATION, Settings, Study

EXAMPLE = GENERATION

MARKS = (
    "[paper] for rate and batch; width (of the widest image's layer), patch and steps are ours, for one GPU [assumed]"
)
PUBLISHED = Settings(width=128, patch=64, batch=64, steps=25_000, rate=1e-4)


def recipe(study: Study) -> Recipe:
    """Return WGAN-GP (Gulrajani et al. 2017, algorithm 1: W + 10·GP, five critic turns, Adam(1e-4, 0, .9))."""
    settings = study.adapted(PUBLISHED)
    noise = Normal((128,))
    networks = {
        "generator": DCGANGenerator(study.dimensions, 128, study.out_channels, settings.width, settings.patch),
        "discriminator": LayerNormCritic(study.dimensions, study.out_channels, settings.width, settings.patch, 1),
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.0, 0.9))
    critic = (
        Term(1.0, scored_high, "score_real"),
        Term(1.0, scored_low, "score_fake"),
        Term(10.0, unit_slope, "slopes_between"),
    )
    players = (
        Player("critic", ("discriminator",), adam, critic, turns=5),
        Player("generator", ("generator",), adam, (Term(1.0, scored_high, "score_fake"),)),
    )
    feed = Feed(
        settings.batch,
        Images("image", study.targets, study.patch_shape(settings.patch), Augmentation(quarter_turns=False)),
        Drawn("noise", noise),
        Drawn("mixing", Uniform((1,), 0.0, 1.0)),
    )
    return Recipe(
        title="Wasserstein GAN with gradient penalty",
        source="arXiv:1704.00028",
        networks=networks,
        phases=(Phase(settings.steps, feed, Latent, players),),
        passes=(Draw("generator", ("noise",), study.written, study.dimensions),),
        departures=(
            "DCGAN's bodies with kernel 4; layer norm with a gain per channel [paper: released code]",
            "the generator learns from the noise of the critic's last turn (paper: new noise) [assumed]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance={"noise": noise},
    )
