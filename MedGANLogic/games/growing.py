"""Images from chance whose networks grow, and the phases in which they do (Karras et al. 2018, arXiv:1710.10196)."""

from dataclasses import replace

from torch import Tensor

from MedGANLogic.feeds import Feed, Images, Source
from MedGANLogic.games.latent import Latent
from MedGANLogic.parts.discriminators.progressive import at_stage
from MedGANLogic.parts.generators.progressive import stage_of
from MedGANLogic.parts.losses.adversarial import slopes
from MedGANLogic.recipe import Phase, Player, tensor


class Growing(Latent):
    """``Latent`` at the stage whose edge the batch's images have, once it is there in full.

    Networks: ``generator`` (code, stage, fade), ``discriminator`` (image, fade).
    """

    @property
    def stage(self) -> int:
        """0 for images of edge 4, and one more for every doubling."""
        return stage_of(self.batch["image"].shape[-1])

    @property
    def fade(self) -> float:
        """The newest stage's share of every image and score."""
        return 1.0

    @tensor
    def image(self) -> Tensor:
        """The real images, as fine as the generator's are."""
        return at_stage(self.batch["image"], self.stage, self.fade)

    @tensor
    def fake(self) -> Tensor:
        """The generator's images at this stage."""
        made: Tensor = self.network("generator")(self.code, self.stage, self.fade)
        return made

    @tensor
    def score_real(self) -> Tensor:
        """The critic's scores of the real images."""
        scores: Tensor = self.network("discriminator")(self.image, self.fade)
        return scores

    @tensor
    def score_fake(self) -> Tensor:
        """The critic's scores of the generator's images."""
        scores: Tensor = self.network("discriminator")(self.fake, self.fade)
        return scores

    @tensor
    def slopes_between(self) -> Tensor:
        """The gradients of the scores at random points between real and generated images (arXiv:1704.00028)."""
        return slopes(self.network("discriminator"), self.image, self.fake, self.batch["mixing"], self.fade)


class FadingIn(Growing):
    """``Growing`` while the newest stage fades in, from nothing at the phase's beginning to all at its end."""

    @property
    def fade(self) -> float:
        return self.done


def grown(
    steps: int, batch: int, images: Images, drawn: tuple[Source, ...], players: tuple[Player, ...]
) -> tuple[Phase, ...]:
    """Return the phases from edge 4 to that of the images' patch, of equal length and ``steps`` steps in all.

    The first stage, and then for every doubling one in which it fades in and one in which it is there (app. A.1).
    Raises ValueError for a patch whose edge is not 4 times a power of two.
    """
    last = stage_of(images.patch[-1])
    feeds = [Feed(batch, replace(images, shrunk=2 ** (last - stage)), *drawn) for stage in range(last + 1)]
    games = [(feeds[0], Growing), *((feed, game) for feed in feeds[1:] for game in (FadingIn, Growing))]
    ends = [steps * number // len(games) for number in range(len(games) + 1)]
    return tuple(
        Phase(end - begin, feed, game, players) for begin, end, (feed, game) in zip(ends, ends[1:], games, strict=False)
    )
