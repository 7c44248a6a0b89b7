"""The Global Convolutional Network: large kernels made of two thin ones, on every level of a residual network."""

from torch import Tensor, nn
from torch.nn.functional import interpolate

from MedGANLogic.parts.features.bottlenecks import BottleneckPath
from MedGANLogic.parts.network import Network

#: The levels of the path that are scored: stem, pooled stem, stages 2 to 4; each is half as fine as the one before.
_SCORED = (0, 1, 3, 4, 5)


class GlobalConvolution(nn.Module):
    """Convolve (B, inputs, H, W) to (B, outputs, H, W) with a large kernel: k×1 then 1×k, plus 1×k then k×1.

    Peng et al. 2017 (arXiv:1703.02719, §3.1 and fig. 2): nothing between the two.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.down_across = _thin(inputs, outputs, (kernel, 1), (1, kernel))
        self.across_down = _thin(inputs, outputs, (1, kernel), (kernel, 1))

    def forward(self, image: Tensor) -> Tensor:
        convolved: Tensor = self.down_across(image) + self.across_down(image)
        return convolved


class BoundaryRefinement(nn.Module):
    """Sharpen scores (B, channels, H, W): x + c3(ReLU(c3(x))) (Peng et al. 2017, arXiv:1703.02719, fig. 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.change = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, scores: Tensor) -> Tensor:
        refined: Tensor = scores + self.change(scores)
        return refined


class GlobalConvolutionalNetwork(Network):
    """Segment slices (B, in_channels, H, W) into logits (B, out_channels, H, W); H and W are multiples of 32.

    Stem, pooled stem and the last three stages of ResNet-50 are scored by a global convolution of ``kernel`` (odd) and
    refined; from the deepest on scores are doubled (bilinear), added to those of the next level and refined, and once
    more at full resolution (Peng et al. 2017, arXiv:1703.02719, §3; as SSNet's generator, Huo et al. 2018,
    arXiv:1712.00542: kernel 7, width 64, which levels [paper: related code]). No weights from photographs.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.contract = BottleneckPath(2, in_channels, width)
        self.score = nn.ModuleList(
            nn.Sequential(
                GlobalConvolution(self.contract.widths[level], out_channels, kernel), BoundaryRefinement(out_channels)
            )
            for level in _SCORED
        )
        self.refine = nn.ModuleList(BoundaryRefinement(out_channels) for _ in _SCORED)

    def forward(self, image: Tensor) -> Tensor:
        features = self.contract(image)
        scores = [score(features[level]) for score, level in zip(self.score, _SCORED, strict=True)]
        logits: Tensor = scores.pop()
        for refine in self.refine:
            logits = interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
            logits = refine(logits + scores.pop() if scores else logits)
        return logits


def _thin(inputs: int, outputs: int, *kernels: tuple[int, int]) -> nn.Sequential:
    first, second = kernels
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, first, padding=(first[0] // 2, first[1] // 2)),
        nn.Conv2d(outputs, outputs, second, padding=(second[0] // 2, second[1] // 2)),
    )
