"""Adversarial losses on logits and scores, the gradient penalty's slopes, and the energies of BEGAN."""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from MedGANLogic.parts.precision import full_precision

_BATCH_NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def called_real(logits: Tensor) -> Tensor:
    """Cost of logits that should say "real": mean softplus(-logit), the non-saturating form (Goodfellow et al. 2014,
    arXiv:1406.2661, §3); the discriminator's on real images and the generator's on its own."""
    return softplus(-logits).mean()


def called_fake(logits: Tensor) -> Tensor:
    """Cost of logits that should say "fake": mean softplus(logit) (Goodfellow et al. 2014, arXiv:1406.2661, eq. 1)."""
    return softplus(logits).mean()


def squared_real(outputs: Tensor) -> Tensor:
    """Cost of linear outputs that should say "real": mean ½(D - 1)² (Mao et al. 2017, arXiv:1611.04076, eq. 2 with
    a = 0, b = c = 1, which is its eq. 9); the discriminator's on real images and the generator's on its own."""
    return (outputs.float() - 1).square().mean() / 2


def squared_fake(outputs: Tensor) -> Tensor:
    """Cost of linear outputs that should say "fake": mean ½D² (Mao et al. 2017, arXiv:1611.04076, as above)."""
    return outputs.float().square().mean() / 2


def scored_high(scores: Tensor) -> Tensor:
    """Cost of scores that should be high: minus their mean; the critic's on real images and the generator's on its
    own (Arjovsky et al. 2017, arXiv:1701.07875, algorithm 1)."""
    return -scores.float().mean()


def scored_low(scores: Tensor) -> Tensor:
    """Cost of scores that should be low: their mean; the critic's on fakes (Arjovsky et al. 2017, arXiv:1701.07875)."""
    return scores.float().mean()


def drift(scores: Tensor) -> Tensor:
    """Cost of scores far from 0: their mean square, on real images (Karras et al. 2018, arXiv:1710.10196, app. A.1,
    where it weighs .001)."""
    return scores.float().square().mean()


def more_real(winner: Tensor, loser: Tensor) -> Tensor:
    """Cost of logits of ``winner`` that do not exceed those of ``loser``, each compared with the other's mean.

    Mean softplus(-(winner - mean loser)) + mean softplus(loser - mean winner) (Jolicoeur-Martineau 2018,
    arXiv:1807.00734, RaSGAN). The discriminator's is more_real(real, fake), the generator's
    more_real(fake, real).
    """
    winner, loser = winner.float(), loser.float()
    return softplus(loser.mean() - winner).mean() + softplus(loser - winner.mean()).mean()


def slopes(critic: nn.Module, real: Tensor, fake: Tensor, mixing: Tensor, *further: float) -> Tensor:
    """Return the gradients of the critic's scores at points between real and fake, as large as these and in float32.

    The points are mixing·real + (1 - mixing)·fake, one given number in [0, 1] an image, ``mixing`` being (B,)
    (Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1). What a critic reads beside the image, such as a condition,
    is concatenated first; ``further`` are the plain numbers that it takes, such as a fade. The gradients can be
    differentiated by the critic's weights, not by real or fake; autocast is off.

    Raises ValueError for a critic with batch norm: its score for one image depends on the others, and the slope at
    each point alone, which the penalty is about, does not exist.
    """
    if any(isinstance(module, _BATCH_NORMS) for module in critic.modules()):
        raise ValueError("the critic holds a batch norm, which ties images together: give it a layer norm, or none")
    share = mixing.float().reshape(-1, *[1] * (real.ndim - 1))
    between = torch.lerp(fake.detach().float(), real.detach().float(), share).requires_grad_()
    with full_precision(real):
        (gradients,) = torch.autograd.grad(critic(between, *further).sum(), between, create_graph=True)
    return gradients


def unit_slope(gradients: Tensor) -> Tensor:
    """Cost of ``slopes`` other than 1: mean over images of (‖gradient‖₂ - 1)², the norm over all axes but the first
    (Gulrajani et al. 2017, arXiv:1704.00028, eq. 3, where it weighs 10)."""
    steepness: Tensor = torch.linalg.vector_norm(gradients.float().flatten(1), dim=1)
    return (steepness - 1).square().mean()


def energy(image: Tensor, rebuilt: Tensor) -> Tensor:
    """How badly an autoencoder rebuilds: mean |image - rebuilt| (Berthelot et al. 2017, arXiv:1703.10717, eq. 1)."""
    return (image.float() - rebuilt.float()).abs().mean()


def balanced_energy(image: Tensor, rebuilt: Tensor, balance: Tensor) -> Tensor:
    """The energy, times a number that the game holds: k·ℒ(fake), which the discriminator raises (Berthelot et al.
    2017, arXiv:1703.10717, §3.4)."""
    return balance.detach() * energy(image, rebuilt)


def next_balance(
    balance: Tensor, real_energy: Tensor, fake_energy: Tensor, diversity: Tensor | float, rate: float
) -> Tensor:
    """Return BEGAN's k for the next step: k + rate·(diversity·ℒ(real) - ℒ(fake)), kept in [0, 1] (Berthelot et al.
    2017, arXiv:1703.10717, §3.4; diversity γ .5, rate λ .001). Not a loss: no gradient passes."""
    return (balance + rate * (diversity * real_energy - fake_energy)).detach().clamp(0, 1)


def convergence(real_energy: Tensor, fake_energy: Tensor, diversity: Tensor | float) -> Tensor:
    """Return BEGAN's measure of how far training is: ℒ(real) + |diversity·ℒ(real) - ℒ(fake)| (Berthelot et al. 2017,
    arXiv:1703.10717, §3.4.1). Not a loss: no gradient passes."""
    return (real_energy + (diversity * real_energy - fake_energy).abs()).detach()
