"""Label maps: known, or judged by what a critic sees of the image inside of them."""

from typing import cast

import torch
from torch import Tensor

from MedGANLogic.games.paired import Paired, PairedApart, PairedInside
from MedGANLogic.parts.generators.plain_unet import DeeplySupervisedUNet
from MedGANLogic.parts.generators.segmenting_cnn import ValidPatchCNN
from MedGANLogic.processes import jointly
from MedGANLogic.recipe import Game, tensor


class Labelled(Game):
    """Images of which the labels are known: ``target`` (B, K, *size) as one-hot, ``weight`` (B, 1, *size) ≥ 0."""

    @tensor
    def labels(self) -> Tensor:
        """What is where in the labelled images."""
        return self.batch["target"]

    @tensor
    def weight(self) -> Tensor:
        """How much each voxel of them counts."""
        return self.batch["weight"]


class Segmented(Paired):
    """``Paired`` with labels as target, (B, 1 + K, *size) in {0, 1}, background first.

    The generator, which segments, writes logits of background and labels, ``fake_b``. The discriminator sees
    probabilities, which sum to 1: of what is thought, not only of what is most likely, so that a segmentation can be
    moved by it.
    """

    made, real = "", ""

    @tensor
    def probabilities(self) -> Tensor:
        """How likely background and each label are: (B, 1 + K, *size)."""
        return self.fake_b.float().softmax(dim=1)

    @tensor
    def shown_b(self) -> Tensor:
        """The probabilities, and the target itself where a voxel does not count."""
        return torch.where(self.weight > 0, self.probabilities, self.real_b)


class SegmentedApart(Segmented, PairedApart):
    """``Segmented`` with a discriminator that sees probabilities or labels alone, without the input."""


class DeeplySupervised(SegmentedApart):
    """``SegmentedApart`` with a ``DeeplySupervisedUNet``: all levels are held to the labels, the finest is judged."""

    @tensor
    def branches(self) -> Tensor:
        """The logits of every level: (B, levels - 1, 1 + K, *size), the finest last."""
        return cast(DeeplySupervisedUNet, self.network(self.generator)).branches(self.real_a)

    @tensor
    def fake_b(self) -> Tensor:
        """The logits of the finest level."""
        return self.branches[:, -1]


class SegmentedBefore(Segmented):
    """``Segmented`` whose discriminator is told to call earlier segmentations fake, too, each beside its image.

    Networks: ``pool`` as well, the history that these come from.
    """

    @tensor
    def score_pooled_pair(self) -> Tensor:
        """The discriminator's logits for (input, segmentation) from the history: what it learns from."""
        shown = torch.cat([self.real_a, self.shown_b], dim=1)
        logits: Tensor = self.network(self.discriminator)(jointly(self.network("pool"), shown))
        return logits


class SegmentedCentre(Segmented, PairedInside):
    """``Segmented`` with a ``ValidPatchCNN``: the labels are those of a patch's centre.

    The discriminator reads two images, the whole patch and the segmentation of its centre.
    """

    scores = ("score_real_pair", "score_fake_pair")
    margin = ValidPatchCNN.MARGIN

    @tensor
    def score_real_pair(self) -> Tensor:
        """The discriminator's logits for (input, labels of its centre)."""
        logits: Tensor = self.network(self.discriminator)(self.real_a, self.real_b)
        return logits

    @tensor
    def score_fake_pair(self) -> Tensor:
        """The discriminator's logits for (input, segmentation of its centre as shown)."""
        logits: Tensor = self.network(self.discriminator)(self.real_a, self.shown_b)
        return logits


class Masked(Segmented):
    """``Segmented`` with a discriminator that gives no score.

    It describes K images of each of the input's channels, one for every label's mask: (B, in·K, *size) →
    (B, features).
    """

    scores = ()

    @tensor
    def lit_a(self) -> Tensor:
        """The input in [0, 1]: a mask's product is 0 where the image is dark; so is what does not count."""
        return torch.where(self.weight > 0, (self.real_a + 1) / 2, 0)

    def masked(self, masks: Tensor) -> Tensor:
        """Return the input seen through each of K masks: (B, in·K, *size)."""
        return (self.lit_a.unsqueeze(2) * masks.unsqueeze(1)).flatten(1, 2)

    @tensor
    def described_real(self) -> Tensor:
        """The critic's description of the input seen through the true labels."""
        described: Tensor = self.network(self.discriminator)(self.masked(self.real_b[:, 1:]))
        return described

    @tensor
    def described_fake(self) -> Tensor:
        """The critic's description of the input seen through the segmentation."""
        described: Tensor = self.network(self.discriminator)(self.masked(self.probabilities[:, 1:]))
        return described
