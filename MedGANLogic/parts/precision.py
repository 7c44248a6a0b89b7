"""Where half precision would leave nothing of a result."""

import torch
from torch import Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """Return a context in which what is computed on a tensor's device stays in its own precision."""
    # The meta device, on which shapes are tried, knows no autocast.
    device = like.device.type if torch.amp.is_autocast_available(like.device.type) else "cpu"
    return torch.autocast(device, enabled=False)
