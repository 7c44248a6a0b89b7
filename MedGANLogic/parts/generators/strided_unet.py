"""The U-Net of pix2pix: one strided convolution a level down, one transposed convolution a level up."""

import torch
from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, TRANSPOSED, initialise
from MedGANLogic.parts.network import Network


class _Down(nn.Sequential):
    def __init__(self, dimensions: int, inputs: int, outputs: int, activated: bool, normed: bool) -> None:
        layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if activated else []
        layers.append(CONVOLUTION[dimensions](inputs, outputs, 4, stride=2, padding=1, bias=not normed))
        layers.extend([BATCH_NORM[dimensions](outputs)] if normed else [])
        super().__init__(*layers)


class _Up(nn.Sequential):
    def __init__(self, dimensions: int, inputs: int, outputs: int, dropped: bool) -> None:
        super().__init__(
            nn.ReLU(),
            TRANSPOSED[dimensions](inputs, outputs, 4, stride=2, padding=1, bias=False),
            BATCH_NORM[dimensions](outputs),
            *([nn.Dropout(0.5)] if dropped else []),
        )


class StridedUNet(Network):
    """Translate (B, in_channels, *size) in [-1, 1] to (B, out_channels, *size) in [-1, 1]; size a multiple of 2^levels.

    ``width``, 2·, 4·, 8·width, then 8·width to the bottom; batch norm except in the first convolution, the bottleneck
    and the output; dropout .5 on the three innermost decoder levels (the noise); tanh
    (Isola et al. 2017, arXiv:1611.07004; norm placement from the authors' released code).
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(levels)]
        self.down = nn.ModuleList(
            _Down(dimensions, inputs, outputs, activated=level > 0, normed=0 < level < levels - 1)
            for level, (inputs, outputs) in enumerate(zip([in_channels, *widths], widths, strict=False))
        )
        # Bottom up: each level but the lowest receives its own skip beside what comes from below.
        self.up = nn.ModuleList(
            _Up(
                dimensions,
                widths[level] * (1 if level == levels - 1 else 2),
                widths[level - 1],
                dropped=level >= levels - 3,
            )
            for level in range(levels - 1, 0, -1)
        )
        self.output = nn.Sequential(
            nn.ReLU(), TRANSPOSED[dimensions](2 * width, out_channels, 4, stride=2, padding=1), nn.Tanh()
        )
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        skips = []
        for down in self.down:
            image = down(image)
            skips.append(image)
        image = skips.pop()
        for up in self.up:
            image = torch.cat([up(image), skips.pop()], dim=1)
        translated: Tensor = self.output(image)
        return translated
