"""The segmentor of SegAN: a U-Net whose skips are added."""

from torch import Tensor, nn
from torch.nn.functional import interpolate

from MedGANLogic.parts.dimensions import BATCH_NORM, CONVOLUTION, LINEAR, initialise
from MedGANLogic.parts.network import Network


class SummedUNet(Network):
    """Segment (B, in_channels, *size) into logits (B, out_channels, *size); size a multiple of 2^levels.

    c4s2 width, 2·, 4·, 8·width, LeakyReLU .2, batch norm but in the first; then per level linear ×2, c3, batch norm,
    ReLU, with the skip of that level added; linear ×2 and c3 to ``out_channels``. SegAN has width 64 and 4 levels
    (Xue et al. 2018, arXiv:1706.01805, fig. 1). Skips summed, norms, slopes [third-party code]; the sigmoid that the
    paper ends with is the game's.
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, levels: int) -> None:
        super().__init__()
        convolution, norm = CONVOLUTION[dimensions], BATCH_NORM[dimensions]
        self.mode = LINEAR[dimensions]
        widths = [width * 2**level for level in range(levels)]
        first = nn.Sequential(convolution(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2))
        self.down = nn.ModuleList([first])
        self.up = nn.ModuleList()
        for shallow in widths[:-1]:
            shrunk = convolution(shallow, 2 * shallow, 4, stride=2, padding=1, bias=False)
            self.down.append(nn.Sequential(shrunk, norm(2 * shallow), nn.LeakyReLU(0.2)))
            smoothed = convolution(2 * shallow, shallow, 3, padding=1, bias=False)
            self.up.insert(0, nn.Sequential(smoothed, norm(shallow), nn.ReLU()))
        self.output = convolution(width, out_channels, 3, padding=1)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        skips = []
        for down in self.down:
            image = down(image)
            skips.append(image)
        image = skips.pop()
        for up in self.up:
            image = up(self._doubled(image)) + skips.pop()
        logits: Tensor = self.output(self._doubled(image))
        return logits

    def _doubled(self, image: Tensor) -> Tensor:
        return interpolate(image, scale_factor=2.0, mode=self.mode, align_corners=False)
