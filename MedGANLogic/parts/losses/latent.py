"""Losses and draws of systems that have a latent code; moments (B, 2·latent) are means, then log variances."""

import math

from torch import Tensor
from torch.nn import functional


def draw(moments: Tensor, noise: Tensor) -> Tensor:
    """Return codes (B, latent) from moments and standard normal noise (B, latent): mean + deviation·noise, through
    which gradients pass to the moments (Kingma & Welling 2014, arXiv:1312.6114, §2.4)."""
    mean, log_variance = moments.float().chunk(2, dim=1)
    return mean + (log_variance / 2).exp() * noise


def divergence_from_normal(moments: Tensor) -> Tensor:
    """Return the divergence of Gaussian codes from N(0, 1): ½Σ(variance + mean² - 1 - log variance), summed over the
    code and averaged over the batch (Kingma & Welling 2014, arXiv:1312.6114, app. B)."""
    mean, log_variance = moments.float().chunk(2, dim=1)
    return (log_variance.exp() + mean.square() - 1 - log_variance).sum(1).mean() / 2


def gaussian_surprise(code: Tensor, moments: Tensor) -> Tensor:
    """Return -log N(code | mean, variance), summed over the code (B, latent) and averaged over the batch: InfoGAN's
    term for continuous codes (Chen et al. 2016, arXiv:1606.03657, eq. 5 and app. C)."""
    mean, log_variance = moments.float().chunk(2, dim=1)
    surprise = (code.float() - mean).square() * (-log_variance).exp() + log_variance + math.log(2 * math.pi)
    return surprise.sum(1).mean() / 2


def cross_entropy(logits: Tensor, one_hot: Tensor) -> Tensor:
    """Return -Σ one_hot·log softmax(logits) over classes, averaged over the batch; both (B, classes) (Odena et al.
    2017, arXiv:1610.09585, eq. 3; InfoGAN's term for categorical codes)."""
    return functional.cross_entropy(logits.float(), one_hot.float())


def feature_distance(features: Tensor, other: Tensor) -> Tensor:
    """Return the mean of (features - other)²: VAE-GAN's L_ℓ, a Gaussian's log likelihood at layer ℓ of D but for its
    scale, for it sums and halves (Larsen et al. 2016, arXiv:1512.09300)."""
    return (features.float() - other.float()).square().mean()


def residuals(image: Tensor, other: Tensor) -> Tensor:
    """Return Σ|image - other| of every image of a batch, (B,): AnoGAN's residual and, on features, its discrimination
    loss (Schlegl et al. 2017, arXiv:1703.05921, eq. 2 and 4)."""
    return (image.float() - other.float()).abs().flatten(1).sum(1)


def residual(image: Tensor, other: Tensor) -> Tensor:
    """Return the sum of ``residuals``: every code of a batch is searched for as if it were alone."""
    return residuals(image, other).sum()
