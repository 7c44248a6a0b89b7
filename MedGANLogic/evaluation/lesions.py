"""How much a lesion takes up in a PET, and how clearly it stands out: numbers of one image, in a mask. No torch.

Images and masks are (I, J, K) arrays on one grid. A voxel belongs where its centre is.
"""

import math

import numpy as np

from MedGANLogic.domain import Array
from MedGANLogic.evaluation.metrics import Mask, Undefined, box_around, distance_to

#: A sphere of 1 cm³, over which SUVpeak is a mean: Wahl 2009 (PERCIST), doi:10.2967/jnumed.108.057307 [paper?].
_PEAK_RADIUS_MM = (3 * 1000 / (4 * math.pi)) ** (1 / 3)

#: What surrounds a lesion, from its edge on. Nearer than a PET resolves (4 to 7 mm) it shines into the tissue, and
#: further away other organs begin [assumed].
SURROUNDINGS_MM = (5.0, 20.0)

Spacing = tuple[float, float, float]


def surroundings(lesion: Mask, inside: Mask, spacing_mm: Spacing) -> Mask:
    """Return the shell around a lesion, 5 to 20 mm from its edge, as far as it lies ``inside`` (the body).

    Raises Undefined for an empty lesion, and where nothing is left of the shell.
    """
    _refuse_empty(lesion)
    nearest, furthest = SURROUNDINGS_MM
    box = box_around(lesion, [math.ceil(furthest / length) + 1 for length in spacing_mm])
    shell = np.zeros(lesion.shape, bool)
    away = distance_to(lesion[box], spacing_mm)
    shell[box] = inside[box] & (away >= nearest) & (away <= furthest)
    if not shell.any():
        raise Undefined(f"nothing of the body lies {nearest:g} to {furthest:g} mm around the lesion")
    return shell


def mean_uptake(image: Array, lesion: Mask) -> float:
    """Return SUVmean: the mean over a lesion. Raises Undefined for an empty one."""
    _refuse_empty(lesion)
    return float(image[lesion].mean(dtype=np.float64))


def highest_uptake(image: Array, lesion: Mask) -> float:
    """Return SUVmax: a lesion's highest voxel. Raises Undefined for an empty one."""
    _refuse_empty(lesion)
    return float(image[lesion].max())


def peak_uptake(image: Array, lesion: Mask, spacing_mm: Spacing) -> float:
    """Return SUVpeak: the highest mean over a sphere of 1 cm³ whose centre is a voxel of the lesion.

    The sphere may reach beyond the lesion, not beyond the volume. Placed so that its mean is highest: Lodge 2012,
    doi:10.2967/jnumed.111.101733. Raises Undefined for an empty lesion.
    """
    _refuse_empty(lesion)
    reach = [math.floor(_PEAK_RADIUS_MM / length) for length in spacing_mm]
    steps = np.meshgrid(*(np.arange(-n, n + 1) * mm for n, mm in zip(reach, spacing_mm, strict=True)), indexing="ij")
    sphere = np.linalg.norm(np.stack(steps), axis=0) <= _PEAK_RADIUS_MM
    box = box_around(lesion, reach)
    values = image[box].astype(np.float64)
    means = _summed(values, sphere) / np.rint(_summed(np.ones_like(values), sphere))
    return float(means[lesion[box]].max())


def _summed(values: Array, sphere: Mask) -> Array:
    """Return each voxel's sum over the sphere around it, as far as there are values."""
    size = [n + ball - 1 for n, ball in zip(values.shape, sphere.shape, strict=True)]
    axes = (0, 1, 2)
    # By way of the Fourier transform: a sphere of 300 voxels would cost 300 sums.
    whole = np.fft.irfftn(np.fft.rfftn(values, size, axes) * np.fft.rfftn(sphere, size, axes), size, axes)
    middle = tuple(slice(ball // 2, ball // 2 + n) for n, ball in zip(values.shape, sphere.shape, strict=True))
    return np.asarray(whole[middle])


def contrast(image: Array, lesion: Mask, shell: Mask) -> float:
    """Return the mean over a lesion as a multiple of its surroundings' mean. Raises Undefined where that is none."""
    around = float(image[shell].mean(dtype=np.float64))
    if around <= 0:
        raise Undefined(f"the surroundings' mean is {around:.3g}: no multiple of it says anything")
    return mean_uptake(image, lesion) / around


def area_under_curve(image: Array, lesion: Mask, shell: Mask) -> float:
    """Return the area under the ROC curve that tells a lesion's voxels from its surroundings' by their value.

    It is the share of pairs in which the lesion's is higher, equal ones counting half: 1 for a lesion that is seen
    whole, 0.5 for one that is not there, less for one that is colder. Hanley and McNeil 1982,
    doi:10.1148/radiology.143.1.7063747. Raises Undefined for an empty lesion.
    """
    _refuse_empty(lesion)
    around = np.sort(image[shell])
    below, up_to = (np.searchsorted(around, image[lesion], side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(around)))


def _refuse_empty(lesion: Mask) -> None:
    if not lesion.any():
        raise Undefined("no voxel of the lesion lies in the mask")
