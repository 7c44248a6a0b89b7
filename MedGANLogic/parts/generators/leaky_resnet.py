"""The 3D SRGAN's generators: one residual trunk on the coarse grid, and several ways to a finer one."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, TRANSPOSED, initialise
from MedGANLogic.parts.generators.subpixel_resnet import ResidualBlock
from MedGANLogic.parts.grids import spread, unfold
from MedGANLogic.parts.network import Network

#: The slope of LeakyReLU for negative numbers.
SLOPE = 0.25


class LeakyTrunk(nn.Module):
    """Describe (B, in_channels, *size) by (B, width, *size): c3 BN LReLU, residual blocks, c3 BN, a skip over these."""

    def __init__(self, dimensions: int, in_channels: int, width: int, blocks: int) -> None:
        super().__init__()
        convolution, norm = CONVOLUTION[dimensions], BATCH_NORM[dimensions]
        entering = convolution(in_channels, width, 3, padding=1, bias=False)
        self.enter = nn.Sequential(entering, norm(width), nn.LeakyReLU(SLOPE))
        self.body = nn.Sequential(
            *(ResidualBlock(dimensions, width, nn.LeakyReLU(SLOPE)) for _ in range(blocks)),
            convolution(width, width, 3, padding=1, bias=False),
            norm(width),
        )

    def forward(self, image: Tensor) -> Tensor:
        entered = self.enter(image)
        described: Tensor = entered + self.body(entered)
        return described


class _DoublingResNet(Network, ABC):
    """Refine (B, in_channels, *size) to (B, out_channels, *size · 2^doublings), for targets in [-1, 1].

    c3-width BN LReLU .25; ``blocks`` of c3-width BN LReLU c3-width BN with skip; c3-width BN with a skip over all
    blocks; as many doublings; c3-out. Width 32, 6 blocks (Sánchez & Vilaplana 2018, arXiv:1812.11440; sizes, and
    weights of N(0, .02), [paper: released code]).
    """

    def __init__(
        self, dimensions: int, in_channels: int, out_channels: int, width: int, blocks: int, doublings: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [LeakyTrunk(dimensions, in_channels, width, blocks)]
        channels = width
        for _ in range(doublings):
            doubled, channels = self._doubling(dimensions, channels, 2 * width)
            layers += doubled
        layers.append(CONVOLUTION[dimensions](channels, out_channels, 3, padding=1))
        self.refine = nn.Sequential(*layers)
        initialise(self)

    @staticmethod
    @abstractmethod
    def _doubling(dimensions: int, channels: int, width: int) -> tuple[list[nn.Module], int]:
        """Return the layers that double the grid of so many channels, and how many they leave."""

    def forward(self, image: Tensor) -> Tensor:
        refined: Tensor = self.refine(image)
        return refined


class ResizedResNet(_DoublingResNet):
    """The paper's generator with resize-convolutions: c3-2·width, nearest neighbour ×2, c3-2·width; tanh at the end."""

    @staticmethod
    def _doubling(dimensions: int, channels: int, width: int) -> tuple[list[nn.Module], int]:
        convolution = CONVOLUTION[dimensions]
        before = [convolution(channels, width, 3, padding=1), nn.LeakyReLU(SLOPE)]
        return [
            *before,
            nn.Upsample(scale_factor=2),
            convolution(width, width, 3, padding=1),
            nn.LeakyReLU(SLOPE),
        ], width

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).tanh()


class _Unfold(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return unfold(image)


class ShuffledResNet(_DoublingResNet):
    """The paper's generator with sub-pixel convolutions: c3-2·width, whose channels become 2^n neighbours each."""

    @staticmethod
    def _doubling(dimensions: int, channels: int, width: int) -> tuple[list[nn.Module], int]:
        left = max(1, width // 2**dimensions)
        spread = CONVOLUTION[dimensions](channels, left * 2**dimensions, 3, padding=1)
        return [spread, nn.LeakyReLU(SLOPE), _Unfold()], left


class NearestResNet(_DoublingResNet):
    """The paper's generator with sub-pixel convolutions that begin as nearest neighbours: transposed c6-2·width s2.

    Each kernel begins as one of 3 voxels an edge, every voxel of which is repeated: neighbours begin alike, so that no
    checkerboard has to be unlearnt (Aitken et al. 2017, arXiv:1707.02937).
    """

    def __init__(
        self, dimensions: int, in_channels: int, out_channels: int, width: int, blocks: int, doublings: int
    ) -> None:
        super().__init__(dimensions, in_channels, out_channels, width, blocks, doublings)
        with torch.no_grad():
            for layer in self.refine:
                if isinstance(layer, TRANSPOSED[dimensions]):
                    every_second = interpolate(layer.weight, size=(3,) * dimensions)
                    layer.weight.copy_(interpolate(every_second, scale_factor=2))

    @staticmethod
    def _doubling(dimensions: int, channels: int, width: int) -> tuple[list[nn.Module], int]:
        return [TRANSPOSED[dimensions](channels, width, 6, stride=2, padding=2), nn.LeakyReLU(SLOPE)], width


class SliceResNet(Network):
    """Refine (B, in_channels, S, …) to (B, out_channels, S · times, …): more slices of the same matrix; linear.

    The trunk of the 3D SRGAN; c3-width·times, whose channels become so many slices; c3-out. Li, Wang & Yu 2017 say
    fully 3D residual blocks [seed]; 6 blocks of width 32, and sub-pixels along the slice axis alone [assumed].
    """

    def __init__(
        self, dimensions: int, in_channels: int, out_channels: int, width: int, blocks: int, times: int
    ) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        self.times = times
        self.trunk = LeakyTrunk(dimensions, in_channels, width, blocks)
        self.slices = nn.Sequential(convolution(width, times * width, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.output = convolution(width, out_channels, 3, padding=1)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        slices = spread(self.slices(self.trunk(image)), (self.times, *[1] * (image.dim() - 3)))
        refined: Tensor = self.output(slices)
        return refined
