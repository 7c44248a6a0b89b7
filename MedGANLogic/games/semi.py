"""Few images with labels and many without: segment both so that nobody can tell which had them."""

import torch
from torch import Tensor

from MedGANLogic.games.segmentation import Labelled
from MedGANLogic.recipe import tensor


class PartlyLabelled(Labelled):
    """Batch: ``input`` (B, in, *size), ``target`` its labels (B, K, *size) as one-hot, ``weight`` (B, 1, *size) ≥ 0;
    ``unlabelled`` (B, in, *size) where a term reads a score.

    Networks: ``segmenter`` from images to logits; ``evaluator`` from image and segmentation, joined as channels, to a
    score of how good they are together. No label enters the evaluator.
    """

    scores = ("score_labelled", "score_unlabelled")

    @tensor
    def logits(self) -> Tensor:
        """The segmenter's logits for the labelled images."""
        logits: Tensor = self.network("segmenter")(self.batch["input"])
        return logits

    @tensor
    def logits_unlabelled(self) -> Tensor:
        """The segmenter's logits for the unlabelled images."""
        logits: Tensor = self.network("segmenter")(self.batch["unlabelled"])
        return logits

    @tensor
    def score_labelled(self) -> Tensor:
        """The evaluator's logits for labelled images as they are segmented."""
        return self._score(self.batch["input"], self.logits)

    @tensor
    def score_unlabelled(self) -> Tensor:
        """The evaluator's logits for unlabelled images as they are segmented."""
        return self._score(self.batch["unlabelled"], self.logits_unlabelled)

    def _score(self, image: Tensor, logits: Tensor) -> Tensor:
        score: Tensor = self.network("evaluator")(torch.cat([image, logits.softmax(1)], dim=1))
        return score
