"""Losses on label maps."""

from torch import Tensor, nn

from MedGANLogic.parts.losses.voxelwise import weighted_mean


def soft_dice(probabilities: Tensor, target: Tensor) -> Tensor:
    """Return 1 - the mean over samples and classes of (2·Σpy + ε) / (Σp + Σy + ε); both (B, K, *size) in [0, 1].

    Sums run over voxels, ε is 1e-5: a class that is neither there nor predicted costs nothing (the form of Drozdzal et
    al. 2016, arXiv:1608.04117, with denominators not squared).
    """
    p, y = probabilities.float().flatten(2), target.float().flatten(2)
    epsilon = 1e-5
    overlap = (2 * (p * y).sum(2) + epsilon) / (p.sum(2) + y.sum(2) + epsilon)
    return 1 - overlap.mean()


def voxel_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over a sample's voxels of -log softmax(logits) at the target's class, mean over samples.

    ``logits`` (B, K, *size); ``target`` labels (B, *size), int64 below K, or the classes' shares (B, K, *size);
    ``weight`` (B, 1, *size) ≥ 0. A sample without weight costs 0.
    """
    costs = nn.functional.cross_entropy(logits.float(), target, reduction="none")
    return weighted_mean(costs[:, None], weight)


def map_cross_entropy(probabilities: Tensor, target: Tensor) -> Tensor:
    """Mean of -(y·log p + (1 - y)·log(1 - p)) over all elements; both of one shape, in [0, 1].

    p is kept 1e-7 from 0 and 1, so that certainty costs at most 16.1. Written out because torch refuses its own under
    autocast.
    """
    p, y = probabilities.float().clamp(1e-7, 1 - 1e-7), target.float()
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()
