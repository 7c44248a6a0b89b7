"""Losses that compare voxel with voxel."""

from torch import Tensor


def masked_l1(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of |prediction - target|; all (B, C, *size), weight ≥ 0 and broadcast over channels.

    With a weight of ones it is the L1 term of pix2pix (arXiv:1611.07004, eq. 3). A batch without weight costs 0.
    """
    weight = weight.expand_as(target)
    return ((prediction - target).abs() * weight).sum() / weight.sum().clamp_min(1e-6)
