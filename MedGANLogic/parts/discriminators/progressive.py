"""The critic that grows with its generator, and the real images of a stage (Karras et al. 2018, arXiv:1710.10196)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d

from MedGANLogic.parts.dimensions import AVERAGE_POOL, CONVOLUTION
from MedGANLogic.parts.generators.progressive import FIRST, Equalised, doubled, stage_of, stage_widths
from MedGANLogic.parts.network import Network

#: 2^-26: its root, which is taken off again, is exact, so that identical images deviate by exactly 0.
_SMALL_VARIANCE = 2.0**-26


class MinibatchDeviation(nn.Module):
    """Add one channel, the same everywhere: the mean over the features of their deviation over the batch (§3).

    (B, C, *size) → (B, C + 1, *size). The whole batch is one group; the released code takes groups of 4.
    """

    def forward(self, features: Tensor) -> Tensor:
        variance = features.float().var(0, correction=0)
        deviation = ((variance + _SMALL_VARIANCE).sqrt() - _SMALL_VARIANCE**0.5).mean().to(features.dtype)
        return torch.cat([features, deviation.expand_as(features[:, :1])], dim=1)


class ProgressiveDiscriminator(Network):
    """Score images (B, in_channels, *4·2^stage) with logits (B, 1); the stage is known from the image.

    The mirror of ``ProgressiveGenerator``: an image enters by c1, per stage two c3 and an average pool, at 4×4 the
    minibatch's deviation, c3, c4 and a linear layer; LeakyReLU .2, no norm, equalised learning rate (§2 to §4,
    table 2; 23.1 M weights at 1024² and width 16). ``width`` is that of the last stage. Raises ValueError for a size,
    or an image, whose edge is not 4 times a power of two.
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, size: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        widths = stage_widths(width, size)
        widest = widths[0]
        self.halve = AVERAGE_POOL[dimensions](2)
        self.from_image = nn.ModuleList(
            nn.Sequential(Equalised(convolution(in_channels, channels, 1)), nn.LeakyReLU(0.2)) for channels in widths
        )
        self.shrink = nn.ModuleList(
            nn.Sequential(
                Equalised(convolution(fine, fine, 3, padding=1)),
                nn.LeakyReLU(0.2),
                Equalised(convolution(fine, coarse, 3, padding=1)),
                nn.LeakyReLU(0.2),
                self.halve,
            )
            for coarse, fine in pairwise(widths)
        )
        self.end = nn.Sequential(
            MinibatchDeviation(),
            Equalised(convolution(widest + 1, widest, 3, padding=1)),
            nn.LeakyReLU(0.2),
            Equalised(convolution(widest, widest, FIRST)),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            Equalised(nn.Linear(widest, 1), 1.0),
        )

    def forward(self, image: Tensor, fade: float = 1.0) -> Tensor:
        """Return the logits; ``fade`` in [0, 1] is the share that goes through the newest stage's layers."""
        stage = stage_of(image.shape[-1])
        features = self.from_image[stage](image)
        for level in reversed(range(stage)):
            features = self.shrink[level](features)
            if level == stage - 1 and fade != 1:
                features = torch.lerp(self.from_image[level](self.halve(image)), features, fade)
        logits: Tensor = self.end(features)
        return logits


def at_stage(image: Tensor, stage: int, fade: float) -> Tensor:
    """Return real images as the critic should see them at a stage: (B, C, *size) → (B, C, *4·2^stage).

    They are average-pooled; while the stage fades in, mixed with their doubled coarser selves, as the generator's are
    (§2, fig. 2).
    """
    edge = FIRST * 2**stage
    fine = _pooled(image, edge)
    if stage == 0 or fade == 1:
        return fine
    return torch.lerp(doubled(_pooled(image, edge // 2)), fine, fade)


def _pooled(image: Tensor, edge: int) -> Tensor:
    if image.ndim == 4:
        return adaptive_avg_pool2d(image, edge)
    return adaptive_avg_pool3d(image, edge)
