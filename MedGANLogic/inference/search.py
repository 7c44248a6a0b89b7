"""Search a generator's latent space for the image that is most like a given one."""

import torch
from torch import Tensor, nn

from MedGANLogic.passes import Search


def search(one: Search, generator: nn.Module, judge: nn.Module, windows: Tensor, start: Tensor | None = None) -> Tensor:
    """Return, for windows (B, 1, *size) in [-1, 1], the nearest images and their scores: (B, 2, *size).

    Begins at ``start`` (B, latent), or at the same normal numbers for every window, always. The networks are left as
    they are: no weight and no statistic moves. The score is the lowest loss seen, per voxel, less 1: the same all over
    the window, -1 where the image can be made exactly.
    """
    if start is None:
        chance = torch.Generator().manual_seed(0)
        start = torch.randn(1, one.latent, generator=chance).expand(len(windows), -1).to(windows.device)
    with torch.enable_grad():
        wanted = judge.features(windows).detach()  # type: ignore[operator]  # nn.Module's stub knows no methods
        latent = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([latent], lr=one.rate)
        best = torch.full((len(windows),), torch.inf, device=windows.device)
        nearest, alone = torch.zeros_like(windows), (-1, *[1] * (windows.dim() - 1))
        for step in range(one.steps + 1):
            made = generator(latent)
            residual = (windows - made).abs().flatten(1).sum(1)
            seen = (wanted - judge.features(made)).abs().flatten(1).sum(1)  # type: ignore[operator]
            # The two sums are weighted so that a window's loss is its own: windows do not know of one another.
            loss = (1 - one.balance) * residual + one.balance * seen
            # Chosen without an index, for which a GPU would have to be waited for.
            better = loss.detach() < best
            best = torch.where(better, loss.detach(), best)
            nearest = torch.where(better.reshape(alone), made.detach(), nearest)
            if step == one.steps:
                break
            (latent.grad,) = torch.autograd.grad(loss.sum(), latent)
            optimizer.step()
    score = (best / windows[0].numel() - 1).reshape(alone).expand_as(windows)
    return torch.cat([nearest, score], dim=1).float()
