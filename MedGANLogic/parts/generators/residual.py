"""The residual translator of CycleGAN: shrink by four, think in residual blocks, grow again."""

from torch import Tensor, nn

from MedGANLogic.parts.dimensions import CONVOLUTION, INSTANCE_NORM, TRANSPOSED, initialise
from MedGANLogic.parts.network import Network


class _ResidualBlock(nn.Module):
    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        convolution, norm = CONVOLUTION[dimensions], INSTANCE_NORM[dimensions]
        self.body = nn.Sequential(
            convolution(width, width, 3, padding=1, padding_mode="reflect", bias=False),
            norm(width),
            nn.ReLU(),
            convolution(width, width, 3, padding=1, padding_mode="reflect", bias=False),
            norm(width),
        )

    def forward(self, image: Tensor) -> Tensor:
        changed: Tensor = image + self.body(image)
        return changed


class ResidualTranslator(Network):
    """Translate (B, in_channels, *size) in [-1, 1] to (B, out_channels, *size) in [-1, 1].

    size is a multiple of 4 and at least 8. c7-width, c3-2·width s2, c3-4·width s2, residual blocks of two c3-4·width,
    c3-2·width and c3-width s½, c7-out, tanh; instance norm without scale and shift and ReLU after all but the last,
    reflect padding; 9 blocks of width 64 for 256², 6 up to 128² (Zhu et al. 2017, arXiv:1703.10593, §7.2). The
    strided convolutions are padded with zeros, and instance norm is that of the whole image also in prediction [paper:
    released code]. What is normed has no bias: the norm would take it away again.
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, width: int, blocks: int) -> None:
        super().__init__()
        convolution, transposed = CONVOLUTION[dimensions], TRANSPOSED[dimensions]
        norm = INSTANCE_NORM[dimensions]
        layers: list[nn.Module] = [
            convolution(in_channels, width, 7, padding=3, padding_mode="reflect", bias=False),
            norm(width),
            nn.ReLU(),
        ]
        for narrow in (width, 2 * width):
            layers += [convolution(narrow, 2 * narrow, 3, stride=2, padding=1, bias=False), norm(2 * narrow), nn.ReLU()]
        layers += [_ResidualBlock(dimensions, 4 * width) for _ in range(blocks)]
        for wide in (4 * width, 2 * width):
            grown = transposed(wide, wide // 2, 3, stride=2, padding=1, output_padding=1, bias=False)
            layers += [grown, norm(wide // 2), nn.ReLU()]
        layers += [convolution(width, out_channels, 7, padding=3, padding_mode="reflect"), nn.Tanh()]
        self.translate = nn.Sequential(*layers)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        translated: Tensor = self.translate(image)
        return translated
