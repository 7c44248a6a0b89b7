"""A discriminator with a stream for the image and one for the label map."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from MedGANLogic.parts.dimensions import CONVOLUTION, initialise_unnormed
from MedGANLogic.parts.network import Network

#: LeakyReLU's, which is torch's own.
_SLOPE = 0.01


class TwoStreamDiscriminator(Network):
    """Score an image (B, image_channels, *size) and a label map of its centre (B, label_channels, *smaller).

    Image: c3-width/4 ×3, c3-width without padding s2; label map: c3-width ×2; both joined: c3-2·width s2, 4·width s2
    without padding, 8·width, and c3-1 without padding; LeakyReLU but after the last. One logit, (B, 1, 1, 1), for an
    image of 31² and labels of 15², where the image's stream has 15² too; width 64 (Li, Wang & Yu 2017,
    doi:10.1007/978-3-319-75238-9_11 [third-party code, less its ReLU on the logit and after 8·width]). For other sizes
    the image's stream is enlarged to the labels' grid, and there is a logit for every patch of it [assumed]. Raises
    RuntimeError for labels of fewer voxels.
    """

    def __init__(self, dimensions: int, image_channels: int, label_channels: int, width: int) -> None:
        super().__init__()
        narrow = -(-width // 4)
        self.image = nn.Sequential(
            *_leaky(dimensions, image_channels, narrow, padding=1),
            *_leaky(dimensions, narrow, narrow, padding=1),
            *_leaky(dimensions, narrow, narrow, padding=1),
            *_leaky(dimensions, narrow, width, stride=2),
        )
        self.labels = nn.Sequential(
            *_leaky(dimensions, label_channels, width, padding=1), *_leaky(dimensions, width, width, padding=1)
        )
        self.score = nn.Sequential(
            *_leaky(dimensions, 2 * width, 2 * width, stride=2),
            *_leaky(dimensions, 2 * width, 4 * width, stride=2),
            *_leaky(dimensions, 4 * width, 8 * width, padding=1),
            CONVOLUTION[dimensions](8 * width, 1, 3),
        )
        initialise_unnormed(self, slope=_SLOPE)

    def forward(self, image: Tensor, labels: Tensor) -> Tensor:
        seen = interpolate(self.image(image), size=labels.shape[2:], mode="nearest")
        logits: Tensor = self.score(torch.cat([seen, self.labels(labels)], dim=1))
        return logits


def _leaky(dimensions: int, inputs: int, outputs: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    return [CONVOLUTION[dimensions](inputs, outputs, 3, stride=stride, padding=padding), nn.LeakyReLU(_SLOPE)]
