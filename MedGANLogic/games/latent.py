"""Images from nothing but chance: a generator of noise, and a discriminator or critic of images."""

from typing import ClassVar

from torch import Tensor

from MedGANLogic.parts.losses.adversarial import slopes
from MedGANLogic.recipe import Game, tensor


class Generated(Game):
    """Batch: ``image`` (B, C, *size) and ``noise`` (B, n). Network: ``generator`` from codes to images."""

    made, real = "fake", "image"

    @tensor
    def image(self) -> Tensor:
        """The real images in [-1, 1]."""
        return self.batch["image"]

    @tensor
    def code(self) -> Tensor:
        """What the generator is given."""
        return self.batch["noise"]

    @tensor
    def fake(self) -> Tensor:
        """The generator's images."""
        made: Tensor = self.network("generator")(self.code)
        return made


class Latent(Generated):
    """``Generated``, with ``mixing`` (B, 1) in [0, 1] where slopes are read.

    Network: ``discriminator`` from images to scores.
    """

    scores: ClassVar[tuple[str, ...]] = ("score_real", "score_fake")

    @tensor
    def score_real(self) -> Tensor:
        """The discriminator's scores of the real images."""
        scores: Tensor = self.network("discriminator")(self.image)
        return scores

    @tensor
    def score_fake(self) -> Tensor:
        """The discriminator's scores of the generator's images."""
        scores: Tensor = self.network("discriminator")(self.fake)
        return scores

    @tensor
    def slopes_between(self) -> Tensor:
        """The gradients of the scores at random points between real and generated images (arXiv:1704.00028)."""
        return slopes(self.network("discriminator"), self.image, self.fake, self.batch["mixing"])
