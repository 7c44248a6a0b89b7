"""How a network goes over a volume: which slices it is shown, as channels of which window. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from MedGANLogic.domain import Array

#: The voxel axis, in R, A, S order, along which a plane's slices are stacked.
PLANES: Mapping[str, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


def slices_first(voxels: Array, plane: str) -> Array:
    """View (I, J, K) voxels in R, A, S order with the slice axis of a plane in front."""
    return np.moveaxis(voxels, PLANES[plane], 0)


def slices_back(voxels: Array, plane: str) -> Array:
    """Undo ``slices_first``."""
    return np.moveaxis(voxels, 0, PLANES[plane])


@dataclass(frozen=True)
class Pass:
    """One network over the whole volume: the named volumes it reads, those it writes, and how windows are cut.

    ``dimensions`` is 2 or 3; with 2, ``neighbours`` slices on either side are read as further channels (2.5D where
    there are any), the first and last slice standing in for those beyond. A window's size is a multiple of
    ``multiple``.
    """

    network: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    dimensions: int
    neighbours: int
    multiple: int

    @property
    def offsets(self) -> tuple[int, ...]:
        """Slices that are read for one that is written, relative to it; in this order they are channels."""
        reach = self.neighbours if self.dimensions == 2 else 0
        return tuple(range(-reach, reach + 1))

    @property
    def channels(self) -> int:
        """Channels that the network reads."""
        return len(self.reads) * len(self.offsets)
