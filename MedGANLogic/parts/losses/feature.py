"""Losses that compare what a network sees in two images."""

from torch import Tensor

from MedGANLogic.parts.losses.voxelwise import l1, l2

#: By what SRGAN divides VGG features before it compares them (arXiv:1609.04802, §3.2).
_VGG_SCALE = 12.75


def feature_square(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean square of (prediction - target) / 12.75 over all features: the perceptual term of SRGAN (Ledig et al. 2017,
    arXiv:1609.04802, eq. 5), of about the size of a pixel's; for VGG19 after its last convolution."""
    return l2(prediction, target) / _VGG_SCALE**2


def multi_scale_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of two descriptions (B, features) by a ``FeatureCritic``, which weighs the levels alike.

    The segmentor lowers it, the critic raises it (SegAN, Xue et al. 2018, arXiv:1706.01805, eq. 2).
    """
    return l1(prediction, target)
