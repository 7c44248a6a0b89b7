"""Images from chance that a discriminator must rebuild, and the balance between the two (arXiv:1703.10717)."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from MedGANLogic import processes
from MedGANLogic.games.latent import Generated
from MedGANLogic.parts.balance import Balance
from MedGANLogic.parts.losses.adversarial import energy
from MedGANLogic.recipe import Game, tensor


class Equilibrium(Generated):
    """``Generated``. Networks: ``discriminator`` from images to the same rebuilt, ``balance`` (``Balance``).

    An energy is a mean over the batch, ().
    """

    scores = ("energy_real", "energy_fake")

    @tensor
    def rebuilt_image(self) -> Tensor:
        """The real images, as the discriminator rebuilds them."""
        rebuilt: Tensor = self.network("discriminator")(self.image)
        return rebuilt

    @tensor
    def rebuilt_fake(self) -> Tensor:
        """The generator's images, as the discriminator rebuilds them."""
        rebuilt: Tensor = self.network("discriminator")(self.fake)
        return rebuilt

    @tensor
    def energy_real(self) -> Tensor:
        """How badly the real images are rebuilt."""
        return energy(self.image, self.rebuilt_image)

    @tensor
    def energy_fake(self) -> Tensor:
        """How badly the generator's images are rebuilt."""
        return energy(self.fake, self.rebuilt_fake)

    @tensor
    def balance(self) -> Tensor:
        """How much the discriminator heeds the generator's images: k."""
        return cast(Balance, self.network("balance")).k

    @tensor
    def diversity(self) -> Tensor:
        """The share of the real images' energy that the generator's should come to: γ."""
        return cast(Balance, self.network("balance")).diversity


@dataclass(frozen=True)
class Rebalance:
    """An act after the discriminator's step: let a balance follow the energies that this step was taken with.

    Where several processes train, energies are averaged: all keep the same k.
    """

    balance: str
    real: str
    fake: str

    def __call__(self, game: Game) -> None:
        real, fake = (processes.mean(getattr(game, name)) for name in (self.real, self.fake))
        cast(Balance, game.networks[self.balance]).follow(real, fake)
