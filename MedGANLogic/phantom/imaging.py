"""How a drawn body is seen by MR, by CT and by PET on one grid: shared by all anatomies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.errors import MedGANError
from MedGANLogic.images import Affine, Grid, Image
from MedGANLogic.phantom.shapes import Labels, Reals
from MedGANLogic.phantom.tissues import MR_FAT_LEVEL, Tissue

#: The noise of each of MR's quadrature channels follows from fat's signal-to-noise ratio.
MR_NOISE_SD = MR_FAT_LEVEL / 35
MR_BIAS_SHARE = 0.15
MR_BLUR_SD_MM = 0.45

#: A soft kernel: point spread of about 1.6 mm full width at half maximum, noise with the grain of the same width.
CT_BLUR_SD_MM = 0.7
#: Standard deviations of a body's and of a head's noise; heads are scanned at a higher dose [assumed].
BODY_NOISE_HU = 12.0
HEAD_NOISE_HU = 4.0
CT_FLOOR_HU = -1000.0

#: Time of flight, two iterations, a filter of 4 mm [paper: bio-protocol r8756285, which estimates 5.4 mm].
PET_BLUR_FWHM_MM = 5.4
PET_BLUR_SD_MM = PET_BLUR_FWHM_MM / (2 * np.sqrt(2 * np.log(2)))
#: Iterative reconstruction makes noise in proportion to the mean [paper?: Barrett, Wilson and Tsui 1994, Phys Med Biol
#: 39:833]; how much of it [assumed].
PET_NOISE_SHARE = 0.06


class ReceiveField(NamedTuple):
    """How an MR coil's sensitivity departs from its mean."""

    directions: Reals

    @staticmethod
    def drawn(rng: np.random.Generator) -> "ReceiveField":
        """Draw three directions in which it varies."""
        directions = rng.normal(size=(3, 3))
        return ReceiveField(directions / np.linalg.norm(directions, axis=1, keepdims=True))

    def __call__(self, points: Reals) -> Reals:
        """Return the departure, in [-1, 1], at (3, N) RAS points in mm; odd about the origin, so that means stay."""
        departure: Reals = np.sin(self.directions @ points * (2 * np.pi / 360)).mean(axis=0)
        return departure


class Mixture(NamedTuple):
    """Where a tissue is not pure: the points, and how much of the host (0 to 1) the guest takes the place of."""

    where: NDArray[np.bool_]
    share: Reals
    host: Tissue
    guest: Tissue


class Anatomy(Protocol):
    """A body to be imaged; points are (3, N) RAS millimetres."""

    @property
    def part(self) -> str:
        """The DICOM code of the body part."""

    @property
    def ct_noise_hu(self) -> float:
        """The standard deviation of the noise that CT of such a part has."""

    @property
    def tissues(self) -> Sequence[Tissue]:
        """The table of tissues; a label is an index of it."""

    @property
    def receive_field(self) -> ReceiveField:
        """The MR coil's."""

    def labels(self, points: Reals) -> Labels:
        """Return the label at each point."""

    def mixtures(self, points: Reals, labels: Labels) -> Iterator[Mixture]:
        """Yield the texture within tissues."""


@dataclass(frozen=True)
class Phantom:
    """One body on one grid.

    MR (no unit), CT (HU) and FDG PET (SUV) are float32; tissues are labels, uint8, indices of ``table``.
    """

    mr: Image
    ct: Image
    pet: Image
    tissues: Image
    table: Sequence[Tissue]


def centred_grid(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Grid:
    """Return a grid with axes R, A, S whose middle is the origin, which is the middle of every phantom."""
    affine: Affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    affine.setflags(write=False)
    return Grid(shape, affine)


def stream(seed: int, number: int) -> np.random.Generator:
    """Return one of a seed's streams of chance: 0 draws the anatomy, the others noise.

    Raises MedGANError for a seed below 0.
    """
    if seed < 0:
        raise MedGANError(f"the seed is {seed}: expected 0 or above, not a negative number")
    return np.random.default_rng([seed, number])


def imaged(anatomy: Anatomy, grid: Grid, seed: int) -> Phantom:
    """Image a body on a grid; the same arguments give the same bytes.

    Labels are those of the voxels' centres; MR, CT and PET average four points of each voxel, are blurred by their
    point spread and carry their noise.
    """
    centres = points_of(grid)
    labels = _labels(anatomy, centres)
    columns = np.array([(tissue.mr_level, tissue.hu, tissue.suv) for tissue in anatomy.tissues]).T
    means = np.zeros((3, labels.size))
    for offset in _SUBVOXELS:
        means += columns[:, _labels(anatomy, points_of(grid, offset))] / len(_SUBVOXELS)
    for where, share, host, guest in anatomy.mixtures(centres, labels):
        means[:, where] += share * (columns[:, [guest.label]] - columns[:, [host.label]])
    mr, ct, pet = means.reshape(3, *grid.shape)
    notes = f"synthetic: digital {anatomy.part.lower()} phantom, seed {seed}"

    def image(voxels: NDArray[np.float32] | Labels, unit: str, modality: str) -> Image:
        return Image(voxels[None], grid.affine, unit, {"modality": modality, "body part": anatomy.part, "notes": notes})

    return Phantom(
        image(_mr_scan(mr, anatomy.receive_field, grid, stream(seed, 1)), "none", "MR"),
        image(ct_scan(ct, grid, anatomy.ct_noise_hu, stream(seed, 2)), "HU", "CT"),
        image(_pet_scan(pet, grid, stream(seed, 3)), "SUV", "PT"),
        image(labels.reshape(grid.shape), "label", "SEG"),
        anatomy.tissues,
    )


_BATCH = 1 << 17

#: Four points of a voxel, in voxels from its centre: along each axis they lie at four different eighths.
_SUBVOXELS = ((-0.375, -0.125, 0.125), (-0.125, 0.375, -0.375), (0.125, -0.375, 0.375), (0.375, 0.125, -0.125))


def points_of(grid: Grid, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Reals:
    """Return (3, N) RAS millimetres of a point in every voxel, in the voxels' C order."""
    indices = np.indices(grid.shape, dtype=np.float64).reshape(3, -1) + np.array(offset)[:, None]
    points: Reals = grid.affine[:3, :3] @ indices + grid.affine[:3, 3:]
    return points


def _labels(anatomy: Anatomy, points: Reals) -> Labels:
    """Return the label at each point, worked on in batches: they bound what the drawing needs beyond the points."""
    starts = range(0, points.shape[1], _BATCH)
    return np.concatenate([anatomy.labels(points[:, start : start + _BATCH]) for start in starts])


def _mr_scan(signal: Reals, field: ReceiveField, grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """Blur, shade and add Rician noise: the magnitude of a signal with Gaussian noise in both of its channels."""
    bias = 1 + MR_BIAS_SHARE * field(points_of(grid)).reshape(grid.shape)
    real = blurred(signal, grid, MR_BLUR_SD_MM) * bias + rng.normal(0, MR_NOISE_SD, grid.shape)
    imaginary = rng.normal(0, MR_NOISE_SD, grid.shape)
    return np.asarray(np.hypot(real, imaginary), np.float32)


def ct_scan(hu: Reals, grid: Grid, noise_hu: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Blur, add Gaussian noise with the grain of the kernel, and cut off below ``CT_FLOOR_HU`` as scanners do."""
    scan = blurred(hu, grid, CT_BLUR_SD_MM) + _grain(grid, CT_BLUR_SD_MM, noise_hu, rng)
    return np.asarray(np.maximum(scan, CT_FLOOR_HU), np.float32)


def _pet_scan(suv: Reals, grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """Blur, and add noise with the grain of the point spread in proportion to what is seen."""
    noise = 1 + _grain(grid, PET_BLUR_SD_MM, PET_NOISE_SHARE, rng)
    return np.asarray(np.maximum(blurred(suv, grid, PET_BLUR_SD_MM) * noise, 0), np.float32)


def _grain(grid: Grid, blur_sd_mm: float, sd: float, rng: np.random.Generator) -> Reals:
    """Return Gaussian noise of a standard deviation whose grain is the point spread."""
    kernels = [_kernel(spacing, blur_sd_mm) for spacing in grid.spacing_mm]
    # Noise goes on beyond the grid: edges that are repeated would be louder.
    around = [len(kernel) // 2 for kernel in kernels]
    noise = blurred(rng.normal(size=np.array(grid.shape) + 2 * np.array(around)), grid, blur_sd_mm)
    noise = noise[tuple(slice(n, n + length) for n, length in zip(around, grid.shape, strict=True))]
    # The blur takes noise away by a known factor: what it leaves has the variance of its squared weights.
    left = np.prod([np.sqrt((kernel**2).sum()) for kernel in kernels])
    scaled: Reals = noise * (sd / left)
    return scaled


def _kernel(spacing_mm: float, sd_mm: float) -> Reals:
    reach = int(np.ceil(3 * sd_mm / spacing_mm))
    weights = np.exp(-((np.arange(-reach, reach + 1) * spacing_mm / sd_mm) ** 2) / 2)
    return np.asarray(weights / weights.sum())


def blurred(volume: Reals, grid: Grid, sd_mm: float) -> Reals:
    """Return the volume under a Gaussian that is as wide in millimetres along every axis; edges are repeated."""
    for axis, spacing in enumerate(grid.spacing_mm):
        weights = _kernel(spacing, sd_mm)
        reach = len(weights) // 2
        padded = np.pad(volume, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="edge")
        windows = np.moveaxis(np.lib.stride_tricks.sliding_window_view(padded, len(weights), axis), -1, 0)
        volume = np.zeros_like(volume)
        for weight, window in zip(weights, windows, strict=True):
            volume += weight * window
    return volume
