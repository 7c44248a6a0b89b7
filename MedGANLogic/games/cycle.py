"""Two pools that know nothing of each other: translate there and back."""

from torch import Tensor

from MedGANLogic.processes import jointly
from MedGANLogic.recipe import Game, tensor


class Cycle(Game):
    """Batch: ``a`` (B, Ca, *size) and ``b`` (B, Cb, *size), drawn independently, in [-1, 1].

    Networks: ``a_to_b``, ``b_to_a``; ``discriminator_a``, ``discriminator_b``; ``pool_a``, ``pool_b``, the histories
    of translations that the discriminators see.
    """

    scores = ("score_real_b", "score_pooled_b", "score_fake_b")
    made, real = "fake_b", "real_b"

    @tensor
    def real_a(self) -> Tensor:
        """Images of the first pool."""
        return self.batch["a"]

    @tensor
    def real_b(self) -> Tensor:
        """Images of the second pool."""
        return self.batch["b"]

    @tensor
    def fake_b(self) -> Tensor:
        """The first pool's images, translated."""
        translated: Tensor = self.network("a_to_b")(self.real_a)
        return translated

    @tensor
    def fake_a(self) -> Tensor:
        """The second pool's images, translated."""
        translated: Tensor = self.network("b_to_a")(self.real_b)
        return translated

    @tensor
    def cycled_a(self) -> Tensor:
        """The first pool's images, there and back."""
        back: Tensor = self.network("b_to_a")(self.fake_b)
        return back

    @tensor
    def cycled_b(self) -> Tensor:
        """The second pool's images, there and back."""
        back: Tensor = self.network("a_to_b")(self.fake_a)
        return back

    @tensor
    def score_real_a(self) -> Tensor:
        """Scores of the first pool's images."""
        scores: Tensor = self.network("discriminator_a")(self.real_a)
        return scores

    @tensor
    def score_real_b(self) -> Tensor:
        """Scores of the second pool's images."""
        scores: Tensor = self.network("discriminator_b")(self.real_b)
        return scores

    @tensor
    def score_fake_a(self) -> Tensor:
        """Scores of the translations that were just made: what their generator is told."""
        scores: Tensor = self.network("discriminator_a")(self.fake_a)
        return scores

    @tensor
    def score_fake_b(self) -> Tensor:
        """Scores of the translations that were just made: what their generator is told."""
        scores: Tensor = self.network("discriminator_b")(self.fake_b)
        return scores

    @tensor
    def score_pooled_a(self) -> Tensor:
        """Scores of translations from the history: what the discriminator learns from."""
        scores: Tensor = self.network("discriminator_a")(jointly(self.network("pool_a"), self.fake_a))
        return scores

    @tensor
    def score_pooled_b(self) -> Tensor:
        """Scores of translations from the history: what the discriminator learns from."""
        scores: Tensor = self.network("discriminator_b")(jointly(self.network("pool_b"), self.fake_b))
        return scores
