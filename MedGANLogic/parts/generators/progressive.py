"""The generator that grows: from 4×4 upwards, each doubling faded in (Karras et al. 2018, arXiv:1710.10196)."""

from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from MedGANLogic.parts.dimensions import CONVOLUTION
from MedGANLogic.parts.network import Network

#: The edge of the first stage, and the widest that a layer gets (table 2 of the paper).
FIRST = 4
WIDEST = 512


class Equalised(nn.Module):
    """A layer of weights N(0, 1) that work as if drawn by He's rule (§4.1), so that all learn at one rate."""

    def __init__(self, layer: nn.Conv2d | nn.Conv3d | nn.Linear, gain: float = sqrt(2)) -> None:
        super().__init__()
        self.layer = layer
        # Scaling what goes in is scaling the weights, and leaves them plain tensors.
        self.constant = gain / sqrt(layer.weight[0].numel())
        nn.init.normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs * self.constant)
        return outputs


class PixelNorm(nn.Module):
    """Scale the channels of every voxel, or the numbers of a code, to a mean square of 1 (§4.2)."""

    def forward(self, features: Tensor) -> Tensor:
        features = features.float()
        return features * (features.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def stage_widths(width: int, size: int) -> list[int]:
    """Return the channels of every stage, coarsest first. Raises ValueError for a size that is not 4, 8, 16, …"""
    stages = stage_of(size) + 1
    return [min(width * 2**finer, WIDEST) for finer in reversed(range(stages))]


def stage_of(size: int) -> int:
    """Return the stage whose images have this edge: 0 for 4. Raises ValueError for an edge that no stage has."""
    stage = (size // FIRST).bit_length() - 1
    if stage < 0 or size != FIRST * 2**stage:
        raise ValueError(f"an image of edge {size} belongs to no stage: stages have edges 4, 8, 16, and so on")
    return stage


def doubled(image: Tensor) -> Tensor:
    """Repeat every voxel along every axis: (B, C, *size) → (B, C, *2·size)."""
    return interpolate(image, scale_factor=2.0, mode="nearest")


class ProgressiveGenerator(Network):
    """Make images (B, out_channels, *4·2^stage) of codes (B, latent); the output is linear.

    4×4 from a fully connected layer and a c3, then per stage ×2 nearest and two c3; LeakyReLU .2 and pixel norm after
    each, codes on a sphere, an image by c1 at every stage, equalised learning rate (Karras et al. 2018,
    arXiv:1710.10196, §2, §4, table 2). ``width`` is that of the last stage; coarser ones double it up to 512. At
    1024² with width 16 and 512 latent numbers these are the paper's 23.1 M weights. All layers of He's gain √2 but
    those without activation, 1 [paper: released code, which has √2/4 in the very first].

    ``size`` is the edge of the finished images: 4 times a power of two. Raises ValueError for another.
    """

    def __init__(self, dimensions: int, latent: int, out_channels: int, width: int, size: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        widths = stage_widths(width, size)
        grid = (FIRST,) * dimensions
        self.start = nn.Sequential(
            PixelNorm(),
            Equalised(nn.Linear(latent, widths[0] * FIRST**dimensions)),
            nn.Unflatten(1, (widths[0], *grid)),
            nn.LeakyReLU(0.2),
            PixelNorm(),
            *_layer(dimensions, widths[0], widths[0]),
        )
        self.grow = nn.ModuleList(
            nn.Sequential(*_layer(dimensions, coarse, fine), *_layer(dimensions, fine, fine))
            for coarse, fine in pairwise(widths)
        )
        self.to_image = nn.ModuleList(Equalised(convolution(channels, out_channels, 1), 1.0) for channels in widths)

    def forward(self, code: Tensor, stage: int | None = None, fade: float = 1.0) -> Tensor:
        """Return the images of a stage, 0 for 4×4; by default the last, finished.

        ``fade`` in [0, 1] is the new stage's share of the image; at 0 it is the doubled image of the stage before.
        """
        stage = len(self.grow) if stage is None else stage
        coarser = features = self.start(code)
        for block in self.grow[:stage]:
            coarser, features = features, block(doubled(features))
        image: Tensor = self.to_image[stage](features)
        if stage == 0 or fade == 1:
            return image
        return torch.lerp(doubled(self.to_image[stage - 1](coarser)), image, fade)


def _layer(dimensions: int, inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return Equalised(CONVOLUTION[dimensions](inputs, outputs, 3, padding=1)), nn.LeakyReLU(0.2), PixelNorm()
