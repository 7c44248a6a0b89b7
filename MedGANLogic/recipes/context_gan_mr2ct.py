"""Context-aware GAN: MR to CT in stages, each shown what the one before made of the whole volume."""

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from MedGANLogic.feeds import Augmentation, Feed, Pair
from MedGANLogic.games.context import Centre, staged
from MedGANLogic.parts.discriminators.image import PooledImageDiscriminator
from MedGANLogic.parts.generators.valid_cnn import ValidCNN
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.gradient import gradient_difference
from MedGANLogic.parts.losses.voxelwise import half_squared_sum
from MedGANLogic.passes import Pass, cascade
from MedGANLogic.recipe import Networks, Phase, Player, Recipe, Term, in_stages, numbered
from MedGANLogic.study import TRANSLATION, Settings, Study

EXAMPLE = replace(TRANSLATION, dimensions=3, neighbours=0)

MARKS = "[paper], but for steps and rate, ours for one GPU [assumed]; levels are the stages"
PUBLISHED = Settings(width=32, levels=3, patch=32, batch=10, steps=120_000, rate=1e-4)


def _stage(study: Study, settings: Settings, passes: tuple[Pass, ...], number: int) -> tuple[Networks, Phase]:
    """Return one stage: half the squared sum + gradient differences + .5·NS, on the centre of every patch."""
    own, judge = passes[number], f"discriminator_{number + 1}"
    estimates = own.reads[len(passes[0].reads) :]
    centre = settings.patch - 2 * own.margin
    networks = {
        own.network: ValidCNN(study.dimensions, own.channels, study.out_channels, settings.width),
        judge: PooledImageDiscriminator(study.dimensions, study.out_channels, settings.width, centre),
    }
    adam = partial(Adam, lr=settings.rate, betas=(0.5, 0.999), weight_decay=5e-4)
    judged = (Term(1.0, called_real, "score_real"), Term(1.0, called_fake, "score_fake"))
    translated = (
        Term(0.5, called_real, "score_fake"),
        Term(1.0, half_squared_sum, "shown_b", "real_b"),
        # A sum over the batch too [paper: released code], of which several processes hold a share each.
        Term(settings.batch, gradient_difference, "shown_b", "real_b"),
    )
    players = (Player("discriminator", (judge,), adam, judged), Player("generator", (own.network,), adam, translated))
    pair = Pair(study.patch_shape(settings.patch), Augmentation(quarter_turns=False, contrast=0.0), also=estimates)
    game = staged(Centre, own.network, judge, estimates)
    steps = settings.steps // settings.levels
    return networks, Phase(steps, Feed(settings.batch, pair), game, players, beforehand=passes[:number])


def recipe(study: Study) -> Recipe:
    """Return the context-aware GAN (Nie et al. 2017, eqs. 1-6 and §2.4: auto-context over stages trained in turn)."""
    settings = study.adapted(PUBLISHED)
    last = replace(study.whole_volume("", multiple=8), margin=ValidCNN.MARGIN)
    passes = cascade(last, numbered("generator", settings.levels))
    networks, phases = in_stages(partial(_stage, study, settings, passes), settings.levels)
    return Recipe(
        title="Context-aware GAN",
        source="arXiv:1612.05362",
        networks=networks,
        phases=phases,
        passes=passes,
        departures=(
            "a rate of 1e-4 for as many steps in every stage (paper: 1e-6) [assumed]",
            "three stages [paper?]; weight decay 5e-4, squares and gradient differences summed [paper: released code]",
            "windows of any size; voxels where the volumes disagree cost nothing; patches mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
    )
