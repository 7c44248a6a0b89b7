"""Two domains, labels in one of them: learn to segment from what both have in common."""

from typing import cast

import torch
from torch import Tensor

from MedGANLogic.games.segmentation import Labelled
from MedGANLogic.parts.generators.dual_resolution import DualResolutionCNN
from MedGANLogic.recipe import tensor


class Adaptation(Labelled):
    """Batch: ``input`` (B, in, *size), ``target`` its labels (B, K, *size) as one-hot, ``weight`` (B, 1, *size) ≥ 0, of
    the source domain; ``foreign`` (B', in, *size), images of the other domain, of which no labels are known.

    Networks: ``segmenter``, through which both go in one batch, so that its batch norms see one distribution;
    ``domain_classifier``, which reads the segmenter's activations and tells the domains apart.
    """

    scores = ("domain_of_source", "domain_of_foreign")

    @tensor
    def understood(self) -> Tensor:
        """The segmenter's logits and activations, joined as channels, for both domains, the source first."""
        segmenter = cast(DualResolutionCNN, self.network("segmenter"))
        return torch.cat(segmenter.with_activations(torch.cat([self.batch["input"], self.batch["foreign"]])), dim=1)

    @tensor
    def logits(self) -> Tensor:
        """The segmenter's logits for the source domain."""
        return self.understood[: len(self.labels), : self.labels.shape[1]]

    @tensor
    def domains(self) -> Tensor:
        """The domain classifier's logits for both, positive where it believes to see the source."""
        logits: Tensor = self.network("domain_classifier")(self.understood[:, self.labels.shape[1] :])
        return logits

    @tensor
    def domain_of_source(self) -> Tensor:
        """Its logits for the source domain."""
        return self.domains[: len(self.labels)]

    @tensor
    def domain_of_foreign(self) -> Tensor:
        """Its logits for the other domain."""
        return self.domains[len(self.labels) :]
