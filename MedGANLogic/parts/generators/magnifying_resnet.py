"""A residual network without norm that says what an interpolated image lacks: finer by its own factor on each axis."""

from torch import Tensor, nn
from torch.nn.functional import interpolate

from MedGANLogic.parts.dimensions import CONVOLUTION, initialise_unnormed
from MedGANLogic.parts.grids import own_slice, spread
from MedGANLogic.parts.network import Network

_SMOOTH = {2: "bicubic", 3: "trilinear"}


class _ResidualBlock(nn.Module):
    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        self.enter = convolution(width, width, 3, padding=1)
        self.change = convolution(width, width, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        changed: Tensor = image + self.change(self.enter(image).relu())
        return changed


class MagnifyingResNet(Network):
    """Refine (B, out_channels·n, *size), n neighbouring slices of each image, to (B, out_channels, *size·factors).

    On the coarse grid c3-width, ``blocks`` of c3 ReLU c3 with skip, c3 with a skip over all of them, no norm (EDSR: Lim
    et al. 2017, arXiv:1707.02921, fig. 2c and 3); sub-pixel shuffle to width/2 channels on the fine grid, ReLU, c3-out.
    That is added to each image's own slice, interpolated (cubic in 2D, linear in 3D) over the same box. What a block
    adds, and the network, begins at 0: one that has learnt nothing interpolates. Factors: ``slices`` (3D), ``rows``,
    ``columns``.
    """

    def __init__(
        self,
        dimensions: int,
        in_channels: int,
        out_channels: int,
        width: int,
        blocks: int,
        slices: int,
        rows: int,
        columns: int,
    ) -> None:
        super().__init__()
        convolution, fine = CONVOLUTION[dimensions], max(width // 2, 1)
        self.factors = (slices, rows, columns)[3 - dimensions :]
        self.enter = convolution(in_channels, width, 3, padding=1)
        chain = [_ResidualBlock(dimensions, width) for _ in range(blocks)]
        self.body = nn.Sequential(*chain, convolution(width, width, 3, padding=1))
        self.places = convolution(width, fine * slices * rows * columns, 3, padding=1)
        self.output = convolution(fine, out_channels, 3, padding=1)
        initialise_unnormed(self)
        # Sums of many blocks would grow without norm.
        for change in (*(block.change for block in chain), self.output):
            nn.init.zeros_(change.weight)

    def forward(self, image: Tensor) -> Tensor:
        entered = self.enter(image)
        lacking = self.output(spread(self.places(entered + self.body(entered)), self.factors).relu())
        own = own_slice(image, self.arguments["out_channels"]).float()
        seen = interpolate(own, scale_factor=self.factors, mode=_SMOOTH[own.dim() - 2], align_corners=False)
        finer: Tensor = seen + lacking
        return finer
