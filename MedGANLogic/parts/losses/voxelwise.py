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
    return _squares(prediction, target, weight).mean()


def masked_root_l2(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over samples of the root of ``masked_l2``; its gradient is as long for a sample of little noise as of much.

    L2 would hear the noisiest most.
    """
    return (_squares(prediction, target, weight) + 1e-8).sqrt().mean()


def masked_log_l2(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over samples of the logarithm of ``masked_l2``: PSNR / -4.34 dB, up to a constant.

    A sample of little noise is heard more than one of much. 10⁻⁶ keeps it finite: an error of 1.6 HU where 1600 HU are
    1 [assumed]. PSNR as a loss: Chen et al. 2021 (arXiv:2105.06086) [paper?].
    """
    return (_squares(prediction, target, weight) + 1e-6).log().mean()


def _squares(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return weighted_means((prediction.float() - target.float()).square(), weight)


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
    return weighted_means(costs, weight).mean()


def weighted_means(costs: Tensor, weight: Tensor) -> Tensor:
    """Return each sample's weighted mean, (B,); shapes as in ``weighted_mean``, a sample without weight gives 0."""
    counted = weight.float().expand_as(costs).flatten(1)
    return (costs.flatten(1) * counted).sum(1) / counted.sum(1).clamp_min(1e-6)


def region_weighted_l1(prediction: Tensor, target: Tensor, regions: Tensor, weights: Sequence[float]) -> Tensor:
    """Mean over all voxels of |prediction - target| times the weight of the region that a voxel lies in.

    ``regions`` (B, R, *size) is 1 where a voxel lies in a region, such as lesion, normal-appearing white matter and the
    rest, ``weights`` R numbers. Linear in the weights: to double one doubles that region's part and changes no other
    (Wei et al. 2018, arXiv:1804.08039 [paper?: which weights]).
    """
    counted = [weight * region for weight, region in zip(weights, regions.float().unbind(1), strict=True)]
    return ((prediction.float() - target.float()).abs() * torch.stack(counted).sum(0).unsqueeze(1)).mean()
