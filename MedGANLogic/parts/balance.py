"""BEGAN's balance between a discriminator that rebuilds what is real and a generator that learns to be rebuilt."""

import torch
from torch import Tensor, nn

from MedGANLogic.parts.losses.adversarial import next_balance


class Balance(nn.Module):
    """The number k in [0, 1]: how much a discriminator heeds images that were made (Berthelot et al. 2017, §3.4).

    It begins at 0 and is a buffer, so that a checkpoint holds it. ``diversity`` is γ, the share of the real images'
    energy that the generator's should come to; ``rate`` is λ.
    """

    k: Tensor
    diversity: Tensor

    def __init__(self, diversity: float, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("k", torch.zeros(()))
        self.register_buffer("diversity", torch.tensor(diversity), persistent=False)

    def follow(self, real_energy: Tensor, fake_energy: Tensor) -> None:
        """Set k to its next value, by the energies () of the step that was taken with the last."""
        self.k.copy_(next_balance(self.k, real_energy, fake_energy, self.diversity, self.rate))
