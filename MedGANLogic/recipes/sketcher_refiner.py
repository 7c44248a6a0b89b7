"""Sketcher-Refiner GANs: MR to PET in two stages, the second looking harder where the disease is."""

from functools import partial

from torch import Tensor
from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.context import Refinement, Stage, staged
from MedGANLogic.parts.discriminators.patch import PatchDiscriminator
from MedGANLogic.parts.generators.strided_unet import StridedUNet
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.voxelwise import masked_l1, region_weighted_l1
from MedGANLogic.passes import Pass, cascade
from MedGANLogic.recipe import Networks, Phase, Player, Recipe, Term, in_stages
from MedGANLogic.study import GUIDED, Settings, Study

EXAMPLE = GUIDED

MARKS = "[assumed] throughout"
PUBLISHED = Settings(width=32, levels=4, patch=64, batch=2, steps=80_000, rate=2e-4)

#: What an error costs in the rest, in normal-appearing white matter, and in a lesion [assumed].
WEIGHTS = (1.0, 1.0, 10.0)

NAMES = ("sketcher", "refiner")


def regional_l1(prediction: Tensor, target: Tensor, regions: Tensor) -> Tensor:
    """Return the L1 error weighted by region; without a guide the rest is the only one."""
    return region_weighted_l1(prediction, target, regions, WEIGHTS[: regions.shape[1]])


#: How each stage is held to the target, and its game.
LIKENESS = (
    Term(100.0, masked_l1, "fake_b", "real_b", "weight"),
    Term(100.0, regional_l1, "shown_b", "real_b", "regions"),
)
GAMES = (Stage, Refinement)


def _stage(study: Study, settings: Settings, passes: tuple[Pass, ...], number: int) -> tuple[Networks, Phase]:
    """Return one stage: pix2pix's objective on its own network and discriminator."""
    own, judge = passes[number], f"{NAMES[number]}_discriminator"
    estimates = own.reads[len(passes[0].reads) :]
    both, width = study.in_channels + study.out_channels, settings.width
    networks = {
        own.network: StridedUNet(study.dimensions, own.channels, study.out_channels, width, settings.levels),
        judge: PatchDiscriminator(study.dimensions, both, width, layers=3),
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.5, 0.999))
    judged = (Term(1.0, called_real, "score_real_pair"), Term(1.0, called_fake, "score_fake_pair"))
    translated = (Term(1.0, called_real, "score_fake_pair"), LIKENESS[number])
    players = (Player("discriminator", (judge,), adam, judged), Player("generator", (own.network,), adam, translated))
    pair = Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False, contrast=0.0), also=estimates)
    game = staged(GAMES[number], own.network, judge, estimates)
    steps = settings.steps // len(NAMES)
    return networks, Phase(steps, Feed(settings.batch, pair), game, players, beforehand=passes[:number])


def recipe(study: Study) -> Recipe:
    """Return Sketcher-Refiner (Wei et al. 2018: a GAN with L1, then one on MR and sketch, with L1 by region)."""
    settings = study.guided_by(len(WEIGHTS) - 1).adapted(PUBLISHED)
    passes = cascade(study.whole_volume("", multiple=2**settings.levels), NAMES)
    networks, phases = in_stages(partial(_stage, study, settings, passes), len(NAMES))
    return Recipe(
        title="Sketcher-Refiner GANs",
        source="arXiv:1804.08039",
        networks=networks,
        phases=phases,
        passes=passes,
        departures=(
            "widths, patches, rates, 100·L1, region weights 1, 1 and 10 (paper: adaptive [paper?]) [assumed]",
            "the sketch is that of the whole volume without dropout, made once; patches mirrored [assumed]",
            "voxels where the volumes disagree cost nothing [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
