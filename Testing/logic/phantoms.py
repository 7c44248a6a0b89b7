"""What tests of phantoms ask of their voxels."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from MedGANLogic.images import Grid, Image
from MedGANLogic.phantom import Phantom, Tissue, centred_grid
from MedGANLogic.phantom.imaging import MR_NOISE_SD


def voxels_of(scan: Phantom, name: str, depth: int) -> NDArray[np.bool_]:
    """Voxels of a tissue whose neighbours in the slice, up to ``depth`` steps away, are of it as well."""
    mask = scan.tissues.voxels[0] == labels_of(scan, name)[0]
    for _ in range(depth):
        mask = np.logical_and.reduce([mask, *(np.roll(mask, step, axis) for axis in (0, 1) for step in (-1, 1))])
    return np.asarray(mask)


def labels_of(scan: Phantom, *names: str) -> list[int]:
    """The labels of tissues by their names."""
    return [next(tissue.label for tissue in scan.table if tissue.name == name) for name in names]


def around(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What touches a mask in its slice, corners included."""
    grown = np.zeros_like(mask)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            grown |= np.roll(mask, (i, j), (0, 1))
    touching: NDArray[np.bool_] = grown & ~mask
    return touching


def oblique(spacing_mm: tuple[float, float, float], shape: tuple[int, int, int], middle: list[float]) -> Grid:
    """A grid that is tilted by 12 degrees, turned by 25, and runs backwards along its first and last axis."""
    tilt, turn = math.radians(12), math.radians(25)
    about_x = np.array([[1, 0, 0], [0, math.cos(tilt), -math.sin(tilt)], [0, math.sin(tilt), math.cos(tilt)]])
    about_z = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(spacing_mm) @ np.diag([-1, 1, -1])
    affine[:3, 3] = np.array(middle) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Grid(shape, affine)


def mr_level(tissue: Tissue, fat: Tissue) -> float:
    """The spin echo's signal at 500 and 12 ms, where fat's is 1000; without protons the median of Rayleigh noise."""

    def signal(t: Tissue) -> float:
        return t.proton_density * (1 - math.exp(-500 / t.t1_ms)) * math.exp(-12 / t.t2_ms)

    level = 1000 * signal(tissue) / signal(fat)
    return level if level >= 1 else MR_NOISE_SD * math.sqrt(2 * math.log(2))


def assert_images_say_what_they_are(scan: Phantom, shape: tuple[int, int, int], part: str) -> None:
    """Grid, unit and facts of all four images, and a table whose labels are its indices."""
    said = {"none": (scan.mr, "MR"), "HU": (scan.ct, "CT"), "SUV": (scan.pet, "PT"), "label": (scan.tissues, "SEG")}
    for unit, (image, modality) in said.items():
        assert image.grid.shape == shape
        assert image.grid.matches(scan.ct.grid, tolerance_mm=0)
        assert (image.unit, image.facts["modality"], image.facts["body part"]) == (unit, modality, part)
        assert "synthetic" in image.facts["notes"]
    assert [tissue.label for tissue in scan.table] == list(range(len(scan.table)))


def assert_same_bytes(one: Phantom, other: Phantom) -> None:
    """All four images are equal to the last bit."""
    for name in ("mr", "ct", "pet", "tissues"):
        assert getattr(one, name).voxels.tobytes() == getattr(other, name).voxels.tobytes(), name


def agreement(seen: Image, reference: Image, labels: list[int]) -> float:
    """The share of another grid's voxels that have the label that the reference has there, of some labels."""
    expected = reference.on_grid(seen.grid, outside=255, nearest=True).voxels[0]
    wanted = np.isin(expected, labels)
    assert wanted.sum() > 500
    return float((seen.voxels[0] == expected)[wanted].mean())


SMALL = centred_grid((60, 72, 4), (3.0, 3.0, 5.0))

refuses_negative_seeds = pytest.raises(ValueError, match="negative")
