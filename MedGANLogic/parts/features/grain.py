"""What is fine in an image: its noise and its edges, without what they lie on."""

from torch import Tensor

from MedGANLogic.parts.dimensions import AVERAGE_POOL

#: Edge of the box whose mean is coarse: what is much larger is no grain [assumed].
_BOX = 9


def grain(image: Tensor) -> Tensor:
    """Return (B, C, *size) less the mean of the means over boxes of 9 voxels along every axis (fewer at the border).

    Linear in the image; nothing is left of a constant, nor of a straight ramp away from the border.
    """
    return image - _smoothed(_smoothed(image))


def _smoothed(image: Tensor) -> Tensor:
    # Axis by axis: 9 + 9 + 9 sums instead of 9³.
    axes = image.dim() - 2
    for axis in range(axes):
        box = tuple(_BOX if axis == place else 1 for place in range(axes))
        reach = tuple(edge // 2 for edge in box)
        image = AVERAGE_POOL[axes](box, stride=1, padding=reach, count_include_pad=False)(image)  # type: ignore[arg-type]
    return image
