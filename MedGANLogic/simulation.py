"""What a poorer scanner would have given of a scan that there is: a CT with less dose, an image on a coarser grid."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from MedGANLogic import __version__
from MedGANLogic.catalogue import RESEARCH_USE
from MedGANLogic.check import ct_doubt
from MedGANLogic.degradation import Degraded
from MedGANLogic.domain import CT
from MedGANLogic.evaluation.metrics import Undefined
from MedGANLogic.evaluation.noise import NoisePower, Patches, flat_patches, noise_power
from MedGANLogic.images import Image, ImageError, Orientation, fingerprint, read, write
from MedGANLogic.inference.predict import Progress, silent
from MedGANLogic.inference.translate import Translation, refuse_place, write_all
from MedGANLogic.parts.operators.low_dose import Scanner
from MedGANLogic.parts.operators.projection import Kernel, Pixels
from MedGANLogic.passes import Volume, slices_back, slices_first

#: A share of the scan's dose, or the lowest and the highest between which every slice draws its own.
Dose = float | tuple[float, float]

# How many slices, once for every seed, are reconstructed at once: what is worked out for one of them serves all.
_AT_ONCE = 16
# A scan's noise is measured in so many slices.
_MEASURED = 8
# Rounding to whole numbers alone is 0.3 HU of noise; no scanner's image of a body has as little as this [assumed].
_LEAST_NOISE_HU = 1.0
_CUT_OFFS_PER_MM = np.arange(0.3, 3.0, 0.01)


@dataclass(frozen=True)
class Exposure:
    """Photons a ray at full dose, and the noise of the scan that they explain: its SD in HU, in so many patches."""

    photons: float
    scan_noise_hu: float | None = None
    patches: int = 0


def low_dose(
    image: Image,
    dose: Dose,
    seed: int,
    scanner: Scanner | None = None,
    photons: float | None = None,
    progress: Progress = silent,
) -> Translation:
    """Return a CT as if scanned with a share of its dose: ``low_doses`` for one seed."""
    return low_doses(image, dose, (seed,), scanner, photons, progress)[0]


def low_doses(
    image: Image,
    dose: Dose,
    seeds: Sequence[int],
    scanner: Scanner | None = None,
    photons: float | None = None,
    progress: Progress = silent,
) -> list[Translation]:
    """Return a CT as if scanned with a share of its dose, once for every seed: the same grid, HU, float32.

    ``dose`` is a share of the scan's own, above 0 and below 1, or two between which every axial slice draws its own,
    evenly in the logarithm. ``photons`` a ray leave the tube at full dose; without it, as many as explain the noise
    that the scan has (``exposure``). Noise is added to the voxels as they are; where the matrix is only filled up
    around what was scanned none is. A slice's noise follows from the seed and its number from the feet; how many
    slices and seeds there are changes the rounding of float32 at most. ``progress`` is told the slices done and may
    raise to cancel. Raises ImageError for what is no CT in HU, for NaN, for doses and photons that have no sense, and
    where ``exposure`` does.
    """
    began, scanner = time.monotonic(), scanner or Scanner()
    lowest, highest = dose if isinstance(dose, tuple) else (dose, dose)
    if not 0 < lowest <= highest < 1:
        raise ImageError(f"dose {_text(dose)}: expected a share of the scan's own, above 0 and below 1")
    if photons is not None and not 1 <= photons <= 1e15:
        raise ImageError(f"{photons:g} photons a ray: expected 1 to 1e15 (scanners have 100,000 to 1,000,000)")
    if not seeds or min(seeds) < 0:
        raise ImageError(f"seeds {list(seeds)}: expected one or more, 0 or above")
    hu, pixels = _axial(image)
    exposed = exposure(image, scanner) if photons is None else Exposure(float(photons))
    rngs = [[np.random.default_rng([seed, number]) for number in range(len(hu))] for seed in seeds]
    doses = [[lowest * (highest / lowest) ** rng.random() for rng in of_seed] for of_seed in rngs]
    scanned = ~_padding(hu, pixels)
    results = [hu.copy() for _ in seeds]
    for some, noise in _noise(hu, pixels, scanner, exposed.photons, doses, rngs):
        for result, of_seed in zip(results, noise, strict=True):
            result[some] += scanned * of_seed
        progress(some.stop, len(hu))
    said = {
        "synthetic": True,
        "use": RESEARCH_USE,
        "simulation": "low-dose CT",
        **asdict(exposed),
        **_account(scanner, pixels),
        "medgan": __version__,
        "torch": torch.__version__,
        "unit": image.unit,
        "shape": list(image.grid.shape),
        "spacing_mm": list(image.grid.spacing_mm),
        "affine_ras_mm": image.affine.tolist(),
        "seconds": round(time.monotonic() - began, 2),
    }
    notes = f"SYNTHETIC CT (HU) at {_text(dose)} of its dose by MedGAN, research use only"
    facts = {"modality": CT.modality, "notes": notes}
    undo = Orientation.nearest(image.affine).undo
    return [
        Translation(
            replace(image, voxels=undo(slices_back(result, "axial")[None]), facts=facts),
            {**said, "seed": seed, "dose": dose if lowest == highest else drawn},
        )
        for seed, result, drawn in zip(seeds, results, doses, strict=True)
    ]


def _noise(
    hu: Volume,
    pixels: Pixels,
    scanner: Scanner,
    photons: float,
    doses: Sequence[Sequence[float]],
    rngs: Sequence[Sequence[np.random.Generator]],
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Draw what slices (K, H, W) lack to be at each seed's doses: yield some of the slices and (seeds, some, H, W)."""
    beam = scanner.beam.around(pixels)
    at_once = math.ceil(len(hu) / math.ceil(len(hu) * len(doses) / _AT_ONCE))
    for start in range(0, len(hu), at_once):
        some = slice(start, min(start + at_once, len(hu)))
        slices = torch.from_numpy(hu[some])
        reached = scanner.transmission(slices, pixels, beam)
        missing = [
            scanner.missing_noise(one, photons, dose, rng)
            for dose_of, rng_of in zip(doses, rngs, strict=True)
            for one, dose, rng in zip(reached, dose_of[some], rng_of[some], strict=True)
        ]
        yield some, scanner.noise_hu(torch.stack(missing), pixels, beam).reshape(-1, *slices.shape).numpy()


def coarser(image: Image, way: Degraded) -> Translation:
    """Return an image as a scanner of less resolution would have given it: its unit, its box, axes as they were.

    ``way.by`` is along every axis, or [head–foot, left–right, front–back]. Raises ImageError for labels and for voxels
    that are not finite.
    """
    began = time.monotonic()
    if image.unit == "label" or not np.isfinite(image.voxels).all():
        raise ImageError(f"the image ({image.unit}) must have finite values that can be averaged, and be no label map")
    made = way.of_image(image, 3, "axial")
    if not made.voxels.size:
        raise ImageError(f"{'×'.join(map(str, image.grid.shape))} voxels are too few for any that is coarser")
    said = {
        "synthetic": True,
        "use": RESEARCH_USE,
        "simulation": "coarser grid",
        "way": way.to_json(),
        "medgan": __version__,
        "unit": made.unit,
        "shape": list(made.grid.shape),
        "spacing_mm": list(made.grid.spacing_mm),
        "affine_ras_mm": made.affine.tolist(),
        "seconds": round(time.monotonic() - began, 2),
    }
    notes = f"SYNTHETIC coarser image ({made.unit}) by MedGAN, research use only"
    return Translation(replace(made, facts={**image.facts, "notes": notes}), said)


def simulated_file(source: str, output: str, unit: str, simulate: Callable[[Image], Translation]) -> dict[str, Any]:
    """Simulate what a file or DICOM folder holds (``HU``, ``HU+1024``) into a file; return the provenance.

    It is also written beside the file, as JSON. Raises what ``read``, ``simulate`` and ``write`` raise.
    """
    place = Path(output)
    refuse_place(place, [Path(source)])
    result = simulate(read(source, unit))
    said = {"input": source, "input_sha256": fingerprint(Path(source))}
    return write_all({place: result}, said, lambda made, to: write(made.image, to))


def exposure(image: Image, scanner: Scanner) -> Exposure:
    """Find how many photons a ray explain the noise that a scan has in its soft tissue.

    Its SD is measured in flat patches of up to eight slices, and so is that of the scanner's quantum noise (variance Q
    for one photon) and electronic noise (E) behind the same slices. n photons explain a variance of V where
    Q/n + E/n² = V. Raises ImageError for what is no CT in HU, where there is too little flat soft tissue, and where it
    has less noise than any scanner's image: such an image is drawn, denoised or averaged, and says nothing of its dose.
    """
    hu, pixels, patches, spectrum = _measured(image)
    beam = scanner.beam.around(pixels)
    seen = scanner.transmission(torch.from_numpy(hu), pixels, beam)
    drawn = torch.randn((2, *seen.shape), generator=torch.Generator().manual_seed(0))
    each = torch.cat([drawn[0] / seen.sqrt(), scanner.electronic * drawn[1] / seen])
    quantum, electronic = (
        noise_power(noise.permute(1, 2, 0).numpy(), patches).deviation_hu ** 2
        for noise in scanner.noise_hu(each, pixels, beam).chunk(2)
    )
    wanted = spectrum.deviation_hu**2
    photons = (quantum + (quantum**2 + 4 * electronic * wanted) ** 0.5) / (2 * wanted)
    return Exposure(photons, spectrum.deviation_hu, len(patches.corners))


def kernel_of(image: Image) -> Kernel:
    """Find the kernel whose noise is as fine as a scan's own: of the same mean frequency.

    White noise in line integrals becomes a power of f · window² in the image (Riederer et al. 1978,
    doi:10.1088/0031-9155/23/3/008 [paper?]); the cut-off is sought from 0.3 to 3 per mm. Raises what ``exposure``
    raises.
    """
    *_, spectrum = _measured(image)
    frequency = torch.from_numpy(spectrum.frequency_per_mm)
    kernels = [Kernel("scan", round(float(cut_off), 2)) for cut_off in _CUT_OFFS_PER_MM]
    power = torch.stack([frequency * kernel.window(frequency).square() for kernel in kernels])
    mean = (power * frequency).sum(1) / power.sum(1)
    return kernels[int((mean - spectrum.mean_frequency_per_mm()).abs().argmin())]


def _measured(image: Image) -> tuple[Volume, Pixels, Patches, NoisePower]:
    """Return some slices of a scan (K, H, W), where their pixels lie, and the noise in their flat soft tissue."""
    hu, pixels = _axial(image)
    try:
        found = flat_patches(np.moveaxis(hu, 0, 2), np.ones((*pixels.shape, len(hu)), bool), (*pixels.spacing_mm, 1.0))
    except Undefined as undefined:
        raise ImageError(f"the scan's noise cannot be measured: {undefined}; say photons and kernel") from undefined
    # Some slices stand for all, but from end to end: the tube's current may change on the way.
    slices = np.unique(found.corners[:, 2])
    some = slices[np.unique(np.linspace(0, len(slices) - 1, _MEASURED).round().astype(int))]
    corners = found.corners[np.isin(found.corners[:, 2], some)]
    corners[:, 2] = np.searchsorted(some, corners[:, 2])
    patches = replace(found, corners=corners)
    spectrum = noise_power(np.moveaxis(hu[some], 0, 2), patches)
    if spectrum.deviation_hu < _LEAST_NOISE_HU:
        raise ImageError(
            f"soft tissue has {spectrum.deviation_hu:.2f} HU of noise, which no scanner's image has: it says nothing "
            "of dose or kernel; say photons (100000, …) and kernel"
        )
    return hu[some], pixels, patches, spectrum


def _axial(image: Image) -> tuple[Volume, Pixels]:
    """Return axial slices (K, H, W) from the feet up and where their pixels lie. Raises ImageError for no CT in HU."""
    modality = image.facts.get("modality", CT.modality)
    if image.unit != CT.unit or modality != CT.modality:
        raise ImageError(f"the image is {modality} in {image.unit}: only a CT in HU can be simulated at a lower dose")
    if image.voxels.shape[0] != 1 or not image.voxels.size:
        raise ImageError(f"the image has voxels {image.voxels.shape}: expected one value for each")
    if missing := float((~np.isfinite(image.voxels)).mean()):
        raise ImageError(f"{missing:.2%} of the voxels are NaN or infinite: no photons can be counted behind them")
    if doubt := ct_doubt(image.voxels[0]):
        raise ImageError(doubt.format(expected="only a CT in HU can be simulated at a lower dose"))
    upright = image.with_orientation(Orientation.nearest(image.affine))
    hu = np.ascontiguousarray(slices_first(upright.voxels[0], "axial"), np.float32)
    return hu, Pixels(hu.shape[1:], upright.grid.spacing_mm[:2])


def _padding(hu: Volume, pixels: Pixels) -> NDArray[np.bool_]:
    """Return where a matrix (H, W) is filled up around what was scanned: from a corner on one value, in all slices.

    It is -1000 or below. At -1000 it may be air as well, and is filled up only outside of the matrix's largest circle.
    """
    import SimpleITK as sitk

    constant = (hu == hu[0]).all(axis=0)
    radius = max(count * step for count, step in zip(pixels.shape, pixels.spacing_mm, strict=True)) / 2
    beyond = torch.hypot(*pixels.places(torch.device("cpu"))).reshape(pixels.shape).numpy() > radius
    found = np.zeros(pixels.shape, bool)
    for corner in itertools.product((0, pixels.shape[0] - 1), (0, pixels.shape[1] - 1)):
        value = hu[0][corner]
        if value <= CT.background:
            alike = constant & (hu[0] == value) & (beyond | (value < CT.background))
            grown = sitk.ConnectedThreshold(sitk.GetImageFromArray(alike.astype(np.uint8)), [corner[::-1]], 1, 1)
            found |= sitk.GetArrayFromImage(grown) > 0
    return found


def _account(scanner: Scanner, pixels: Pixels) -> dict[str, Any]:
    """Return a scanner as plain data; JSON knows no infinity."""
    kernel, beam = scanner.kernel, scanner.beam.around(pixels)
    return {
        "kernel": {
            "name": kernel.name,
            "cut_off_per_mm": kernel.cut_off_per_mm if kernel.cut_off_per_mm < math.inf else None,
        },
        "rays": {"kind": type(beam).__name__, **asdict(beam)},
        "electronic_counts": scanner.electronic,
        "bow_tie_mm": scanner.bow_tie_mm,
        "modulation": scanner.modulation,
    }


def _text(dose: Dose) -> str:
    return "-".join(f"{share:g}" for share in (dose if isinstance(dose, tuple) else (dose,)))
