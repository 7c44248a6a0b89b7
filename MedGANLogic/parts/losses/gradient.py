"""Losses that compare edges with edges."""

import torch
from torch import Tensor


def gradient_difference(prediction: Tensor, target: Tensor) -> Tensor:
    """Sum over all axes and elements of (|∂prediction| - |∂target|)²; ∂ is the difference of neighbours, (B, C, *size).

    The gradient difference loss of Mathieu et al. 2016 (arXiv:1511.05440, eq. 6, α = 2) on every spatial axis, as in
    the context-aware GAN (Nie et al. 2017, arXiv:1612.05362, eq. 5); the mean over samples. Blind to a constant offset
    and to sign: ŷ = c - y costs nothing.
    """
    prediction, target = prediction.float(), target.float()
    axes = range(2, target.dim())
    differences = [prediction.diff(dim=axis).abs() - target.diff(dim=axis).abs() for axis in axes]
    return sum((difference.square().sum() for difference in differences), start=target.new_zeros(())) / len(target)


def total_variation(image: Tensor) -> Tensor:
    """Sum over all axes of the mean of |∂image|; ∂ is the difference of neighbours, (B, C, *size).

    Every axis counts as much, whatever its length; a constant costs nothing. As in the thin-slice GAN (Li, Wang & Yu
    2017, doi:10.1007/978-3-319-67389-9_38 [seed]; absolute differences by axis, and their mean, [assumed]).
    """
    image = image.float()
    return torch.stack([image.diff(dim=axis).abs().mean() for axis in range(2, image.dim())]).sum()
