"""A plain U-Net: two convolutions a level, for cohorts and machines that are small."""

import torch
from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, TRANSPOSED
from MedGANLogic.parts.network import Network


class _Block(nn.Sequential):
    def __init__(self, dimensions: int, inputs: int, outputs: int) -> None:
        def convolution(channels: int) -> list[nn.Module]:
            return [
                CONVOLUTION[dimensions](channels, outputs, 3, padding=1, bias=False),
                BATCH_NORM[dimensions](outputs),
                nn.ReLU(inplace=True),
            ]

        super().__init__(*convolution(inputs), *convolution(outputs))


class PlainUNet(Network):
    """Translate (B, in_channels, *size) in [-1, 1] to (B, out_channels, *size); size a multiple of 2^(levels-1).

    Ronneberger et al. 2015 (arXiv:1505.04597) with padding, batch norm and doubling widths. The output is linear:
    a window's end, such as air, is reached exactly and is not approached for ever as under tanh.
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(
            _Block(dimensions, inputs, outputs) for inputs, outputs in zip([in_channels, *widths], widths, strict=False)
        )
        self.shrink = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[dimensions](2)
        self.grow = nn.ModuleList(
            TRANSPOSED[dimensions](deep, shallow, 2, stride=2)
            for shallow, deep in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.up = nn.ModuleList(_Block(dimensions, 2 * shallow, shallow) for shallow in widths[-2::-1])
        self.output = CONVOLUTION[dimensions](width, out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            image = block(self.shrink(image) if level else image)
            skips.append(image)
        skips.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            image = block(torch.cat([grow(image), skips.pop()], dim=1))
        translated: Tensor = self.output(image)
        return translated
