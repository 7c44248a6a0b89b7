"""CycleGAN: translation between two pools of images that are not paired."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Images
from MedGANLogic.games.cycle import Cycle
from MedGANLogic.parts.discriminators.patch import InstancePatchDiscriminator
from MedGANLogic.parts.generators.residual import ResidualTranslator
from MedGANLogic.parts.image_pool import ImagePool
from MedGANLogic.parts.losses.adversarial import squared_fake, squared_real
from MedGANLogic.parts.losses.voxelwise import l1
from MedGANLogic.recipe import Linear, Phase, Player, Recipe, Term
from MedGANLogic.study import TRANSLATION, Settings, Study

EXAMPLE = TRANSLATION

MARKS = "[paper], but for the steps, ours for one GPU [assumed]; levels are residual blocks"
PUBLISHED = Settings(width=64, levels=9, patch=256, batch=1, steps=100_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return CycleGAN (Zhu et al. 2017, eq. 3 and §4: LS + 10·cycle, D's loss halved, pool of 50, linear decay)."""
    settings = study.adapted(PUBLISHED)
    first, second = study.in_channels, study.out_channels
    translator = partial(ResidualTranslator, study.dimensions, width=settings.width, blocks=settings.levels)
    judge = partial(InstancePatchDiscriminator, study.dimensions, width=settings.width, layers=3)
    networks = {
        "a_to_b": translator(in_channels=first, out_channels=second),
        "b_to_a": translator(in_channels=second, out_channels=first),
        "discriminator_a": judge(in_channels=first),
        "discriminator_b": judge(in_channels=second),
        "pool_a": ImagePool(50),
        "pool_b": ImagePool(50),
    }
    # squared_* hold the ½ of the least squares themselves; the paper halves D's loss, of which they are the halves.
    judged_a = (Term(1.0, squared_real, "score_real_a"), Term(1.0, squared_fake, "score_pooled_a"))
    judged_b = (Term(1.0, squared_real, "score_real_b"), Term(1.0, squared_fake, "score_pooled_b"))
    translated = (
        Term(2.0, squared_real, "score_fake_a"),
        Term(2.0, squared_real, "score_fake_b"),
        Term(10.0, l1, "cycled_a", "real_a"),
        Term(10.0, l1, "cycled_b", "real_b"),
    )
    adam, decay = partial(Adam, lr=settings.rate, betas=(0.5, 0.999)), Linear(1.0, 0.0, begin=0.5)
    players = (
        Player("discriminators", ("discriminator_a", "discriminator_b"), adam, judged_a + judged_b, decay),
        Player("generators", ("a_to_b", "b_to_a"), adam, translated, decay),
    )
    images = partial(Images, patch=study.patch_shape(settings.patch), augmentation=Augmentation(quarter_turns=False))
    feed = Feed(settings.batch, images("a", study.inputs), images("b", study.targets))
    return Recipe(
        title="CycleGAN",
        source="arXiv:1703.10593",
        networks=networks,
        phases=(Phase(settings.steps, feed, Cycle, players),),
        passes=(replace(study.whole_volume("a_to_b", multiple=8), largest=settings.patch),),
        departures=(
            "the discriminators move first, so that each translation is made once [paper: released code: last]",
            "windows as large as the patches, because instance norm sees no more [assumed]",
            "patches at native resolution instead of resize-and-crop jitter; contrast jitter of MR [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
