"""A history of made images, so that a discriminator does not forget what the generator used to do."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Return earlier images in place of new ones: (B, C, *size) → (B, C, *size), both without gradient.

    Until ``size`` images are held every image is kept and returned. From then on each is returned as it is with chance
    ½, and otherwise takes the place of an old one drawn at random, which is returned (Shrivastava et al. 2017,
    arXiv:1612.07828, §2.3; as CycleGAN's code has it, size 50). What is drawn for the n-th image follows from n alone,
    so that processes that show their pools the same images keep the same pools. The history is a float32 buffer that
    grows, so that a checkpoint holds it; any history of at most ``size`` images loads into a fresh pool. Reading
    changes it: a game reads it once for every batch of images.
    """

    history: Tensor
    seen: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("history", torch.empty(0))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([self._exchanged(image) for image in images.float()]).to(images.dtype)

    def _exchanged(self, image: Tensor) -> Tensor:
        self.seen += 1
        if len(self.history) < self.size:
            self.history = torch.cat([self.history.reshape(-1, *image.shape), image[None]])
            return image
        rng = np.random.default_rng(int(self.seen))
        if rng.random() < 0.5:
            return image
        place = int(rng.integers(self.size))
        old = self.history[place].clone()
        self.history[place] = image
        return old

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *further: Any) -> None:
        # A buffer takes only what has its own shape, and a fresh pool has none yet.
        stored = state_dict.get(f"{prefix}history")
        if stored is not None:
            self.history = self.history.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *further)
