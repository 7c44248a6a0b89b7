"""SRResNet: residual blocks on the coarse grid, then as many sub-pixel doublings as the fine grid needs."""

import torch
from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION
from MedGANLogic.parts.grids import unfold
from MedGANLogic.parts.network import Network


class ResidualBlock(nn.Module):
    """Add to (B, width, *size) what c3 BN, an activation, and c3 BN make of it."""

    def __init__(self, dimensions: int, width: int, activation: nn.Module) -> None:
        super().__init__()
        convolution, norm = CONVOLUTION[dimensions], BATCH_NORM[dimensions]
        self.body = nn.Sequential(
            convolution(width, width, 3, padding=1, bias=False),
            norm(width),
            activation,
            convolution(width, width, 3, padding=1, bias=False),
            norm(width),
        )

    def forward(self, image: Tensor) -> Tensor:
        changed: Tensor = image + self.body(image)
        return changed


class _Doubling(nn.Module):
    """Put 2^n values for every voxel beside each other: (B, width, *size) → (B, width, *2·size)."""

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        places = 2**dimensions
        self.spread = CONVOLUTION[dimensions](width, places * width, 3, padding=1)
        self.activation = nn.PReLU()
        # All places of a voxel start alike: no checkerboard has to be unlearnt (ICNR, arXiv:1707.02937).
        with torch.no_grad():
            for parameter in self.spread.parameters():
                parameter.copy_(parameter[::places].repeat_interleave(places, dim=0))

    def forward(self, image: Tensor) -> Tensor:
        finer: Tensor = self.activation(unfold(self.spread(image)))
        return finer


class SubpixelResNet(Network):
    """Refine (B, in_channels, *size) to (B, out_channels, *size · 2^doublings); linear, for targets in [-1, 1].

    c9-width PReLU; ``blocks`` of c3-width BN PReLU c3-width BN with skip; c3-width BN with a skip over all blocks; per
    doubling c3-2^n·width, sub-pixel shuffle, PReLU; c9-out. SRGAN has width 64, 16 blocks and 2 doublings (Ledig et al.
    2017, arXiv:1609.04802, fig. 4). One PReLU slope a layer, ICNR start, PyTorch's own start elsewhere [assumed].
    """

    def __init__(
        self, dimensions: int, in_channels: int, out_channels: int, width: int, blocks: int, doublings: int
    ) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        self.enter = nn.Sequential(convolution(in_channels, width, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(
            *(ResidualBlock(dimensions, width, nn.PReLU()) for _ in range(blocks)),
            convolution(width, width, 3, padding=1, bias=False),
            BATCH_NORM[dimensions](width),
        )
        self.finer = nn.Sequential(*(_Doubling(dimensions, width) for _ in range(doublings)))
        self.output = convolution(width, out_channels, 9, padding=4)

    def forward(self, image: Tensor) -> Tensor:
        entered = self.enter(image)
        refined: Tensor = self.output(self.finer(entered + self.body(entered)))
        return refined
