"""Losses on label maps."""

from torch import Tensor, nn

from MedGANLogic.parts.losses.voxelwise import weighted_mean


def voxel_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over a sample's voxels of -log softmax(logits) at the target's class, mean over samples.

    ``logits`` (B, K, *size); ``target`` labels (B, *size), int64 below K, or the classes' shares (B, K, *size);
    ``weight`` (B, 1, *size) ≥ 0. A sample without weight costs 0.
    """
    costs = nn.functional.cross_entropy(logits.float(), target, reduction="none")
    return weighted_mean(costs[:, None], weight)
