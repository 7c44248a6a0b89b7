"""InfoGAN: some of what the generator is given can be read from its images again, and so finds a meaning."""

from functools import partial

from torch.optim import Adam

from MedGANLogic.chance import Category, Codes, Uniform
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.information import Informed
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator, Head
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.latent import cross_entropy, gaussian_surprise
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import GENERATION, Settings, Study

EXAMPLE = GENERATION

MARKS = (
    "[paper] for D's rate, [paper: released code] for the batch; the rest is DCGAN's, the steps are ours, for one GPU "
    "[assumed]"
)
PUBLISHED = Settings(width=128, patch=64, batch=128, steps=25_000, rate=2e-4)


def recipe(study: Study) -> Recipe:
    """Return InfoGAN (Chen et al. 2016, eq. 6, app. C.1: ten categories, two codes; λ 1 and .1; G at 5 times D's rate).

    Eq. 6 minimises over G and Q what D alone maximises without the information: Q's head moves with G, at G's rate,
    and the layers that it shares with D move with D, by D's terms. The released code counts Q and the shared layers
    to D and lowers the information's terms there too, at D's rate.
    """
    settings = study.adapted(PUBLISHED)
    chance = {"noise": Uniform((62,)), "category": Category(10), "codes": Codes((2,))}
    dimensions, channels = study.dimensions, study.out_channels
    discriminator = DCGANDiscriminator(dimensions, channels, settings.width, settings.patch, 1)
    networks = {
        "generator": DCGANGenerator(dimensions, 62 + 10 + 2, channels, settings.width, settings.patch),
        "discriminator": discriminator,
        "auxiliary": Head(discriminator.feature_count, 10 + 2 * 2),
    }
    adam = partial(Adam, betas=(0.5, 0.999))
    judged = (Term(1.0, called_real, "score_real"), Term(1.0, called_fake, "score_fake"))
    informed = (
        Term(1.0, called_real, "score_fake"),
        Term(1.0, cross_entropy, "category_read", "category"),
        Term(0.1, gaussian_surprise, "codes", "codes_read"),
    )
    players = (
        Player("discriminator", ("discriminator",), partial(adam, lr=settings.rate), judged),
        Player("generator", ("generator", "auxiliary"), partial(adam, lr=5 * settings.rate), informed),
    )
    feed = Feed(
        settings.batch,
        Images("image", study.targets, study.patch_shape(settings.patch), Augmentation(quarter_turns=False)),
        Drawn("noise", chance["noise"]),
        Drawn("category", chance["category"]),
        Drawn("codes", chance["codes"]),
    )
    return Recipe(
        title="InfoGAN",
        source="arXiv:1606.03657",
        networks=networks,
        phases=(Phase(settings.steps, feed, Informed, players),),
        passes=(Draw("generator", tuple(chance), study.written, dimensions),),
        departures=(
            "DCGAN's bodies at 64², Q one linear layer on D's last hidden one, in place of app. C's [assumed]",
            "Q's head moves with G, the layers that it shares with D do so with D [paper: released code: all with D]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance=chance,
    )
