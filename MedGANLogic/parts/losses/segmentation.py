"""Losses on label maps."""

import torch
from torch import Tensor, nn

from MedGANLogic.parts.losses.voxelwise import weighted_mean


def voxel_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over a sample's voxels of -log softmax(logits) at the target's class, mean over samples.

    ``logits`` (B, K, *size); ``target`` labels (B, *size), int64 below K, or the classes' shares (B, K, *size);
    ``weight`` (B, 1, *size) ≥ 0. A sample without weight costs 0.
    """
    costs = nn.functional.cross_entropy(logits.float(), target, reduction="none")
    return weighted_mean(costs[:, None], weight)


def branch_cross_entropy(branches: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Sum over branches of ``voxel_cross_entropy``; ``branches`` (B, N, K, *size) are the logits of N of them.

    Deep supervision with equal weights (Yang et al. 2017, arXiv:1707.08037, §2.1 [paper?: the weights]).
    """
    return torch.stack([voxel_cross_entropy(logits, target, weight) for logits in branches.unbind(1)]).sum()


def soft_dice(probabilities: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - the mean over labels and samples of (2·Σpt + 1) / (Σp² + Σt² + 1), voxels weighted, background left out.

    ``probabilities`` and ``target`` (B, 1 + K, *size) in [0, 1], background first; ``weight`` (B, 1, *size) ≥ 0
    (Milletari et al. 2016, arXiv:1606.04797, eq. 3). The 1, a voxel, lets a label cost nothing where it neither is nor
    is thought to be [assumed].
    """
    thought, true = (shares.float()[:, 1:].flatten(2) for shares in (probabilities, target))
    counted = weight.float().flatten(2)
    both = (counted * thought * true).sum(2)
    each = (counted * (thought.square() + true.square())).sum(2)
    return 1 - ((2 * both + 1) / (each + 1)).mean()
