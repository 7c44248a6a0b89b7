"""Images from chance and a condition: what is wanted is said to generator and discriminator."""

import torch
from torch import Tensor

from MedGANLogic.games.latent import Latent
from MedGANLogic.recipe import tensor


class Conditioned(Latent):
    """``Latent`` with ``condition`` (B, k): generator and discriminator are told what is wanted.

    The generator reads noise and condition joined, the discriminator the image with one constant channel for every
    number of the condition.
    """

    @tensor
    def code(self) -> Tensor:
        """Noise and condition."""
        return torch.cat([self.batch["noise"], self.batch["condition"]], dim=1)

    def with_condition(self, image: Tensor) -> Tensor:
        """Return an image with the condition as further channels."""
        planes = self.batch["condition"].reshape(*self.batch["condition"].shape, *[1] * (image.dim() - 2))
        return torch.cat([image, planes.expand(-1, -1, *image.shape[2:]).to(image.dtype)], dim=1)

    @tensor
    def score_real(self) -> Tensor:
        """The discriminator's scores of the real images with their conditions."""
        scores: Tensor = self.network("discriminator")(self.with_condition(self.image))
        return scores

    @tensor
    def score_fake(self) -> Tensor:
        """The discriminator's scores of the generator's images with the conditions that these were given."""
        scores: Tensor = self.network("discriminator")(self.with_condition(self.fake))
        return scores
