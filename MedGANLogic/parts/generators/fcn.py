"""Fully convolutional networks: a contracting path, of VGG16 or SCAN, deep levels brought back to full resolution."""

import torch
from torch import Tensor, nn

from MedGANLogic.parts.dimensions import CONVOLUTION, TRANSPOSED, initialise
from MedGANLogic.parts.features.contracting import ContractingPath
from MedGANLogic.parts.features.residual_path import ResidualPath
from MedGANLogic.parts.network import Network


class FCN4s(Network):
    """Translate (B, in_channels, *size) to (B, out_channels, *size), linear; size a multiple of 2^levels.

    The contracting path of VGG16; from its deepest level up to quarter resolution each level is scored by a c1,
    doubled by a k4 deconvolution and added to the next; the sum at a quarter is enlarged ×4 by a k8 deconvolution:
    FCN-8s (Long et al. 2015, arXiv:1411.4038, §4.2) with one level more, as the regressor of CT to PET has it
    (Ben-Cohen et al. 2017, arXiv:1707.09585). Width 64 and 5 levels are VGG16; its two layers of 4096 channels are left
    out [assumed].
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        self.contract = ContractingPath(dimensions, in_channels, width, levels)
        self.score = nn.ModuleList(_score(dimensions, wide, out_channels) for wide in self.contract.widths[1:])
        self.enlarge = nn.ModuleList(_enlarge(dimensions, out_channels, 2) for _ in range(levels - 2))
        self.output = _enlarge(dimensions, out_channels, 4)

    def forward(self, image: Tensor) -> Tensor:
        scores = [score(level) for score, level in zip(self.score, self.contract(image)[1:], strict=True)]
        total = scores.pop()
        for enlarge in self.enlarge:
            total = enlarge(total) + scores.pop()
        translated: Tensor = self.output(total)
        return translated


class MultiLevelFCN(Network):
    """Segment (B, in_channels, *size) into logits (B, out_channels, *size); size a multiple of 2^levels, levels ≥ 3.

    The contracting path of VGG16; its three deepest levels are scored by a c1 each, enlarged to full resolution in one
    deconvolution each, and added: the segmentation network of DAN (Zhang et al. 2017,
    doi:10.1007/978-3-319-66179-7_47), which is like DCAN's (Chen et al. 2016, arXiv:1604.02677, §2.1) without its
    contours. Width 64 and 5 levels are VGG16; which levels are brought back [paper?].
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        self.contract = ContractingPath(dimensions, in_channels, width, levels)
        self.deconvolve = nn.ModuleList(
            nn.Sequential(
                _score(dimensions, self.contract.widths[level], out_channels),
                _enlarge(dimensions, out_channels, 2 ** (level + 1)),
            )
            for level in range(levels - 3, levels)
        )

    def forward(self, image: Tensor) -> Tensor:
        deepest = self.contract(image)[-3:]
        brought_back = [deconvolve(level) for deconvolve, level in zip(self.deconvolve, deepest, strict=True)]
        return torch.stack(brought_back).sum(0)


class ResidualFCN(Network):
    """Segment (B, in_channels, *size) into logits (B, out_channels, *size); size a multiple of 2^levels.

    SCAN's residual path; its deepest level is scored by a c1 and enlarged to full resolution in one deconvolution, k32
    s16 for 4 levels (Dai et al. 2017, arXiv:1703.08770 [paper: third-party code]; width 8). The deconvolution enlarges
    each class by itself and begins as linear interpolation [assumed].
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        self.contract = ResidualPath(dimensions, in_channels, width, levels)
        self.output = nn.Sequential(
            _score(dimensions, self.contract.widths[-1], out_channels), _enlarge(dimensions, out_channels, 2**levels)
        )

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.output(self.contract(image))
        return logits


def _score(dimensions: int, wide: int, outputs: int) -> nn.Module:
    score = CONVOLUTION[dimensions](wide, outputs, 1)
    initialise(score)
    return score


def _enlarge(dimensions: int, channels: int, factor: int) -> nn.Module:
    """Return a deconvolution, a channel by itself, that starts as linear interpolation (arXiv:1411.4038, §3.3)."""
    enlarge = TRANSPOSED[dimensions](
        channels, channels, 2 * factor, stride=factor, padding=factor // 2, groups=channels, bias=False
    )
    places = torch.arange(2 * factor, dtype=torch.float32)
    profile = 1 - (places - (2 * factor - 1) / 2).abs() / factor
    kernel = torch.ones(())
    for _ in range(dimensions):
        kernel = kernel.unsqueeze(-1) * profile
    with torch.no_grad():
        enlarge.weight.copy_(kernel.expand_as(enlarge.weight))
    return enlarge
