"""Adversarial losses on logits."""

from torch import Tensor
from torch.nn.functional import softplus


def called_real(logits: Tensor) -> Tensor:
    """Cost of logits that should say "real": mean softplus(-logit), the non-saturating form (Goodfellow et al. 2014,
    arXiv:1406.2661, §3); the discriminator's on real images and the generator's on its own."""
    return softplus(-logits).mean()


def called_fake(logits: Tensor) -> Tensor:
    """Cost of logits that should say "fake": mean softplus(logit) (Goodfellow et al. 2014, arXiv:1406.2661, eq. 1)."""
    return softplus(logits).mean()
