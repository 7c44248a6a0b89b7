"""The segmentation network of Kamnitsas et al.: a path on the image and one on a coarser image."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from MedGANLogic.parts.dimensions import AVERAGE_POOL, BATCH_NORM, CONVOLUTION
from MedGANLogic.parts.network import Network

_FACTOR = 3

#: Channels of a path's eight convolutions, in thirds of the narrowest.
_THIRDS = (3, 3, 4, 4, 4, 4, 5, 5)

#: The convolutions of a path whose activations the domain classifier reads, counted from 0.
_READ = (3, 5, 7)


class DualResolutionCNN(Network):
    """Segment (B, in_channels, *size) into logits (B, out_channels, *size); any size.

    Two paths of eight c3, of width, width, 4/3· ×4, 5/3· ×2: one on the image, one on its averages over 3×3(×3) voxels,
    repeated back to the image's grid; both joined, c1-5·width twice, c1-out; batch norm and ReLU but after the last.
    Width 30 is published (DeepMedic, Kamnitsas et al. 2017, arXiv:1603.05959, §2.2; as the segmenter of
    arXiv:1612.08894). Published are unpadded convolutions, with a wider window for the coarse path; here all are padded
    and both paths see the same window. Windows that start at multiples of 3 see the same averages. Batch norm and ReLU
    [paper?]; no residual connections, no dropout [assumed].
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        widths = [width * thirds // 3 for thirds in _THIRDS]
        joined = 2 * widths[-1]
        self.coarsen = AVERAGE_POOL[dimensions](_FACTOR, ceil_mode=True)
        self.fine = _path(dimensions, in_channels, widths)
        self.coarse = _path(dimensions, in_channels, widths)
        self.join = nn.ModuleList(_normed(dimensions, inputs, 5 * width, kernel=1) for inputs in (joined, 5 * width))
        self.output = CONVOLUTION[dimensions](5 * width, out_channels, 1)
        #: Channels of the activations that ``with_activations`` returns.
        self.activation_channels = 2 * sum(widths[place] for place in _READ) + 5 * width
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        return self._logits_and_read(image)[0]

    def with_activations(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and what a domain classifier reads: (B, activation_channels, *size).

        These are the activations of the fourth, sixth and eighth convolution of both paths and of the last before the
        logits, all on the image's grid: the multi-connected form (arXiv:1612.08894, §2.4 [paper?: which layers]).
        """
        logits, read = self._logits_and_read(image)
        return logits, torch.cat(read, dim=1)

    def _logits_and_read(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        fine, coarse = image, self.coarsen(image)
        read = []
        for place, (finer, coarser) in enumerate(zip(self.fine, self.coarse, strict=True)):
            fine, coarse = finer(fine), coarser(coarse)
            if place in _READ:
                read += [fine, _repeated(coarse, image.shape[2:])]
        joined = torch.cat(read[-2:], dim=1)
        for join in self.join:
            joined = join(joined)
        return self.output(joined), [*read, joined]


def _path(dimensions: int, in_channels: int, widths: list[int]) -> nn.ModuleList:
    return nn.ModuleList(_normed(dimensions, *channels, kernel=3) for channels in pairwise([in_channels, *widths]))


def _normed(dimensions: int, inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    convolution = CONVOLUTION[dimensions](inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, BATCH_NORM[dimensions](outputs), nn.ReLU())


def _repeated(coarse: Tensor, size: torch.Size) -> Tensor:
    """Give every fine voxel the value of the coarse one that it lies in."""
    fine = interpolate(coarse, scale_factor=float(_FACTOR), mode="nearest")
    for axis, length in enumerate(size, start=2):
        fine = fine.narrow(axis, 0, length)
    return fine
