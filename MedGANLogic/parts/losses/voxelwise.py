"""Losses that compare voxel with voxel."""

from collections.abc import Sequence

import torch
from torch import Tensor


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of |prediction - target| over all elements."""
    return (prediction.float() - target.float()).abs().mean()


def l2(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of (prediction - target)² over all elements."""
    return (prediction.float() - target.float()).square().mean()


def masked_l1(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of |prediction - target| over each sample, mean over samples; weight ≥ 0, one channel for all.

    All (B, C, *size). With a weight of ones it is the L1 term of pix2pix (arXiv:1611.07004, eq. 3). A sample without
    weight costs 0. Samples do not share a denominator: a batch that several processes share costs what it costs one.
    """
    return weighted_mean((prediction.float() - target.float()).abs(), weight)


def masked_l2(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of (prediction - target)²; shapes and a sample without weight as in ``masked_l1``."""
    return weighted_mean((prediction.float() - target.float()).square(), weight)


def half_squared_sum(prediction: Tensor, target: Tensor) -> Tensor:
    """Half the sum of (prediction - target)² over a sample, mean over samples; (B, …).

    The L2 term of the context-aware GAN (Nie et al. 2017, arXiv:1612.05362; reduction [paper: released code]).
    """
    return (prediction.float() - target.float()).square().sum() / (2 * len(target))


def suv_weighted_l2(prediction: Tensor, target: Tensor, suv: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of (1 + SUV)·(prediction - target)²: an error costs more where the true uptake is high.

    ``suv`` (B, C, *size) is the target in SUV, below 0 counted as 0; ``weight`` as in ``masked_l1``. Not divided by the
    mean of 1 + SUV (Ben-Cohen et al. 2017, arXiv:1707.09585 [paper?]).
    """
    costs = (1 + suv.float().clamp_min(0)) * (prediction.float() - target.float()).square()
    return weighted_mean(costs, weight)


def weighted_mean(costs: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over samples of each one's weighted mean; costs (B, C, *size), weight (B, 1, *size) ≥ 0."""
    counted = weight.float().expand_as(costs).flatten(1)
    return ((costs.flatten(1) * counted).sum(1) / counted.sum(1).clamp_min(1e-6)).mean()


def region_weighted_l1(prediction: Tensor, target: Tensor, regions: Tensor, weights: Sequence[float]) -> Tensor:
    """Mean over all voxels of |prediction - target| times the weight of the region that a voxel lies in.

    ``regions`` (B, R, *size) is 1 where a voxel lies in a region, such as lesion, normal-appearing white matter and the
    rest, ``weights`` R numbers. Linear in the weights: to double one doubles that region's part and changes no other
    (Wei et al. 2018, arXiv:1804.08039 [paper?: which weights]).
    """
    counted = [weight * region for weight, region in zip(weights, regions.float().unbind(1), strict=True)]
    return ((prediction.float() - target.float()).abs() * torch.stack(counted).sum(0).unsqueeze(1)).mean()
