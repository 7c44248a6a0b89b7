"""Pairs that are compared by what a network sees in them: one that nobody moves, or the discriminator itself."""

from typing import cast

import torch
from torch import Tensor

from MedGANLogic.games.paired import Paired, PairedApart
from MedGANLogic.parts.discriminators.patch import TwoLayerPatchDiscriminator
from MedGANLogic.recipe import tensor


class Featured(Paired):
    """``Paired`` with the network ``features``, which nobody moves."""

    @tensor
    def features_real(self) -> Tensor:
        """The features of the target."""
        seen: Tensor = self.network("features")(self.real_b)
        return seen

    @tensor
    def features_fake(self) -> Tensor:
        """The features of the translation as shown."""
        seen: Tensor = self.network("features")(self.shown_b)
        return seen


class Perceptual(Featured, PairedApart):
    """``Featured`` with a discriminator that sees an image alone, without the input."""


class Layered(Featured):
    """``Featured`` whose ``discriminator`` is a ``TwoLayerPatchDiscriminator``: its hidden layers are tensors, too.

    Scores are computed from them, so that all that read a layer share one look at the pair.
    """

    def _judge(self) -> TwoLayerPatchDiscriminator:
        return cast(TwoLayerPatchDiscriminator, self.network(self.discriminator))

    @tensor
    def first_real(self) -> Tensor:
        """The discriminator's first hidden layer for (input, target)."""
        return self._judge().first(torch.cat([self.real_a, self.real_b], dim=1))

    @tensor
    def first_fake(self) -> Tensor:
        """The discriminator's first hidden layer for (input, translation as shown)."""
        return self._judge().first(torch.cat([self.real_a, self.shown_b], dim=1))

    @tensor
    def second_real(self) -> Tensor:
        """The discriminator's second hidden layer for (input, target)."""
        return self._judge().second(self.first_real)

    @tensor
    def second_fake(self) -> Tensor:
        """The discriminator's second hidden layer for (input, translation as shown)."""
        return self._judge().second(self.first_fake)

    @tensor
    def score_real_pair(self) -> Tensor:
        """The discriminator's logits for (input, target)."""
        return self._judge().judged(self.second_real)

    @tensor
    def score_fake_pair(self) -> Tensor:
        """The discriminator's logits for (input, translation as shown)."""
        return self._judge().judged(self.second_fake)
