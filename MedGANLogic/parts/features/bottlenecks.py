"""The path of ResNet-50, read at several levels."""

from itertools import pairwise

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, MAX_POOL

#: Blocks of each stage of ResNet-50 (He et al. 2016, arXiv:1512.03385, table 1).
RESNET50 = (3, 4, 6, 3)

#: A block's output is so many times as wide as what it thinks in.
EXPANSION = 4


class BottleneckPath(nn.Module):
    """Read (B, in_channels, *size) at six levels, 1/2, 1/4, 1/4, 1/8, 1/16 and 1/32 as fine, of ``widths`` channels.

    c7-width s2, batch norm, ReLU; max-pool 3 s2; four stages of 3, 4, 6 and 3 blocks c1, c3, c1, of which all but the
    first stage halve the grid by their first c3: 4·, 8·, 16· and 32·width channels (He et al. 2016, arXiv:1512.03385,
    table 1, the 50-layer network; width 64). Sizes are multiples of 32. Weights are drawn; none are downloaded.
    """

    def __init__(self, dimensions: int, in_channels: int, width: int) -> None:
        super().__init__()
        stem = CONVOLUTION[dimensions](in_channels, width, 7, stride=2, padding=3, bias=False)
        deep = [EXPANSION * width * 2**stage for stage in range(len(RESNET50))]
        self.widths = [width, width, *deep]
        self.stem = nn.Sequential(stem, BATCH_NORM[dimensions](width), nn.ReLU())
        self.shrink = MAX_POOL[dimensions](3, stride=2, padding=1)
        self.stages = nn.ModuleList(
            _stage(dimensions, inputs, outputs, blocks, stride=1 if inputs == width else 2)
            for (inputs, outputs), blocks in zip(pairwise([width, *deep]), RESNET50, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [self.stem(image)]
        features.append(self.shrink(features[0]))
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features


class _Bottleneck(nn.Module):
    """x + (c1, c3, c1, each with batch norm, ReLU between), then ReLU; a c1 takes x there where its shape changes."""

    def __init__(self, dimensions: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        convolution, norm, inner = CONVOLUTION[dimensions], BATCH_NORM[dimensions], outputs // EXPANSION
        self.change = nn.Sequential(
            convolution(inputs, inner, 1, bias=False),
            norm(inner),
            nn.ReLU(),
            convolution(inner, inner, 3, stride=stride, padding=1, bias=False),
            norm(inner),
            nn.ReLU(),
            convolution(inner, outputs, 1, bias=False),
            norm(outputs),
        )
        self.keep = (
            nn.Identity()
            if inputs == outputs
            else nn.Sequential(convolution(inputs, outputs, 1, stride=stride, bias=False), norm(outputs))
        )

    def forward(self, image: Tensor) -> Tensor:
        changed: Tensor = (self.keep(image) + self.change(image)).relu()
        return changed


def _stage(dimensions: int, inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Bottleneck(dimensions, inputs, outputs, stride)
    return nn.Sequential(first, *(_Bottleneck(dimensions, outputs, outputs, 1) for _ in range(blocks - 1)))
