"""What is asked of an image is read from it again: a class that was given, or codes that found a meaning."""

import torch
from torch import Tensor

from MedGANLogic.games.latent import Latent
from MedGANLogic.recipe import tensor


class Examined(Latent):
    """``Latent`` whose discriminator shows its last hidden layer: all that read it share one look at an image.

    Networks: ``generator``; ``discriminator`` with ``features`` and ``judge``.
    """

    def seen(self, image: Tensor) -> Tensor:
        """Return what the discriminator's last hidden layer makes of an image."""
        features: Tensor = self.network("discriminator").features(image)  # type: ignore[operator]  # a Module's method
        return features

    def judged(self, features: Tensor) -> Tensor:
        """Return the discriminator's scores of what it has seen."""
        scores: Tensor = self.network("discriminator").judge(features)  # type: ignore[operator]  # a Module's method
        return scores

    @tensor
    def features_real(self) -> Tensor:
        """What the discriminator sees in the real images."""
        return self.seen(self.image)

    @tensor
    def features_fake(self) -> Tensor:
        """What the discriminator sees in the generator's images."""
        return self.seen(self.fake)

    @tensor
    def score_real(self) -> Tensor:
        """The discriminator's scores of the real images."""
        return self.judged(self.features_real)

    @tensor
    def score_fake(self) -> Tensor:
        """The discriminator's scores of the generator's images."""
        return self.judged(self.features_fake)


class Classified(Examined):
    """``Examined`` with ``condition`` (B, k), the real images' classes, and ``wanted`` (B, k), drawn for the others.

    The generator reads noise and wanted class joined; ``classifier`` says from the features which class an image is.
    """

    @tensor
    def condition(self) -> Tensor:
        """The classes of the real images, one-hot."""
        return self.batch["condition"]

    @tensor
    def wanted(self) -> Tensor:
        """The classes that the generator is asked for, one-hot."""
        return self.batch["wanted"]

    @tensor
    def code(self) -> Tensor:
        """Noise and wanted class."""
        return torch.cat([self.batch["noise"], self.wanted], dim=1)

    @tensor
    def class_real(self) -> Tensor:
        """The classifier's logits (B, k) for the real images."""
        logits: Tensor = self.network("classifier")(self.features_real)
        return logits

    @tensor
    def class_fake(self) -> Tensor:
        """The classifier's logits (B, k) for the generator's images."""
        logits: Tensor = self.network("classifier")(self.features_fake)
        return logits


class Informed(Examined):
    """``Examined`` with ``category`` (B, k), one-hot, and ``codes`` (B, n): drawn, and joined to the noise.

    ``auxiliary`` reads from the features of the generator's images which they were: k logits, n means, n log variances.
    """

    @tensor
    def category(self) -> Tensor:
        """The category that was drawn, one-hot."""
        return self.batch["category"]

    @tensor
    def codes(self) -> Tensor:
        """The numbers that were drawn."""
        return self.batch["codes"]

    @tensor
    def code(self) -> Tensor:
        """Noise, category and codes."""
        return torch.cat([self.batch["noise"], self.category, self.codes], dim=1)

    @tensor
    def reading(self) -> Tensor:
        """All that is read from the generator's images."""
        read: Tensor = self.network("auxiliary")(self.features_fake)
        return read

    @tensor
    def category_read(self) -> Tensor:
        """Logits (B, k) of the category."""
        return self.reading[:, : self.category.shape[1]]

    @tensor
    def codes_read(self) -> Tensor:
        """Moments (B, 2·n) of the codes."""
        return self.reading[:, self.category.shape[1] :]
