"""SAGAN: low-dose CT by pix2pix and a network that knows how sharp an image is in every place."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.denoising import Sharpened
from MedGANLogic.parts.discriminators.patch import PatchDiscriminator
from MedGANLogic.parts.generators.norm_free_unet import NormFreeUNet
from MedGANLogic.parts.generators.strided_unet import StridedUNet
from MedGANLogic.parts.losses.adversarial import squared_fake, squared_real
from MedGANLogic.parts.losses.voxelwise import l2, masked_l1
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import DENOISING, Settings, Study

EXAMPLE = replace(DENOISING, neighbours=0)

MARKS = "[paper] for patch and U256; pix2pix's otherwise [assumed]; a quarter of the steps is for the sharpness network"
PUBLISHED = Settings(width=64, levels=8, patch=256, batch=1, steps=80_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return SAGAN (Yi & Babyn 2018: S learns what is sharp; then least squares + 100·L1 + .001·‖S(y) - S(ŷ)‖²)."""
    settings = study.limited_to(2).adapted(PUBLISHED)
    channels, width = (study.in_channels, study.out_channels), settings.width
    networks = {
        "generator": StridedUNet(study.dimensions, *channels, width, settings.levels),
        "discriminator": PatchDiscriminator(study.dimensions, sum(channels), width, 3),
        "sharpness": NormFreeUNet(study.dimensions, channels[1], channels[1], width // 2, 3),
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.5, 0.999))
    measured = (Term(1.0, l2, "perceived_real", "sharpness_b"),)
    # squared_* hold the ½ of the least squares themselves.
    judged = (Term(1.0, squared_real, "score_real_pair"), Term(1.0, squared_fake, "score_fake_pair"))
    improved = (
        Term(1.0, squared_real, "score_fake_pair"),
        Term(100.0, masked_l1, "fake_b", "real_b", "weight"),
        Term(0.001, l2, "perceived_fake", "perceived_real"),
    )
    players = (
        Player("discriminator", ("discriminator",), adam, judged),
        Player("generator", ("generator",), adam, improved),
    )
    pair = Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False, contrast=0.0))
    feed, first = Feed(settings.batch, pair), settings.steps // 4
    return Recipe(
        title="SAGAN (sharpness-aware)",
        source="arXiv:1708.06453",
        networks=networks,
        phases=(
            Phase(first, feed, Sharpened, (Player("sharpness", ("sharpness",), adam, measured),)),
            Phase(settings.steps - first, feed, Sharpened, players),
        ),
        passes=(study.whole_volume("generator", multiple=2**settings.levels),),
        departures=(
            "weights of the terms; the sharpness network is a small U-Net without norm or dropout, so that it stays "
            "the same function when it no longer learns [assumed]",
            "patterns counted in windows of 15, of images in the study's window [assumed]",
            "predicts without dropout, with running statistics of batch norm; patches anywhere, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
