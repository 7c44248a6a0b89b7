"""Progressive growing: generator and critic begin at 4×4 and fade in one doubling after the other."""

from copy import deepcopy
from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Normal, Uniform
from MedGANLogic.feeds import Augmentation, Drawn, Images
from MedGANLogic.games.growing import grown
from MedGANLogic.parts.discriminators.progressive import ProgressiveDiscriminator
from MedGANLogic.parts.generators.progressive import ProgressiveGenerator
from MedGANLogic.parts.losses.adversarial import drift, scored_high, scored_low, unit_slope
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import ExponentialAverage, Player, Recipe, Term
from MedGANLogic.study import GENERATION, Settings, Study

EXAMPLE = GENERATION

MARKS = "[paper] at 128² (width is the finest stage's), but for the steps, ours for one GPU [assumed]"
PUBLISHED = Settings(width=128, patch=128, batch=16, steps=110_000, rate=1e-3)


def recipe(study: Study) -> Recipe:
    """Return PGAN (Karras et al. 2018, §2-4, app. A.1: W + 10·GP + .001·drift, Adam(1e-3, 0, .99), average .999)."""
    settings = study.adapted(PUBLISHED)
    noise = Normal((512,))
    generator = ProgressiveGenerator(study.dimensions, 512, study.out_channels, settings.width, settings.patch)
    critic = ProgressiveDiscriminator(study.dimensions, study.out_channels, settings.width, settings.patch)
    judged = (
        Term(1.0, scored_high, "score_real"),
        Term(1.0, scored_low, "score_fake"),
        Term(10.0, unit_slope, "slopes_between"),
        Term(0.001, drift, "score_real"),
    )
    adam = partial(Adam, lr=settings.rate, betas=(0.0, 0.99))
    average = ExponentialAverage("generator", "generator_average", 0.999)
    players = (
        Player("critic", ("discriminator",), adam, judged),
        Player("generator", ("generator",), adam, (Term(1.0, scored_high, "score_fake"),), after=(average,)),
    )
    images = Images("image", study.targets, study.patch_shape(settings.patch), Augmentation(quarter_turns=False))
    drawn = (Drawn("noise", noise), Drawn("mixing", Uniform((1,), 0.0, 1.0)))
    return Recipe(
        title="Progressive growing of GANs",
        source="arXiv:1710.10196",
        networks={"generator": generator, "discriminator": critic, "generator_average": deepcopy(generator)},
        phases=grown(settings.steps, settings.batch, images, drawn, players),
        passes=(Draw("generator_average", ("noise",), study.written, study.dimensions),),
        departures=(
            "phases of 10 000 steps at 128² (paper: 50 000, which are 800 000 images) [assumed]",
            "optimizers begin anew in every phase [paper: released code]",
            "the average begins anew in every phase and reaches its .999 there late [assumed]",
            "the generator learns from the critic's noise (paper: new noise) [assumed]",
            "the minibatch's deviation is over the whole batch [paper], not in groups of 4 [paper: released code]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance={"noise": noise},
    )
