"""mDCSRN-GAN: MR sharpened on its own grid by dense blocks of many levels, then by a critic that is kept ahead."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Uniform
from MedGANLogic.degradation import ZeroFilled
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Pair
from MedGANLogic.games.paired import PairedApart
from MedGANLogic.parts.discriminators.image import LayerNormImageCritic
from MedGANLogic.parts.generators.multilevel_dense import MultiLevelDenseNet
from MedGANLogic.parts.losses.adversarial import scored_high, scored_low, unit_slope
from MedGANLogic.parts.losses.voxelwise import l1
from MedGANLogic.recipe import ExtraTurns, Phase, Player, Recipe, Term
from MedGANLogic.study import SUPER_RESOLUTION, Settings, Study

EXAMPLE = replace(SUPER_RESOLUTION, dimensions=3, made={"mr": ZeroFilled("fine", (1, 2, 2))})

MARKS = (
    "[paper], but for patch and batch [paper: third-party code], and the steps, ours for one GPU [assumed]; width is "
    "the growth rate, levels are dense blocks, rate is that of the first phase"
)
PUBLISHED = Settings(width=16, levels=4, patch=64, batch=2, steps=80_000, rate=1e-4)


def recipe(study: Study) -> Recipe:
    """Return mDCSRN-GAN (Chen et al. 2018, §2: L1 first, then W + 10·GP in seven turns against L1 - 10⁻³·C)."""
    settings = study.sharpened.adapted(PUBLISHED)
    dimensions, channels = study.dimensions, study.out_channels
    networks = {
        "generator": MultiLevelDenseNet(dimensions, study.in_channels, channels, settings.width, settings.levels, 4),
        "discriminator": LayerNormImageCritic(dimensions, channels, 4 * settings.width, settings.patch),
    }
    first, later = partial(Adam, lr=settings.rate), partial(Adam, lr=settings.rate / 20)
    likeness = Term(1.0, l1, "fake_b", "real_b")
    judged = (
        Term(1.0, scored_high, "score_real"),
        Term(1.0, scored_low, "score_fake"),
        Term(10.0, unit_slope, "slopes_between"),
    )
    rebuild = Player("generator", ("generator",), first, (likeness,))
    judge = partial(Player, "critic", ("discriminator",), later, judged)
    refine = Player("generator", ("generator",), later, (likeness, Term(1e-3, scored_high, "score_fake")))
    # No contrast: the target would have to change with the input.
    pair = Pair(study.patch_shape(settings.patch), Augmentation(contrast=0.0))
    feed = Feed(settings.batch, pair, Drawn("mixing", Uniform((1,), 0.0, 1.0)))
    eighth = settings.steps // 8
    return Recipe(
        title="mDCSRN-GAN",
        source="arXiv:1803.01417",
        networks=networks,
        phases=(
            Phase(5 * eighth, Feed(settings.batch, pair), PairedApart, (rebuild,)),
            Phase(eighth, feed, PairedApart, (judge(),)),
            Phase(2 * eighth, feed, PairedApart, (judge(turns=ExtraTurns(7, extra=200, every=500)), refine)),
        ),
        passes=(study.whole_volume("generator", multiple=8),),
        departures=(
            "an eighth of the steps for the critic alone, a quarter for both (paper: 10⁴ and 5.5·10⁵ of 10⁶) [assumed]",
            "L1, 10⁻³·C, and 200 further turns of the critic after every 500 steps [paper: third-party code], of the "
            "generator's [assumed]",
            "the generator learns from the batch of the critic's last turn (paper: a new one) [assumed]",
            "optimizers begin anew with every phase; patches mirrored and turned by quarters [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
