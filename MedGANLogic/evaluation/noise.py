"""How a CT's noise is spread over spatial frequencies: what makes a texture look natural or painted.

Voxels are (I, J, K) in HU, with K across the axial slices; no torch. Patches are chosen once, on the reference, and
every image is measured in the same ones, so that spectra differ by the images and not by the place.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from MedGANLogic.domain import Array
from MedGANLogic.evaluation.metrics import SOFT_TISSUE, Mask, Undefined

#: A patch is 4×4 blocks of about this length. [assumed] Frequencies are then 0.04 per mm apart, and a chest or a thigh
#: still holds some patches.
BLOCK_MM = 6.0
_BLOCKS = 4

#: [assumed] Blocks' means may vary by this much (SD about a second-order surface) in a patch that counts as flat.
FLAT_HU = 5.0

#: [assumed] With fewer patches a spectrum is too uncertain to compare: each frequency's power has an error of about
#: 1/√(patches · modes), which is 13 % for 8 patches and the eight modes of the lowest frequency.
FEWEST = 8


@dataclass(frozen=True)
class Patches:
    """Where noise is measured: the first voxel (i, j, k) of every patch, its ``shape`` and spacing along I and J."""

    corners: NDArray[np.int64]
    shape: tuple[int, int]
    spacing_mm: tuple[float, float]

    @property
    def voxels(self) -> int:
        """How many voxels all of them have; they do not overlap."""
        return len(self.corners) * self.shape[0] * self.shape[1]

    def of(self, image: Array) -> NDArray[np.float64]:
        """Return an image's values in them, (n, *shape)."""
        rows, columns, slices = self.corners.T[:, :, None, None]
        i, j = np.arange(self.shape[0])[:, None], np.arange(self.shape[1])
        return np.asarray(image[rows + i, columns + j, slices], np.float64)


@dataclass(frozen=True)
class NoisePower:
    """A noise-power spectrum: its radial mean at frequencies up to the Nyquist frequency, and the noise's SD.

    ``deviation_hu`` is the root of the whole two-dimensional integral, the square's corners beyond the Nyquist circle
    included.
    """

    frequency_per_mm: NDArray[np.float64]
    power_hu2_mm2: NDArray[np.float64]
    deviation_hu: float

    def mean_frequency_per_mm(self) -> float:
        """Return the radial spectrum's centre, Σ f·P / Σ P: low for blotches, high for grain. AAPM report 233 [paper?].

        Raises Undefined where there is no noise.
        """
        _refuse_no_noise(self)
        return float((self.frequency_per_mm * self.power_hu2_mm2).sum() / self.power_hu2_mm2.sum())


def flat_patches(reference_hu: Array, mask: Mask, spacing_mm: tuple[float, float, float]) -> Patches:
    """Find flat soft tissue: squares of 24 mm in axial slices, inside the mask, that do not overlap.

    Of a square's 16 blocks of 6 mm every mean must be soft tissue, and together they must be flat: within ``FLAT_HU``
    (SD) of a second-order surface. Of those the flatter half is taken, but no fewer than ``FEWEST``. Raises Undefined
    for voxels of more than 4 mm and where there are fewer.
    """
    block = tuple(round(BLOCK_MM / spacing) for spacing in spacing_mm[:2])
    if min(block) < 2:
        raise Undefined(f"voxels of {max(spacing_mm[:2]):.3g} mm are too large: noise needs at most 4 mm in the slice")
    means = _blocks(reference_hu, block).mean((1, 3), dtype=np.float64)
    soft = SOFT_TISSUE.within(means, np.asarray(_blocks(mask, block).all((1, 3))))
    taken = np.zeros(means.shape, bool)
    corners = []
    for i, j, k in _flattest_first(means, soft):
        square = np.s_[i : i + _BLOCKS, j : j + _BLOCKS, k]
        if not taken[square].any():
            taken[square] = True
            corners.append((i * block[0], j * block[1], k))
    if len(corners) < FEWEST:
        raise Undefined(
            f"the reference has {len(corners)} flat patches of soft tissue ({_BLOCKS * BLOCK_MM:g} mm wide) in the "
            f"mask: at least {FEWEST} needed"
        )
    # Small vessels and fat between muscles look like noise of low frequency, which the noise of a CT has little of: in
    # one chest (5 mm slices) all patches had 410 HU²·mm² at 0.05 per mm, the flatter half 60; at 0.4 per mm 78 and 66.
    half = max(FEWEST, len(corners) // 2)
    return Patches(np.array(corners[:half]), (_BLOCKS * block[0], _BLOCKS * block[1]), spacing_mm[:2])


def noise_power(image_hu: Array, patches: Patches) -> NoisePower:
    """Return the noise-power spectrum of an image in the patches, in HU²·mm².

    Each patch loses its second-order surface; then the mean of the periodograms, and of that the mean over circles, up
    to the Nyquist frequency of the larger spacing. Source: ICRU report 87, eq. 11.1 [paper?: as pylinac quotes it].
    """
    residual = _without_surface(patches.of(image_hu))
    (rows, columns), (step_i, step_j) = patches.shape, patches.spacing_mm
    periodogram = np.square(np.abs(np.fft.fft2(residual))).mean(0) * step_i * step_j / (rows * columns)
    radius = np.hypot(np.fft.fftfreq(rows, step_i)[:, None], np.fft.fftfreq(columns, step_j))
    width = max(1 / (rows * step_i), 1 / (columns * step_j))
    last = int(1 / (2 * max(step_i, step_j)) / width + 1e-6)
    ring = np.rint(radius / width).astype(int).ravel()
    modes = np.bincount(ring)
    # The ring around frequency zero is the detrended mean: nothing.
    kept = slice(1, last + 1)
    return NoisePower(
        (np.bincount(ring, radius.ravel()) / modes)[kept],
        (np.bincount(ring, periodogram.ravel()) / modes)[kept],
        float(np.sqrt(np.square(residual).mean())),
    )


def noise_power_distance(found: NoisePower, reference: NoisePower) -> float:
    """Return Σ f·|P − P₀| / Σ f·P₀: 0 for equal spectra, 1 for an image without noise, more for one with too much.

    The factor f is a circle's length: the number is a share of the reference's variance. Raises Undefined where the
    reference has no noise.
    """
    _refuse_no_noise(reference)
    area = reference.frequency_per_mm
    apart = np.abs(found.power_hu2_mm2 - reference.power_hu2_mm2)
    return float((area * apart).sum() / (area * reference.power_hu2_mm2).sum())


def _refuse_no_noise(spectrum: NoisePower) -> None:
    if spectrum.deviation_hu < 1e-6:
        raise Undefined("the image has no noise")


def _blocks(values: Array, block: tuple[int, ...]) -> Array:
    """Return a view (I', i, J', j, K) of values (I, J, K) in blocks of i × j; what is left at the end is cut off."""
    rows, columns = (count // length for count, length in zip(values.shape, block, strict=False))
    cut = values[: rows * block[0], : columns * block[1]]
    return cut.reshape(rows, block[0], columns, block[1], values.shape[2])


def _flattest_first(means: Array, soft: Mask) -> NDArray[np.int64]:
    """Return the first block (i, j, k) of every square of blocks that is soft tissue and flat, the flattest first."""
    if min(means.shape[:2]) < _BLOCKS:
        return np.zeros((0, 3), np.int64)
    square = (_BLOCKS, _BLOCKS)
    all_soft = sliding_window_view(soft, square, axis=(0, 1)).all((-1, -2))
    residual = _without_surface(sliding_window_view(means, square, axis=(0, 1))[all_soft])
    variance = np.square(residual).sum((1, 2)) / (_BLOCKS**2 - _surfaces(square).shape[1])
    order = np.argsort(variance, kind="stable")
    return np.asarray(np.argwhere(all_soft)[order[variance[order] <= FLAT_HU**2]])


def _without_surface(patches: Array) -> NDArray[np.float64]:
    """Return patches (n, I, J) less the second-order surface that fits each best."""
    surfaces = _surfaces(patches.shape[1:])
    flat = patches.reshape(len(patches), len(surfaces))
    return np.asarray(flat - flat @ surfaces @ surfaces.T).reshape(patches.shape)


def _surfaces(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return orthonormal columns that span the surfaces 1, x, y, x², xy, y² over a patch."""
    x, y = np.meshgrid(*(np.linspace(-1, 1, count) for count in shape), indexing="ij")
    terms = np.stack([np.ones(shape), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    return np.asarray(np.linalg.qr(terms).Q)
