"""U-Nets for cohorts and machines that are small: at half resolution, and at full resolution for small volumes.

And one that is told on every level what it should have seen there.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, LINEAR, MAX_POOL
from MedGANLogic.parts.grids import fold, unfold
from MedGANLogic.parts.network import Network


class _Block(nn.Sequential):
    def __init__(self, dimensions: int, inputs: int, outputs: int, convolutions: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, *[outputs] * (convolutions - 1)):
            layers.append(CONVOLUTION[dimensions](channels, outputs, 3, padding=1, bias=False))
            layers.append(BATCH_NORM[dimensions](outputs))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class _UNet(Network):
    """Down and up again: what all do between their first and last convolutions.

    ``levels`` resolutions of width, 2·, 4·, … but at most ``widest``·width.
    """

    def _make(self, dimensions: int, inputs: int, width: int, levels: int, widest: int = 6) -> list[int]:
        widths = [width * min(2**level, widest) for level in range(levels)]
        ends = zip([inputs, *widths], widths, strict=False)
        self.down = nn.ModuleList(_Block(dimensions, i, o, 2) for i, o in ends)
        self.shrink = MAX_POOL[dimensions](2)
        pairs = list(pairwise(widths))
        self.up = nn.ModuleList(_Block(dimensions, deep + shallow, shallow, 2) for shallow, deep in reversed(pairs))
        return widths

    def _through(self, image: Tensor) -> Tensor:
        return self._ascended(image)[-1]

    def _ascended(self, image: Tensor) -> list[Tensor]:
        """Return what is thought on every level on the way up, the deepest first."""
        skips = []
        for level, block in enumerate(self.down):
            image = block(self.shrink(image) if level else image)
            skips.append(image)
        ascended = [skips.pop()]
        for block in self.up:
            doubled = interpolate(ascended[-1], scale_factor=2.0, mode="nearest")
            ascended.append(block(torch.cat([doubled, skips.pop()], dim=1)))
        return ascended

    def _begin(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class FineUNet(_UNet):
    """Segment (B, in_channels, *size) into logits (B, out_channels, *size); size a multiple of 2^(levels - 1).

    Ronneberger et al. 2015 (arXiv:1505.04597) with padding, batch norm and nearest-neighbour upsampling, in 3D as by
    Çiçek et al. 2016 (arXiv:1606.06650); the logits are near 0 at first, whatever the input.
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        self._make(dimensions, in_channels, width, levels)
        self.output = CONVOLUTION[dimensions](width, out_channels, 1)
        self._begin()
        nn.init.normal_(self.output.weight, std=0.02)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.output(self._through(image))
        return logits


class DeeplySupervisedUNet(_UNet):
    """``FineUNet`` that is scored on every level on the way up, of width, 2·, 4·, 8· and 16·width; ``levels`` ≥ 2.

    DI2IN has width 16 and 5 levels (Yang et al. 2017, arXiv:1707.08037, §2.1: encoder and decoder, features
    concatenated on several levels, deep supervision [paper]; layers and widths [assumed]). A level is scored by a c1
    and enlarged linearly; the finest is what predicts. Raises ValueError for one level.
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels is {levels}: there is a way up from 2 on")
        *finer, _deepest = self._make(dimensions, in_channels, width, levels, widest=16)
        outputs = [CONVOLUTION[dimensions](wide, out_channels, 1) for wide in reversed(finer)]
        self.outputs = nn.ModuleList(outputs)
        self.mode = LINEAR[dimensions]
        self._begin()
        for output in outputs:
            nn.init.normal_(output.weight, std=0.02)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.outputs[-1](self._through(image))
        return logits

    def branches(self, image: Tensor) -> Tensor:
        """Return the logits of all levels on the image's grid, (B, levels - 1, out_channels, *size), finest last."""
        scored = [output(level) for output, level in zip(self.outputs, self._ascended(image)[1:], strict=True)]
        size = image.shape[2:]
        return torch.stack([interpolate(one, size, mode=self.mode, align_corners=False) for one in scored], dim=1)


class PlainUNet(_UNet):
    """Translate (B, in_channels, *size) in [-1, 1] to (B, out_channels, *size); size a multiple of 2^levels.

    Ronneberger et al. 2015 (arXiv:1505.04597) with padding, batch norm and nearest-neighbour upsampling, on an image
    whose 2×2 neighbourhoods are folded into channels (as in arXiv:1609.05158, backwards), which halves the time of a
    step; ``levels`` resolutions of width, 2·, 4·, then 6·width; one convolution at full resolution, which sees the
    input again, ends it. The output is linear: a window's end, such as air, is not approached for ever as under tanh.
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        self._make(dimensions, in_channels * 2**dimensions, width, levels)
        fine = width // 2
        self.spread = CONVOLUTION[dimensions](width, fine * 2**dimensions, 1)
        self.refine = _Block(dimensions, fine + in_channels, fine, 1)
        self.output = CONVOLUTION[dimensions](fine, out_channels, 1)
        self._begin()
        # At first all places of a neighbourhood get the same: no checkerboard has to be unlearnt (arXiv:1707.02937).
        with torch.no_grad():
            alike = self.spread.weight[:: 2**dimensions].repeat_interleave(2**dimensions, dim=0)
            self.spread.weight.copy_(alike)
        # The first answers are near the middle of the window, whatever the input.
        nn.init.normal_(self.output.weight, std=0.02)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.refine(torch.cat([unfold(self.spread(self._through(fold(image)))), image], dim=1))
        translated: Tensor = self.output(fine)
        return translated
