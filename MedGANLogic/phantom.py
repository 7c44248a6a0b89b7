"""A digital thigh: anatomy drawn from published measures, seen by MR and by CT on one grid, with its tissue map.

The anatomy is a function of the seed and of the physical place (RAS millimetres) alone, so every grid shows the same
thigh; noise belongs to the voxels. Provenance of each number: ``[paper]`` was read in the paper's abstract,
``[paper?]`` is quoted from memory or from another work's table and not checked against the paper, ``[assumed]`` has no
source. The same marks stand in ``TISSUES``.

Measures of the anatomy:

- thigh circumference 41 to 48 cm at the middle, slim adults [assumed], which the tumour adds to; of the muscle's
  volume extensors are 50 %, flexors 19, adductors 28, sartorius 3 [paper: 10.1007/s00421-010-1477-8], of the drawn
  part about 53, 24, 20, 3; towards the knee the hamstrings grow and the adductors shrink [paper: J-STAGE, rigaku
  21(3)]
- fat under the skin 7 to 15 mm: 10.4 +- 4.1 mm at the front [paper: ultrasound, 10.17987/jcsm-cr.v4i2.94]; skin 1.6 mm,
  deep fascia 0.9 mm, septa 0.3 mm in 1.4 to 2.2 mm of fat between muscle groups, wider near the surface [assumed]
- femur 26 to 29 mm wide: 26.5 mm in men, 25.6 mm in women [paper: Karakas and Harma 2008, Diagn Interv Radiol 14:29],
  to which the linea aspera adds; cortex 5 to 7.5 mm [paper?], thicker behind than in front [paper:
  10.1007/s00774-019-01079-9]; bowed forwards with a radius of 907 mm [paper: Jung et al. 2021, PubMed 33501569]
- femoral artery 5.5 to 7 mm and vein 7 to 9 mm wide, sciatic nerve 6 by 11 mm [assumed]
- sarcoma: deep, displaces the vessels instead of encasing them, at T1 as bright as muscle or slightly brighter, its
  necrosis darker [paper: MD Anderson, Soft-tissue sarcoma, pre-therapy imaging, 2003]; sizes [assumed]
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.images import Affine, Grid, Image

Reals = NDArray[np.float64]
Labels = NDArray[np.uint8]
#: Directions in the cross-section: unit complex numbers, real part lateral, imaginary part anterior.
Directions = NDArray[np.complex128]

#: T1-weighted spin echo at 1.5 T; usual for limbs [assumed].
REPETITION_TIME_MS = 500.0
ECHO_TIME_MS = 12.0

#: MR values are scaled so that fat has this mean; the noise of each quadrature channel follows from fat's SNR.
MR_FAT_LEVEL = 1000.0
MR_NOISE_SD = MR_FAT_LEVEL / 35
MR_BIAS_SHARE = 0.15
MR_BLUR_SD_MM = 0.45

#: A body kernel: point spread of about 1.6 mm full width at half maximum, noise with the grain of the same width.
CT_NOISE_SD_HU = 12.0
CT_BLUR_SD_MM = 0.7
CT_FLOOR_HU = -1000.0


@dataclass(frozen=True)
class Tissue:
    """What a tissue is: its label, CT number, relaxation times at 1.5 T, and protons that give signal (water = 1)."""

    label: int
    name: str
    hu: float
    t1_ms: float
    t2_ms: float
    proton_density: float
    source: str

    @property
    def mr_level(self) -> float:
        """MR value without noise, bias and blur; fat is at ``MR_FAT_LEVEL``."""
        return MR_FAT_LEVEL * _spin_echo(self.proton_density, self.t1_ms, self.t2_ms) / _spin_echo(*_FAT)


def _spin_echo(proton_density: float, t1_ms: float, t2_ms: float) -> float:
    """Return PD (1 - exp(-TR/T1)) exp(-TE/T2), the spin-echo signal for TE far below TR."""
    recovery = 1 - np.exp(-REPETITION_TIME_MS / t1_ms)
    return float(proton_density * recovery * np.exp(-ECHO_TIME_MS / t2_ms))


_FAT = (0.90, 288.0, 165.0)
_FAT_SOURCE = "HU within -123..-89 [paper: PubMed 37296765]; T1, T2 [paper?: Gold 2004, AJR 183:343]; PD [assumed]"
_MUSCLE = (50.0, 1008.0, 44.0, 0.80)
_MUSCLE_SOURCE = (
    "HU 49.2 +- 2.8 in lean thighs [paper: Goodpaster 2000, J Appl Physiol 89:104]; "
    "T1, T2 [paper?: Stanisz 2005, 10.1002/mrm.20605]; PD [assumed]"
)
_BLOOD_SOURCE = (
    "HU [paper?]; T1, T2 [paper?: Stanisz 2005, 10.1002/mrm.20605]; "
    "PD [assumed]: blood is 0.85, and flow takes most of it out of the slice between the two pulses"
)

#: Every tissue of the phantom. Columns: label, name, HU, T1 ms, T2 ms, proton density, source.
TISSUES = (
    Tissue(0, "air", -1000.0, 1000.0, 1.0, 0.0, "HU by definition; no protons"),
    Tissue(1, "skin", 30.0, 900.0, 30.0, 0.65, "all [assumed]"),
    Tissue(2, "subcutaneous fat", -105.0, _FAT[1], _FAT[2], _FAT[0], _FAT_SOURCE),
    Tissue(3, "intermuscular fat", -105.0, _FAT[1], _FAT[2], _FAT[0], _FAT_SOURCE),
    Tissue(4, "fascia", 60.0, 700.0, 8.0, 0.55, "all [assumed]: tendon-like, hardly any signal at this echo time"),
    Tissue(5, "quadriceps", *_MUSCLE, _MUSCLE_SOURCE),
    Tissue(6, "hamstrings", *_MUSCLE, _MUSCLE_SOURCE),
    Tissue(7, "adductors", *_MUSCLE, _MUSCLE_SOURCE),
    Tissue(8, "sartorius", *_MUSCLE, _MUSCLE_SOURCE),
    Tissue(
        9, "cortical bone", 1400.0, 200.0, 0.4, 0.20,
        "HU [paper?]; T2 of bound water, water 20 % of volume [paper: PMC3899101, 10.3389/fendo.2020.567417]; "
        "T1 [paper?: IT'IS tissue database]",
    ),
    Tissue(
        10, "yellow marrow", -75.0, 288.0, 165.0, 0.85,
        "HU, PD [assumed]; T1, T2 [paper?: Gold 2004, AJR 183:343]; red marrow would have 549 and 49 ms "
        "[paper?: de Bazelaire 2004, 10.1148/radiol.2303021331]",
    ),
    Tissue(11, "artery", 42.0, 1441.0, 290.0, 0.10, _BLOOD_SOURCE),
    Tissue(12, "vein", 42.0, 1441.0, 290.0, 0.40, _BLOOD_SOURCE),
    Tissue(
        13, "sciatic nerve", 25.0, 815.0, 77.0, 0.75,
        "T1, T2 of bovine optic nerve [paper?: Stanisz 2005, 10.1002/mrm.20605]; HU, PD [assumed]",
    ),
    Tissue(14, "tumour", 38.0, 1000.0, 75.0, 0.85, "all [assumed]: slightly brighter than muscle at T1"),
    Tissue(15, "necrosis", 18.0, 2000.0, 150.0, 0.92, "all [assumed]: fluid-like, darker than muscle at T1"),
)  # fmt: skip

LABEL_OF: Mapping[str, int] = {tissue.name: tissue.label for tissue in TISSUES}
MUSCLES = ("quadriceps", "hamstrings", "adductors", "sartorius")


@dataclass(frozen=True)
class Phantom:
    """One thigh on one grid: MR (no unit, float32), CT (HU, float32) and tissue labels (``LABEL_OF``, uint8)."""

    mr: Image
    ct: Image
    tissues: Image


def centred_grid(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Grid:
    """Return a grid with axes R, A, S whose middle is the middle of the thigh."""
    affine: Affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    affine.setflags(write=False)
    return Grid(shape, affine)


#: The spacing of the sarcoma cohort's PET/CT; holds the widest thigh that is drawn.
DEFAULT_GRID = centred_grid((180, 180, 40), (0.9766, 0.9766, 3.27))


def thigh(seed: int, grid: Grid = DEFAULT_GRID) -> Phantom:
    """Draw the thigh of a seed (0 or above) and image it on a grid; the same arguments give the same bytes.

    The middle of the thigh lies at the origin and its long axis within a few degrees of S; a seed is a right or a left
    thigh. Labels are those of the voxels' centres; MR and CT average four points of each voxel, are blurred by their
    point spread and carry their noise. Raises ValueError for a negative seed.
    """
    anatomy = _Anatomy.drawn(np.random.default_rng([seed, 0]))
    labels = anatomy.labels(_points(grid)).reshape(grid.shape)
    mr_of, ct_of = (np.array(row) for row in zip(*((t.mr_level, t.hu) for t in TISSUES), strict=True))
    mr, ct = np.zeros(grid.shape), np.zeros(grid.shape)
    for offset in _SUBVOXELS:
        part = anatomy.labels(_points(grid, offset)).reshape(grid.shape)
        mr += mr_of[part] / len(_SUBVOXELS)
        ct += ct_of[part] / len(_SUBVOXELS)
    _add_texture(anatomy, grid, labels, mr, ct)
    notes = f"synthetic: digital thigh phantom, seed {seed}"

    def image(voxels: NDArray[np.float32] | Labels, unit: str, modality: str) -> Image:
        return Image(voxels[None], grid.affine, unit, {"modality": modality, "body part": "THIGH", "notes": notes})

    return Phantom(
        image(_mr_scan(mr, anatomy, grid, np.random.default_rng([seed, 1])), "none", "MR"),
        image(_ct_scan(ct, grid, np.random.default_rng([seed, 2])), "HU", "CT"),
        image(labels, "label", "SEG"),
    )


# --- imaging --------------------------------------------------------------------------------------------------------

#: Four points of a voxel, in voxels from its centre: along each axis they lie at four different eighths.
_SUBVOXELS = ((-0.375, -0.125, 0.125), (-0.125, 0.375, -0.375), (0.125, -0.375, 0.375), (0.375, 0.125, -0.125))


def _points(grid: Grid, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Reals:
    """Return (3, N) RAS millimetres of a point in every voxel, in the voxels' C order."""
    indices = np.indices(grid.shape, dtype=np.float64).reshape(3, -1) + np.array(offset)[:, None]
    points: Reals = grid.affine[:3, :3] @ indices + grid.affine[:3, 3:]
    return points


def _add_texture(anatomy: "_Anatomy", grid: Grid, labels: Labels, mr: Reals, ct: Reals) -> None:
    """Add, in place and alike in MR and CT, fat streaks in muscle, fibres in fat, and the patchiness of tumour."""
    points = _points(grid).reshape(3, *grid.shape)
    by_name = {tissue.name: tissue for tissue in TISSUES}

    def mix(where: NDArray[np.bool_], share: Reals, host: str, guest: str) -> None:
        mr[where] += share * (by_name[guest].mr_level - by_name[host].mr_level)
        ct[where] += share * (by_name[guest].hu - by_name[host].hu)

    muscle = np.isin(labels, [LABEL_OF[name] for name in MUSCLES])
    mix(muscle, 0.45 * anatomy.strands(points[:, muscle], width=0.25), "quadriceps", "subcutaneous fat")
    fat = labels == LABEL_OF["subcutaneous fat"]
    mix(fat, 0.30 * anatomy.strands(points[:, fat], width=0.15), "subcutaneous fat", "fascia")
    tumour = labels == LABEL_OF["tumour"]
    mix(tumour, 0.30 * np.clip(anatomy.patches(points[:, tumour]), -1, 1), "tumour", "necrosis")


def _mr_scan(signal: Reals, anatomy: "_Anatomy", grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """Blur, shade and add Rician noise: the magnitude of a signal with Gaussian noise in both of its channels."""
    bias = 1 + MR_BIAS_SHARE * anatomy.bias(_points(grid)).reshape(grid.shape)
    real = _blurred(signal, grid, MR_BLUR_SD_MM) * bias + rng.normal(0, MR_NOISE_SD, grid.shape)
    imaginary = rng.normal(0, MR_NOISE_SD, grid.shape)
    return np.asarray(np.hypot(real, imaginary), np.float32)


def _ct_scan(hu: Reals, grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """Blur, add Gaussian noise with the grain of the kernel, and cut off below ``CT_FLOOR_HU`` as scanners do."""
    noise = _blurred(rng.normal(size=grid.shape), grid, CT_BLUR_SD_MM)
    # The blur takes noise away by a known factor: what it leaves has the variance of its squared weights.
    left = np.prod([np.sqrt((_kernel(s, CT_BLUR_SD_MM) ** 2).sum()) for s in grid.spacing_mm])
    scan = _blurred(hu, grid, CT_BLUR_SD_MM) + noise * (CT_NOISE_SD_HU / left)
    return np.asarray(np.maximum(scan, CT_FLOOR_HU), np.float32)


def _kernel(spacing_mm: float, sd_mm: float) -> Reals:
    reach = int(np.ceil(3 * sd_mm / spacing_mm))
    weights = np.exp(-((np.arange(-reach, reach + 1) * spacing_mm / sd_mm) ** 2) / 2)
    return np.asarray(weights / weights.sum())


def _blurred(volume: Reals, grid: Grid, sd_mm: float) -> Reals:
    """Return the volume under a Gaussian that is as wide in millimetres along every axis; edges are repeated."""
    for axis, spacing in enumerate(grid.spacing_mm):
        weights = _kernel(spacing, sd_mm)
        reach = len(weights) // 2
        padded = np.pad(volume, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="edge")
        windows = (np.take(padded, range(n, n + volume.shape[axis]), axis) for n in range(len(weights)))
        volume = np.sum([w * window for w, window in zip(weights, windows, strict=True)], axis=0)
    return volume


# --- anatomy --------------------------------------------------------------------------------------------------------


class _Waves(NamedTuple):
    """A smooth random field: a sum of sine waves in space, mean 0."""

    amplitudes: Reals
    numbers: Reals  # (waves, 3), radians a millimetre
    phases: Reals

    @staticmethod
    def drawn(rng: np.random.Generator, count: int, lengths_mm: tuple[float, float], stretch: float = 1.0) -> "_Waves":
        """Draw waves of unit variance in all directions; ``stretch`` makes them longer along the limb."""
        directions = rng.normal(size=(count, 3)) / [1.0, 1.0, stretch]
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        numbers = directions * (2 * np.pi / rng.uniform(*lengths_mm, size=(count, 1)))
        return _Waves(np.full(count, np.sqrt(2 / count)), numbers, rng.uniform(0, 2 * np.pi, count))

    def __call__(self, points: Reals) -> Reals:
        """Return the field at (3, N) points in mm."""
        total = np.zeros(points.shape[1])
        for amplitude, number, phase in zip(*self, strict=True):
            total += amplitude * np.sin(number @ points + phase)
        return total


class _Outline(NamedTuple):
    """A closed smooth curve around a centre: shares of the mean radius as Fourier modes of the angle."""

    cosines: Reals
    sines: Reals

    @staticmethod
    def drawn(rng: np.random.Generator, sizes: tuple[float, ...]) -> "_Outline":
        """Draw modes 1, 2, ... with the given standard deviations, none beyond 1.5 of them."""
        size = np.array(sizes)
        return _Outline(*(np.clip(rng.normal(0, 1, (2, len(sizes))), -1.5, 1.5) * size))

    def __call__(self, direction: Directions) -> Reals:
        """Return the radius as a share of its mean, in each direction."""
        share = np.ones(direction.shape)
        power = np.ones_like(direction)
        for cosine, sine in zip(self.cosines, self.sines, strict=True):
            power = power * direction
            share += cosine * power.real + sine * power.imag
        return share


class _Muscle(NamedTuple):
    """A muscle in the cross-section: its middle line and how far it reaches beyond its rivals.

    All in shares of the deep fascia's radius, first coordinate lateral, second anterior; ``growth`` is what the reach
    gains per 100 mm towards the hip.
    """

    group: str
    line: tuple[tuple[float, float], ...]
    reach: float
    growth: float


#: A right thigh at mid-length as seen in any atlas of sections; places and reaches [assumed], tuned to bring
#: the groups near the published shares of the muscle.
_MUSCLES = (
    _Muscle("quadriceps", ((-0.10, 0.77), (0.22, 0.77)), 0.09, 0.03),  # rectus femoris
    _Muscle("quadriceps", ((0.50, 0.62), (0.74, 0.34), (0.78, 0.02), (0.66, -0.20)), 0.10, 0.01),  # vastus lateralis
    _Muscle("quadriceps", ((-0.12, 0.38), (0.10, 0.50), (0.36, 0.42), (0.45, 0.10)), 0.04, 0.0),  # vastus intermedius
    _Muscle("quadriceps", ((-0.48, 0.58), (-0.30, 0.26)), 0.09, -0.08),  # vastus medialis
    _Muscle("sartorius", ((-0.74, 0.44), (-0.84, 0.24)), -0.07, 0.0),
    _Muscle("adductors", ((-0.88, -0.10), (-0.87, -0.26)), 0.0, 0.0),  # gracilis
    _Muscle("adductors", ((-0.56, -0.02), (-0.16, -0.10), (-0.10, -0.22), (-0.52, -0.28)), 0.07, 0.07),  # add. magnus
    _Muscle("hamstrings", ((-0.64, -0.56), (-0.42, -0.60)), -0.03, -0.06),  # semimembranosus
    _Muscle("hamstrings", ((-0.28, -0.82), (-0.12, -0.80)), 0.00, 0.03),  # semitendinosus
    _Muscle("hamstrings", ((0.18, -0.74), (0.40, -0.64)), 0.03, -0.01),  # biceps femoris, long head
    _Muscle("hamstrings", ((0.24, -0.26), (0.34, -0.36)), -0.04, -0.06),  # biceps femoris, short head
)


class _Cord(NamedTuple):
    """A vessel or nerve along the limb: place as in ``_Muscle``, half-axes and the fat around it in mm."""

    tissue: str
    place: tuple[float, float]
    drift: tuple[float, float]  # of the place, per 100 mm towards the hip
    half_axes_mm: tuple[float, float]
    fat_mm: float

    def distance_mm(self, place: Reals, z: Reals, radius: Reals) -> Reals:
        """Return about how far each point lies outside of it, negative inside; ``place`` as in ``_Muscle``."""
        drift = np.array(self.drift)[:, None] * np.clip(z / 100, -1.5, 1.5)
        offset = (place - np.array(self.place)[:, None] - drift) * radius
        scaled: Reals = np.hypot(*(offset / np.array(self.half_axes_mm)[:, None]))
        return (scaled - 1) * min(self.half_axes_mm)


def _drawn_cords(rng: np.random.Generator) -> tuple[_Cord, ...]:
    artery, vein, nerve = rng.uniform(2.75, 3.5), rng.uniform(3.5, 4.5), rng.uniform(0.9, 1.1)
    return (
        _Cord("artery", (-0.50, 0.16), (0.04, 0.14), (artery, artery), 0.8),
        _Cord("vein", (-0.42, 0.06), (0.05, 0.12), (vein, 0.8 * vein), 0.8),
        _Cord("artery", (0.02, -0.20), (-0.06, 0.03), (1.5, 1.5), 0.5),  # deep femoral
        _Cord("vein", (-0.04, -0.22), (-0.06, 0.03), (1.9, 1.6), 0.5),
        _Cord("vein", (-1.03, 0.30), (0.06, 0.12), (1.9, 1.6), 0.0),  # great saphenous, in the fat under the skin
        _Cord("sciatic nerve", (0.04, -0.45), (0.0, 0.0), (5.5 * nerve, 3.0 * nerve), 0.9),
    )


_SKIN_MM = 1.6
_FASCIA_MM = 0.9
_SEPTUM_MM = 0.3
_FEMUR_PLACE = (0.12, 0.13)
_BOW_RADIUS_MM = 907.0
#: What the tumour's rim was before it grew, as a share of its radius: it pushed the rest aside.
_TUMOUR_ROOT = 0.3
#: No thigh that can be drawn reaches further from its axis.
_REACH_MM = 100.0
#: Points that are worked on at a time: bounds what the drawing needs beyond the points themselves.
_BATCH = 1 << 19


@dataclass(frozen=True)
class _Anatomy:
    """One person's thigh; lengths in mm unless said otherwise."""

    lateral: float  # +1: a right thigh, lateral is R; -1: a left one
    tilt: tuple[float, float]
    muscle_radius_mm: float
    taper: float
    muscle_outline: _Outline
    fat_mm: float
    fat_outline: _Outline
    warps: tuple[_Waves, _Waves]
    half_gap_mm: float
    cords: tuple[_Cord, ...]
    femur_radius_mm: float
    femur_outline: _Outline
    cortex_mm: float
    canal_outline: _Outline
    tumour_place: tuple[float, float, float]
    tumour_half_axes_mm: tuple[float, float, float]
    tumour_surface: _Waves
    necrosis_share: float
    strand_sheets: _Waves
    strand_density: _Waves
    strand_threshold: float
    patches: _Waves
    bias_directions: Reals

    @staticmethod
    def drawn(rng: np.random.Generator) -> "_Anatomy":
        """Draw a person within the ranges that the module's head names."""
        fat_mm = rng.uniform(7, 15)
        muscle_radius = rng.uniform(410, 480) / (2 * np.pi) - fat_mm - _SKIN_MM - _FASCIA_MM
        # Sites of deep sarcomas: the lateral and anterior extensors, the flexors, the adductors; never over the femur.
        site = rng.choice([0.1, 1.0, 2.4, 3.7, 4.5]) + rng.uniform(-0.2, 0.2)
        across = muscle_radius * rng.uniform(0.25, 0.36)
        bias = rng.normal(size=(3, 3))
        return _Anatomy(
            lateral=float(rng.choice([-1.0, 1.0])),
            tilt=(rng.uniform(-0.05, 0.05), rng.uniform(-0.03, 0.03)),
            muscle_radius_mm=muscle_radius,
            taper=rng.uniform(0.04, 0.09),
            muscle_outline=_Outline.drawn(rng, (0.010, 0.035, 0.014, 0.007, 0.004)),
            fat_mm=fat_mm,
            fat_outline=_Outline.drawn(rng, (0.10, 0.10, 0.04)),
            warps=(_Waves.drawn(rng, 6, (40, 110), 4.0), _Waves.drawn(rng, 6, (40, 110), 4.0)),
            half_gap_mm=rng.uniform(0.7, 1.1),
            cords=_drawn_cords(rng),
            femur_radius_mm=rng.uniform(13.0, 14.5),
            femur_outline=_Outline.drawn(rng, (0.0, 0.025, 0.012, 0.008)),
            cortex_mm=rng.uniform(5.2, 7.2),
            canal_outline=_Outline.drawn(rng, (0.03, 0.05, 0.02, 0.01)),
            tumour_place=(0.62 * np.cos(site), 0.62 * np.sin(site), rng.uniform(-15, 15)),
            tumour_half_axes_mm=(across, across * rng.uniform(0.8, 1.1), across * rng.uniform(1.2, 1.7)),
            tumour_surface=_Waves.drawn(rng, 10, (18, 45)),
            necrosis_share=rng.uniform(0.35, 0.6),
            strand_sheets=_Waves.drawn(rng, 12, (8, 24), 12.0),
            strand_density=_Waves.drawn(rng, 6, (18, 45), 4.0),
            strand_threshold=rng.uniform(-0.3, 0.6),
            patches=_Waves.drawn(rng, 12, (6, 20)),
            bias_directions=bias / np.linalg.norm(bias, axis=1, keepdims=True),
        )

    def bias(self, points: Reals) -> Reals:
        """Return the receive field's departure from 1, in [-1, 1], at (3, N) RAS points in mm.

        It is odd about the middle of the thigh, so that fat keeps its mean.
        """
        departure: Reals = np.sin(self.bias_directions @ points * (2 * np.pi / 360)).mean(axis=0)
        return departure

    def strands(self, points: Reals, width: float) -> Reals:
        """Return how far, 0 to 1, each of (3, N) RAS points lies in one of the thin sheets that run along the limb."""
        sheets = np.exp(-((self.strand_sheets(points) / width) ** 2))
        return sheets * np.clip(self.strand_density(points) - self.strand_threshold, 0, 1)

    def labels(self, points: Reals) -> Labels:
        """Return the label at each of (3, N) RAS points in mm."""
        batches = [self._labels(points[:, n : n + _BATCH]) for n in range(0, points.shape[1], _BATCH)]
        return np.concatenate(batches)

    def _labels(self, points: Reals) -> Labels:
        right, anterior, z = points
        u = self.lateral * right - self.tilt[0] * z
        v = anterior - self.tilt[1] * z
        labels = np.full(points.shape[1], LABEL_OF["air"], np.uint8)
        near = np.hypot(u, v) < _REACH_MM
        labels[near] = self._limb_labels(u[near], v[near], z[near])
        return labels

    def _limb_labels(self, u: Reals, v: Reals, z: Reals) -> Labels:
        tumour_distance, soft_u, soft_v, soft_z = self._before_tumour(u, v, z)
        direction, distance = _polar(soft_u, soft_v)
        radius = self._muscle_radius(direction, soft_z)
        depth = radius - distance
        fat_edge = -_FASCIA_MM - self._fat_thickness(direction)
        labels = np.full(u.shape, LABEL_OF["air"], np.uint8)
        labels[depth > fat_edge - _SKIN_MM] = LABEL_OF["skin"]
        labels[depth > fat_edge] = LABEL_OF["subcutaneous fat"]
        labels[depth > -_FASCIA_MM] = LABEL_OF["fascia"]

        body = np.flatnonzero(labels)
        place = self._place(soft_u[body], soft_v[body], soft_z[body], radius[body])
        off_cords = np.stack([cord.distance_mm(place, soft_z[body], radius[body]) for cord in self.cords])
        inside = depth[body] > 0
        deep = body[inside]
        labels[deep] = self._muscle_labels(
            place[:, inside], soft_z[deep], radius[deep], depth[deep], off_cords[:, inside]
        )
        for cord, off in zip(self.cords, off_cords, strict=True):
            labels[body[off < 0]] = LABEL_OF[cord.tissue]
        self._lay_tumour(labels, tumour_distance, np.stack([u, v, z]))
        self._lay_femur(labels, u, v, z)
        return labels

    def _before_tumour(self, u: Reals, v: Reals, z: Reals) -> tuple[Reals, Reals, Reals, Reals]:
        """Return the distance from the tumour's middle (1 at its rim) and where each point was before it grew.

        Tissue is displaced, not compressed: a shell keeps its volume, so distances q obey q0^3 = q^3 - 1 + root^3.
        """
        centre_u, centre_v = (share * self.muscle_radius_mm for share in self.tumour_place[:2])
        away = np.stack([u - centre_u, v - centre_v, z - self.tumour_place[2]])
        ellipsoid = away / np.array(self.tumour_half_axes_mm)[:, None]
        q = np.linalg.norm(ellipsoid, axis=0)
        near = np.flatnonzero(q < 2)
        # The lobes fade with the distance, so that the far skin does not copy them.
        lobes = 0.09 * self.tumour_surface(np.stack([u[near], v[near], z[near]]))
        q[near] /= 1 + lobes * np.clip(2 - q[near], 0, 1)
        before = np.cbrt(np.maximum(q**3 - 1, 0) + _TUMOUR_ROOT**3)
        away *= np.minimum(before / np.maximum(q, 1e-9), 1)
        return q, centre_u + away[0], centre_v + away[1], self.tumour_place[2] + away[2]

    def _muscle_radius(self, direction: Directions, z: Reals) -> Reals:
        """Return the deep fascia's radius in mm; the limb widens towards the hip, and no further than it may."""
        return self.muscle_radius_mm * (1 + self.taper * np.tanh(z / 70)) * self.muscle_outline(direction)

    def _fat_thickness(self, direction: Directions) -> Reals:
        # Thickest behind on the medial side, thinnest in front on the lateral side [assumed].
        tilt: Reals = 1 - 0.25 * (0.73 * direction.real + 0.69 * direction.imag)
        return self.fat_mm * self.fat_outline(direction) * tilt

    def _place(self, u: Reals, v: Reals, z: Reals, radius: Reals) -> Reals:
        """Return where points lie in shares of the deep fascia's radius, as ``_Muscle`` counts; warped a little."""
        points = np.stack([u, v, z])
        return np.stack([u + 1.3 * self.warps[0](points), v + 1.3 * self.warps[1](points)]) / radius

    def _muscle_labels(self, place: Reals, z: Reals, radius: Reals, depth: Reals, off_cords: Reals) -> Labels:
        """Give each point to the muscle whose middle line is nearest, and what lies between two muscles to fat.

        Distances to lines make a Voronoi diagram; the soft minimum over all rivals rounds its corners, as fat does.
        """
        hipwards = np.clip(z / 100, -1.5, 1.5)
        distances = np.stack([_distance(place, m.line) - m.reach - m.growth * hipwards for m in _MUSCLES]) * radius
        owner = np.argmin(distances, axis=0)
        groups = np.array([LABEL_OF[m.group] for m in _MUSCLES], np.uint8)
        apart = groups[owner][None] != groups[:, None]
        margins = (distances - np.take_along_axis(distances, owner[None], 0)) / 2
        margins[owner, np.arange(owner.size)] = np.inf
        # Between groups the gap opens towards the surface; between muscles of one group it stays a thin line.
        half_gap = self.half_gap_mm * (1 + 1.2 * np.exp(-depth / 6))
        clearance = margins - np.where(apart, half_gap[None], 0.35 * self.half_gap_mm)
        softness = 0.7
        rivals = np.exp(-np.minimum(clearance, 60) / softness).sum(axis=0) + np.exp(-(depth - 0.2) / softness)
        for cord, off in zip(self.cords, off_cords, strict=True):
            rivals += np.exp(-(off - cord.fat_mm) / (2 * softness))
        labels = np.where(rivals > 1, LABEL_OF["intermuscular fat"], groups[owner])
        septum = np.where(apart, margins, np.inf).min(axis=0) < _SEPTUM_MM / 2
        labels[septum] = LABEL_OF["fascia"]
        return labels.astype(np.uint8)

    def _lay_tumour(self, labels: Labels, distance: Reals, points: Reals) -> None:
        tumour = np.flatnonzero(distance < 1)
        core = self.necrosis_share * (1 + 0.25 * self.patches(points[:, tumour] / 2))
        labels[tumour] = np.where(distance[tumour] < core, LABEL_OF["necrosis"], LABEL_OF["tumour"])

    def _lay_femur(self, labels: Labels, u: Reals, v: Reals, z: Reals) -> None:
        """Lay the femur over all: bone does not give way to the tumour."""
        from_axis_u = u - _FEMUR_PLACE[0] * self.muscle_radius_mm
        # Bowed forwards: its middle lies in front of its ends.
        from_axis_v = v - _FEMUR_PLACE[1] * self.muscle_radius_mm + z**2 / (2 * _BOW_RADIUS_MM)
        near = np.flatnonzero(np.hypot(from_axis_u, from_axis_v) < 2 * self.femur_radius_mm)
        direction, distance = _polar(from_axis_u[near], from_axis_v[near])
        behind = -direction.imag
        ridge = 2.5 * np.exp((behind - 1) / 0.05)  # linea aspera
        outer = self.femur_radius_mm * self.femur_outline(direction)
        inner = (self.femur_radius_mm - self.cortex_mm) * self.canal_outline(direction) - 0.6 * behind
        labels[near[distance < outer + ridge]] = LABEL_OF["cortical bone"]
        labels[near[distance < inner]] = LABEL_OF["yellow marrow"]


def _polar(u: Reals, v: Reals) -> tuple[Directions, Reals]:
    """Return direction and distance from the axis; the axis itself lies lateral of itself."""
    distance: Reals = np.hypot(u, v)
    direction: Directions = np.ones(u.shape, np.complex128)
    np.divide(u + 1j * v, distance, out=direction, where=distance > 0)
    return direction, distance


def _distance(points: Reals, line: tuple[tuple[float, float], ...]) -> Reals:
    """Return the distance of (2, N) points from a chain of straight pieces."""
    nearest = np.full(points.shape[1], np.inf)
    for (start_x, start_y), (end_x, end_y) in itertools.pairwise(line):
        step_x, step_y = end_x - start_x, end_y - start_y
        x, y = points[0] - start_x, points[1] - start_y
        along = np.clip((x * step_x + y * step_y) / (step_x**2 + step_y**2), 0, 1)
        np.minimum(nearest, (x - along * step_x) ** 2 + (y - along * step_y) ** 2, out=nearest)
    distance: Reals = np.sqrt(nearest)
    return distance
