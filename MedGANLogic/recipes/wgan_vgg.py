"""WGAN-VGG: low-dose CT by a Wasserstein critic and what VGG19 sees, without any distance between voxels."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Uniform
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Pair
from MedGANLogic.games.perceptual import Perceptual
from MedGANLogic.parts.discriminators.image import ImageCritic
from MedGANLogic.parts.features.frozen import frozen_features
from MedGANLogic.parts.generators.denoising_cnn import PlainCNN
from MedGANLogic.parts.losses.adversarial import scored_high, scored_low, unit_slope
from MedGANLogic.parts.losses.voxelwise import l2
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import DENOISING, Settings, Study

EXAMPLE = replace(DENOISING, neighbours=0)

MARKS = "[paper], but for the steps, ours for one GPU [assumed]; levels are convolutions"
PUBLISHED = Settings(width=32, levels=8, patch=64, batch=128, steps=50_000, rate=1e-5)


def recipe(study: Study) -> Recipe:
    """Return WGAN-VGG (Yang et al. 2018, eqs. 3-8: W + 10·GP in four turns, then -C + .1·features; no pixel term)."""
    settings = study.limited_to(2).adapted(PUBLISHED)
    dimensions, channels = study.dimensions, study.out_channels
    features = frozen_features(study.about.get("features"), dimensions, channels)
    networks = {
        "generator": PlainCNN(dimensions, study.in_channels, channels, settings.width, settings.levels),
        "discriminator": ImageCritic(dimensions, channels, 2 * settings.width, settings.patch),
        "features": features,
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.5, 0.9))
    judged = (
        Term(1.0, scored_high, "score_real"),
        Term(1.0, scored_low, "score_fake"),
        Term(10.0, unit_slope, "slopes_between"),
    )
    improved = (Term(1.0, scored_high, "score_fake"), Term(0.1, l2, "features_fake", "features_real"))
    players = (
        Player("critic", ("discriminator",), adam, judged, turns=4),
        Player("generator", ("generator",), adam, improved),
    )
    feed = Feed(
        settings.batch,
        Pair(study.patch_shape(settings.patch), Augmentation(contrast=0.0)),
        Drawn("mixing", Uniform((1,), 0.0, 1.0)),
    )
    return Recipe(
        title="WGAN-VGG",
        source="arXiv:1708.00961",
        networks=networks,
        phases=(Phase(settings.steps, feed, Perceptual, players),),
        passes=(study.whole_volume("generator", multiple=8),),
        departures=(
            *features.departures,
            "features see images as they were trained to (paper: VGG19's, of 0 … 255 less its mean) [assumed]",
            "images in [-1, 1], padded convolutions, and no ReLU at the end (paper: [0, 1], unpadded) [assumed]",
            "the generator learns from the batch of the critic's last turn (paper: a new one) [assumed]",
            "patches mirrored and turned by quarters; voxels where the volumes disagree cost nothing [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
