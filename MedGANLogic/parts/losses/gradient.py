"""Losses that compare edges with edges."""

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
