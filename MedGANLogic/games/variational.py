"""An encoder beside the generator: images are made of chance, and made again of where their own codes may lie."""

from torch import Tensor

from MedGANLogic.games.information import Examined
from MedGANLogic.parts.losses.latent import draw
from MedGANLogic.recipe import tensor


class Variational(Examined):
    """``Examined`` with ``deviation`` (B, n), standard normal as ``noise`` (B, n) is: by it an image's code is drawn.

    Networks: ``encoder`` from images to moments (B, 2·n), ``generator``, which is the decoder, and ``discriminator``.
    ``fake`` is made of noise alone.
    """

    scores = ("score_real", "score_fake", "score_rebuilt")

    @tensor
    def moments(self) -> Tensor:
        """Where the codes of the real images may lie: means, then log variances."""
        encoded: Tensor = self.network("encoder")(self.image)
        return encoded

    @tensor
    def rebuilt(self) -> Tensor:
        """The real images, encoded and decoded."""
        decoded: Tensor = self.network("generator")(draw(self.moments, self.batch["deviation"]))
        return decoded

    @tensor
    def features_rebuilt(self) -> Tensor:
        """What the discriminator sees in the rebuilt images."""
        return self.seen(self.rebuilt)

    @tensor
    def score_rebuilt(self) -> Tensor:
        """The discriminator's scores of the rebuilt images."""
        return self.judged(self.features_rebuilt)
