"""VAE-GAN: an autoencoder whose likeness is measured by what a discriminator sees."""

from functools import partial

from torch.optim import RMSprop

from MedGANLogic.chance import Normal
from MedGANLogic.feeds import Augmentation, Drawn, Feed, Images
from MedGANLogic.games.variational import Variational
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator
from MedGANLogic.parts.encoders.latent import LatentEncoder
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.latent import divergence_from_normal, feature_distance
from MedGANLogic.passes import Draw
from MedGANLogic.recipe import Phase, Player, Recipe, Term
from MedGANLogic.study import GENERATION, Settings, Study

EXAMPLE = GENERATION

MARKS = "[paper] for rate, batch, patch and the encoder's width; the steps are ours, for one GPU [assumed]"
PUBLISHED = Settings(width=64, patch=64, batch=64, steps=25_000, rate=3e-4)


def recipe(study: Study) -> Recipe:
    """Return VAE-GAN (Larsen et al. 2016, algorithm 1: Enc KL + L_ℓ, Dec γ·L_ℓ - L_GAN, D L_GAN on both kinds of fake).

    L_ℓ is half the squared distance, summed over D's last hidden layer (eq. 7). What no player's terms name reaches no
    weight of its networks: KL moves the encoder alone, L_GAN never. Images are sampled: the decoder is the bundle's.
    """
    settings, code = study.adapted(PUBLISHED), Normal((128,))
    dimensions, channels, width, size = study.dimensions, study.out_channels, settings.width, settings.patch
    discriminator = DCGANDiscriminator(dimensions, channels, width, size, 1)
    networks = {
        "encoder": LatentEncoder(dimensions, channels, width, size, 128),
        "generator": DCGANGenerator(dimensions, 128, channels, width, size),
        "discriminator": discriminator,
    }
    judged = (
        Term(1.0, called_real, "score_real"),
        Term(1.0, called_fake, "score_rebuilt"),
        Term(1.0, called_fake, "score_fake"),
    )
    decoded = (
        Term(0.01, feature_distance, "features_rebuilt", "features_real"),
        Term(1.0, called_real, "score_rebuilt"),
        Term(1.0, called_real, "score_fake"),
    )
    # feature_distance is a mean; the likelihood of eq. 7 is half the sum.
    likelihood = Term(discriminator.feature_count / 2, feature_distance, "features_rebuilt", "features_real")
    rms = partial(RMSprop, lr=settings.rate, alpha=0.9)
    players = (
        Player("discriminator", ("discriminator",), rms, judged),
        Player("decoder", ("generator",), rms, decoded),
        Player("encoder", ("encoder",), rms, (Term(1.0, divergence_from_normal, "moments"), likelihood)),
    )
    images = Images("image", study.targets, study.patch_shape(size), Augmentation(quarter_turns=False))
    feed = Feed(settings.batch, images, Drawn("noise", code), Drawn("deviation", code))
    return Recipe(
        title="VAE-GAN",
        source="arXiv:1512.09300",
        networks=networks,
        phases=(Phase(settings.steps, feed, Variational, players),),
        passes=(Draw("generator", ("noise",), study.written, dimensions),),
        departures=(
            "DCGAN's decoder and discriminator; ℓ is D's last hidden layer [paper: released code: D's ninth]",
            "γ .01 on the mean, at 64² 2e-6 on the paper's sum [assumed; paper: released code: 1e-5]",
            "Dec's share of -L_GAN is the non-saturating one; D, Dec, Enc one after the other, not at once [assumed]",
            "RMSProp's decay .9 [paper: released code]; no weight decay, no stops at an imbalance [assumed]",
            "patches around the body, mirrored [assumed]",
            *study.departures(PUBLISHED),
        ),
        chance={"noise": code},
    )
