"""Aligned pairs: translate A to B, with B known."""

import torch
from torch import Tensor

from MedGANLogic.recipe import Game, tensor


class Paired(Game):
    """Batch: ``input`` (B, in, *size), ``target`` (B, out, *size), ``weight`` (B, 1, *size) ≥ 0.

    Networks: ``generator`` and, where a term reads a score, ``discriminator``, which sees input and image together.
    """

    scores = ("score_real_pair", "score_fake_pair")
    made, real = "fake_b", "real_b"

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
        translated: Tensor = self.network("generator")(self.real_a)
        return translated

    @tensor
    def score_real_pair(self) -> Tensor:
        """The discriminator's logits for (input, target)."""
        logits: Tensor = self.network("discriminator")(torch.cat([self.real_a, self.real_b], dim=1))
        return logits

    @tensor
    def score_fake_pair(self) -> Tensor:
        """The discriminator's logits for (input, translation).

        Where a voxel does not count the target itself is shown: otherwise what differs there (a table, another
        field of view) would tell real from fake.
        """
        shown = torch.where(self.weight > 0, self.fake_b, self.real_b)
        logits: Tensor = self.network("discriminator")(torch.cat([self.real_a, shown], dim=1))
        return logits
