"""Losses that compare what a network sees in two images."""

from torch import Tensor

from MedGANLogic.parts.losses.voxelwise import l1, l2
from MedGANLogic.parts.precision import full_precision

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


def gram_square(prediction: Tensor, target: Tensor) -> Tensor:
    """Sum of (G(prediction) - G(target))² / 4C², mean over samples: the style term of MedGAN (Armanious et al. 2018,
    arXiv:1806.06397, eqs. 6-7), blind to where in the image something is.

    Features (B, C, *size); G, (B, C, C), are their products with each other, averaged over channels and places.
    """
    difference = _gram(prediction) - _gram(target)
    return difference.square().sum((1, 2)).mean() / (4 * prediction.shape[1] ** 2)


def _gram(features: Tensor) -> Tensor:
    flat = features.float().flatten(2)
    with full_precision(flat):
        return flat @ flat.transpose(1, 2) / flat[0].numel()
