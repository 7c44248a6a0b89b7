"""Stages that are trained one after another: each is shown the input and what the stage before made of it."""

from typing import ClassVar

import torch
from torch import Tensor

from MedGANLogic.games.paired import Paired, PairedInside
from MedGANLogic.parts.generators.valid_cnn import ValidCNN
from MedGANLogic.recipe import tensor


class Stage(Paired):
    """``Paired`` whose generator also reads ``estimates``: tensors of the batch, each like the target.

    They were predicted beforehand, so that no earlier stage is part of the game.
    """

    estimates: ClassVar[tuple[str, ...]] = ()

    @tensor
    def context(self) -> Tensor:
        """The input with the estimates as further channels."""
        return torch.cat([self.real_a, *(self.batch[name] for name in self.estimates)], dim=1)

    @tensor
    def fake_b(self) -> Tensor:
        """The stage's translation of the input and the estimates."""
        translated: Tensor = self.network(self.generator)(self.context)
        return translated


class Centre(Stage, PairedInside):
    """A ``Stage`` whose generator is a ``ValidCNN``."""

    margin = ValidCNN.MARGIN


class Refinement(Stage):
    """A ``Stage`` in which an error may cost more in some regions: ``guide`` (B, R, *size) where the batch has it."""

    @tensor
    def regions(self) -> Tensor:
        """1 where a voxel lies in a region, the rest first; without a guide the rest is all that there is."""
        return self.batch["guide"] if "guide" in self.batch else torch.ones_like(self.weight)


def staged(game: type[Stage], generator: str, discriminator: str, estimates: tuple[str, ...] = ()) -> type[Stage]:
    """Return the game of one stage: it plays with networks of these names, and reads these estimates."""
    return type(generator, (game,), {"generator": generator, "discriminator": discriminator, "estimates": estimates})
