"""mDCSRN: dense blocks on one grid, each shown all that was found before; the output reads every one of them."""

import torch
from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION
from MedGANLogic.parts.network import Network


class _DenseBlock(nn.Module):
    """Add ``width`` channels a unit, each unit reading all so far: (B, 2·width, *size) → (B, (2 + units)·width, …)."""

    def __init__(self, dimensions: int, width: int, units: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            nn.Sequential(
                BATCH_NORM[dimensions](channels),
                nn.ELU(),
                CONVOLUTION[dimensions](channels, width, 3, padding=1, bias=False),
            )
            for channels in range(2 * width, (2 + units) * width, width)
        )

    def forward(self, image: Tensor) -> Tensor:
        for unit in self.units:
            image = torch.cat([image, unit(image)], dim=1)
        return image


class MultiLevelDenseNet(Network):
    """Sharpen (B, in_channels, *size) to (B, out_channels, *size) of the same grid; linear, for targets in [-1, 1].

    c3-2·width; ``blocks`` dense blocks of ``units`` BN-ELU-c3-width, before each but the first a compressor c1-2·width;
    c1-out reads the first convolution and all blocks. mDCSRN-GAN's is b4u4, width (growth rate) 16 (Chen et al. 2018,
    arXiv:1803.01417, fig. 1; a compressor reads the first convolution and every block so far, no biases but in the
    1-convolutions [third-party code]; PyTorch's own start [assumed]).
    """

    def __init__(
        self, dimensions: int, in_channels: int, out_channels: int, width: int, blocks: int, units: int
    ) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        self.enter = convolution(in_channels, 2 * width, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList(_DenseBlock(dimensions, width, units) for _ in range(blocks))
        known = [2 * width + number * (2 + units) * width for number in range(blocks + 1)]
        self.compressors = nn.ModuleList(convolution(channels, 2 * width, 1) for channels in known[1:-1])
        self.reconstruct = convolution(known[-1], out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        entered = self.enter(image)
        known = torch.cat([entered, self.blocks[0](entered)], dim=1)
        for compress, block in zip(self.compressors, self.blocks[1:], strict=True):
            known = torch.cat([known, block(compress(known))], dim=1)
        sharpened: Tensor = self.reconstruct(known)
        return sharpened
