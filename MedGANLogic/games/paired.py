"""Aligned pairs: translate A to B, with B known."""

from typing import ClassVar

import torch
from torch import Tensor

from MedGANLogic.parts.grids import without_margin
from MedGANLogic.parts.losses.adversarial import slopes
from MedGANLogic.recipe import Game, tensor


class Paired(Game):
    """Batch: ``input`` (B, in, *size), ``target`` (B, out, *size), ``weight`` (B, 1, *size) ≥ 0.

    Networks: ``generator`` and, where a term reads a score, ``discriminator``, which sees input and image together;
    the games of later stages have others in their place.
    """

    scores: ClassVar[tuple[str, ...]] = ("score_real_pair", "score_fake_pair")
    made, real = "fake_b", "real_b"
    generator: ClassVar[str] = "generator"
    discriminator: ClassVar[str] = "discriminator"

    @tensor
    def real_a(self) -> Tensor:
        """The input in [-1, 1]."""
        return self.batch["input"]

    @tensor
    def real_b(self) -> Tensor:
        """The target in [-1, 1]."""
        return self.batch["target"]

    @tensor
    def weight(self) -> Tensor:
        """How much each voxel counts; 0 where input and target do not show the same thing."""
        return self.batch["weight"]

    @tensor
    def fake_b(self) -> Tensor:
        """The generator's translation of the input."""
        translated: Tensor = self.network(self.generator)(self.real_a)
        return translated

    @tensor
    def shown_b(self) -> Tensor:
        """The translation, and the target itself where a voxel does not count.

        Otherwise what differs there (a table, another field of view) would tell real from fake.
        """
        return torch.where(self.weight > 0, self.fake_b, self.real_b)

    @tensor
    def score_real_pair(self) -> Tensor:
        """The discriminator's logits for (input, target)."""
        logits: Tensor = self.network(self.discriminator)(torch.cat([self.real_a, self.real_b], dim=1))
        return logits

    @tensor
    def score_fake_pair(self) -> Tensor:
        """The discriminator's logits for (input, translation as shown)."""
        logits: Tensor = self.network(self.discriminator)(torch.cat([self.real_a, self.shown_b], dim=1))
        return logits


class PairedApart(Paired):
    """``Paired`` with a discriminator that sees an image alone, without the input.

    The batch has ``mixing`` (B, 1) in [0, 1] where slopes are read.
    """

    scores = ("score_real", "score_fake")

    @tensor
    def score_real(self) -> Tensor:
        """The discriminator's logits for the target."""
        logits: Tensor = self.network(self.discriminator)(self.real_b)
        return logits

    @tensor
    def score_fake(self) -> Tensor:
        """The discriminator's logits for the translation as shown."""
        logits: Tensor = self.network(self.discriminator)(self.shown_b)
        return logits

    @tensor
    def slopes_between(self) -> Tensor:
        """The gradients of the scores at random points between target and translation (arXiv:1704.00028)."""
        return slopes(self.network(self.discriminator), self.real_b, self.shown_b, self.batch["mixing"])


class PairedNoisily(PairedApart):
    """``PairedApart`` whose discriminator is told by numbers that were drawn what is real and what is made.

    The batch has ``labels`` (B, 2), for the target and for the translation, and ``wanted`` (B, 1), what the generator
    wants its translation to be called.
    """

    @tensor
    def label_real(self) -> Tensor:
        """What the discriminator is to call the target."""
        return self.batch["labels"][:, :1]

    @tensor
    def label_fake(self) -> Tensor:
        """What the discriminator is to call the translation."""
        return self.batch["labels"][:, 1:]

    @tensor
    def wanted(self) -> Tensor:
        """What the generator wants its translation to be called."""
        return self.batch["wanted"]


class PairedInside(PairedApart):
    """``PairedApart`` whose generator takes ``margin`` voxels off every side: only the centre of a patch counts."""

    margin: ClassVar[int]

    @tensor
    def real_b(self) -> Tensor:
        """The centre of the target in [-1, 1]."""
        return without_margin(self.batch["target"], self.margin)

    @tensor
    def weight(self) -> Tensor:
        """How much each voxel of the centre counts."""
        return without_margin(self.batch["weight"], self.margin)


def inside(margin: int) -> type[PairedInside]:
    """Return the game for generators that take so many voxels off every side."""
    return type("Inside", (PairedInside,), {"margin": margin})
