"""The contracting path of SCAN: few maps, residual blocks, widened by blocks side by side; its critic's as well."""

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import AVERAGE_POOL, BATCH_NORM, CONVOLUTION

#: Kernels of the blocks at the deepest level.
DEEPEST = (1, 3, 1, 3, 1)


class ResidualPath(nn.Module):
    """Read (B, in_channels, *size) with ``levels`` halvings: (B, widths[-1], *size / 2^levels).

    The image in as many copies as give ``width`` maps or just more, through a block of kernel 7 each and one of kernel
    3 together; then, after each halving by averages but the last, two blocks side by side, which double the maps; after
    the last, five blocks of kernels 1, 3, 1, 3, 1 (Dai et al. 2017, arXiv:1703.08770 [paper: third-party code]; width
    8, 4 levels: 8, 16, 32 and 64 maps). Several channels are copied together [assumed]; none raise ValueError.
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, levels: int) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError("an image without channels: the study needs inputs")
        copies = -(-width // in_channels)
        self.widths = [copies * in_channels * 2**level for level in range(levels)]
        shrink = AVERAGE_POOL[dimensions](2)
        layers: list[nn.Module] = [_Widened(dimensions, in_channels, copies, kernel=7)]
        layers.append(_Block(dimensions, self.widths[0], kernel=3))
        for narrow in self.widths[:-1]:
            layers += [shrink, _Widened(dimensions, narrow, 2, kernel=3)]
        layers.append(shrink)
        layers += [_Block(dimensions, self.widths[-1], kernel) for kernel in DEEPEST]
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.layers(image)
        return features


class _Block(nn.Module):
    """x + (conv, norm, ReLU, conv, norm), then norm and ReLU; ``groups`` of channels know nothing of one another."""

    def __init__(self, dimensions: int, channels: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        norm = BATCH_NORM[dimensions]
        first, second = (
            CONVOLUTION[dimensions](channels, channels, kernel, padding=kernel // 2, groups=groups, bias=False)
            for _ in range(2)
        )
        self.change = nn.Sequential(first, norm(channels), nn.ReLU(), second, norm(channels))
        self.end = nn.Sequential(norm(channels), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        changed: Tensor = self.end(image + self.change(image))
        return changed


class _Widened(nn.Module):
    """Blocks side by side, each on all channels, which stand one after the other."""

    def __init__(self, dimensions: int, channels: int, copies: int, kernel: int) -> None:
        super().__init__()
        self.copies = copies
        self.blocks = _Block(dimensions, channels * copies, kernel, groups=copies)

    def forward(self, image: Tensor) -> Tensor:
        repeated = image.repeat(1, self.copies, *[1] * (image.ndim - 2))
        widened: Tensor = self.blocks(repeated)
        return widened
