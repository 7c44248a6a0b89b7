"""Image = voxels + affine + unit, and everything that moves between files, grids and orientations.

Voxels are (C, I, J, K); the affine takes a voxel index (i, j, k) to millimetres in RAS. SimpleITK does the reading,
writing and interpolation (its points are LPS, its arrays KJI: both stay in this file). It is imported where it is
used, so that the command line starts at once and a packed cohort trains on a machine that lacks it; so is psutil,
which a fresh Slicer may lack.
"""

import gzip
import hashlib
import itertools
import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedGANLogic import photographs
from MedGANLogic.domain import FOREIGN_UNITS, HIGHEST_COLOUR, UNITS, Array, Colours, Domain, Labels
from MedGANLogic.errors import MedGANError
from MedGANLogic.suv import conversion

Affine = NDArray[np.float64]

#: What a volume's file that MedGAN writes may be called.
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
#: What a photograph's file may be called that MedGAN writes, and one that it only reads, because that loses detail.
PICTURES = (".png", ".tif", ".tiff")
LOSSY = (".jpg", ".jpeg")

#: What is said of a photograph's size.
UNMEASURED = "a photograph has no physical size: a pixel counts as 1 mm"

#: What voxels are called that cross between a front end and its child: nothing is rounded, and JSON beside them says
#: where they lie and what they are. Not for keeping.
CROSSING = ".npy"

_CROSSING_FORMAT = 1
# Units of a PET that are no uptake without the dose, in capitals and without a stroke.
_ACTIVITY = ("BQML", "KBQML", "BQCC", "CNTS")
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NOTE_KEYS = ("ITK_FileNotes", "descrip", "MedGAN")
# A table's shell, a sheet or a mask is thinner than twice this; arms and legs are thicker.
_SHELL_MM = 4.0
# Two legs, or a trunk and an arm beside it, are several bodies; a tube or a pillow's seam is smaller.
_SMALLEST_SHARE = 0.05
# Slices may lie beside their stack by this share of a pixel, and their distances differ by this share: positions are
# written with as little as two digits, while a slice that is missing doubles a distance.
_SHIFT = 0.25
_UNEVEN = 0.05
_DICOM_TAGS = {"0008|0060": "modality", "0018|0015": "body part", "0008|0008": "image type", "0008|103e": "series"}


class ImageError(MedGANError):
    """An image that cannot be used, said in words: what was found, what was expected, what to do."""


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: shape (I, J, K) and the affine from voxel index to RAS millimetres."""

    shape: tuple[int, int, int]
    affine: Affine

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along i, j, k."""
        return tuple(float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))  # type: ignore[return-value]

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Edge lengths of the box that the voxels fill, along i, j, k."""
        return tuple(n * s for n, s in zip(self.shape, self.spacing_mm, strict=True))  # type: ignore[return-value]

    def matches(self, other: "Grid", tolerance_mm: float = 1e-3) -> bool:
        """Say whether both grids have the same shape and corners within the tolerance."""
        if self.shape != other.shape:
            return False
        corners = np.array([[*c, 1] for c in itertools.product(*((0, n - 1) for n in self.shape))], float).T
        return bool(np.abs((self.affine - other.affine) @ corners).max() <= tolerance_mm)

    def widened(self, voxels: tuple[int, int, int]) -> "Grid":
        """Return the grid with so many more voxels at both ends of each axis."""
        affine = self.affine.copy()
        affine[:3, 3] -= self.affine[:3, :3] @ voxels
        return Grid(tuple(n + 2 * more for n, more in zip(self.shape, voxels, strict=True)), affine)  # type: ignore[arg-type]

    def finer(self, times: tuple[int, int, int]) -> "Grid":
        """Return the grid over the same physical box with so many times more voxels along each axis."""
        shape = tuple(n * more for n, more in zip(self.shape, times, strict=True))
        return self._over_the_same_box(shape)  # type: ignore[arg-type]

    def coarser(self, times: tuple[int, int, int]) -> "Grid":
        """Return the grid with so many times fewer voxels along each axis, from the same corner on.

        Voxels at the end that fill no coarser one are left out.
        """
        whole = tuple(n // fewer * fewer for n, fewer in zip(self.shape, times, strict=True))
        shape = tuple(n // fewer for n, fewer in zip(whole, times, strict=True))
        return Grid(whole, self.affine)._over_the_same_box(shape)  # type: ignore[arg-type]

    def with_spacing(self, spacing_mm: tuple[float, float, float], tolerance: float = 0.02) -> "Grid":
        """Return the grid over the same physical box whose spacing is nearest to the one asked for.

        An axis whose spacing is already within ``tolerance`` (a share) stays untouched: interpolation for nothing
        would only blur. The box is kept to the last micrometre, so the spacing gives way by half a voxel per edge.
        """
        shape = tuple(
            n if abs(have / want - 1) <= tolerance else max(1, round(n * have / want))
            for n, have, want in zip(self.shape, self.spacing_mm, spacing_mm, strict=True)
        )
        return self._over_the_same_box(shape)  # type: ignore[arg-type]

    def _over_the_same_box(self, shape: tuple[int, int, int]) -> "Grid":
        ratio = np.array(self.shape) / np.array(shape)
        affine = self.affine.copy()
        affine[:3, :3] *= ratio
        # The box starts half a voxel before the first centre: the first centre moves when the voxel grows.
        affine[:3, 3] += self.affine[:3, :3] @ ((ratio - 1) / 2)
        return Grid(shape, affine)


@dataclass(frozen=True)
class Orientation:
    """A re-ordering of voxel axes to the nearest of R, A, S, and its inverse; no interpolation."""

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @staticmethod
    def nearest(affine: Affine) -> "Orientation":
        """Find, for each of R, A and S, the voxel axis that runs most nearly along it."""
        cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        axes = max(itertools.permutations(range(3)), key=lambda p: sum(abs(cosines[w, a]) for w, a in enumerate(p)))
        flips = tuple(bool(cosines[world, axis] < 0) for world, axis in enumerate(axes))
        return Orientation(axes, flips)  # type: ignore[arg-type]

    @property
    def _flipped(self) -> tuple[int, ...]:
        """Axes of (C, I, J, K) voxels that are mirrored."""
        return tuple(world + 1 for world in range(3) if self.flips[world])

    def apply(self, voxels: Array) -> Array:
        """Re-order (C, I, J, K) voxels so that the axes run towards R, A, S."""
        moved = np.transpose(voxels, (0, *(axis + 1 for axis in self.axes)))
        return np.asarray(np.flip(moved, self._flipped))

    def undo(self, voxels: Array) -> Array:
        """Return re-ordered voxels to the order that ``apply`` was given."""
        moved = np.flip(voxels, self._flipped)
        return np.transpose(moved, (0, *(int(axis) + 1 for axis in np.argsort(self.axes))))

    def undo_order(self, lengths: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return numbers that belong to R, A and S in the order of the axes that ``apply`` was given."""
        return tuple(lengths[self.axes.index(axis)] for axis in range(3))  # type: ignore[return-value]

    @property
    def inverse(self) -> "Orientation":
        """The orientation that brings re-ordered voxels back."""
        axes = tuple(self.axes.index(axis) for axis in range(3))
        return Orientation(axes, tuple(self.flips[axis] for axis in axes))  # type: ignore[arg-type]

    def apply_to_grid(self, grid: Grid) -> Grid:
        """Return the grid of the re-ordered voxels; every voxel keeps its place in the world."""
        affine = grid.affine.copy()
        shape = tuple(grid.shape[axis] for axis in self.axes)
        affine[:3, :3] = grid.affine[:3, list(self.axes)]
        for world in range(3):
            if self.flips[world]:
                affine[:3, 3] += affine[:3, world] * (shape[world] - 1)
                affine[:3, world] *= -1
        return Grid(shape, affine)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Image:
    """One volume: voxels (C, I, J, K), affine IJK→RAS in mm (float64), unit, and what its file said of it.

    ``facts`` holds what the file's header says (``modality`` as the DICOM code, ``body part``, ``notes``), and of a
    photograph its ``size``: none.
    """

    voxels: Array
    affine: Affine
    unit: str
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.voxels.ndim != 4 or self.affine.shape != (4, 4):
            raise ImageError(f"voxels {self.voxels.shape}, affine {self.affine.shape}: expected (C, I, J, K), (4, 4)")
        if self.unit not in UNITS:
            raise ImageError(f"unknown unit {self.unit!r}: expected one of {', '.join(UNITS)}")

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.voxels.shape[1:], self.affine)

    @property
    def values(self) -> Array:
        """The voxels as a domain's window takes them: (I, J, K), or (C, I, J, K) where a voxel has several values."""
        return self.voxels[0] if len(self.voxels) == 1 else self.voxels

    def with_orientation(self, orientation: Orientation) -> "Image":
        """Return the image with its voxel axes re-ordered; nothing moves in the world."""
        return replace(self, voxels=orientation.apply(self.voxels), affine=orientation.apply_to_grid(self.grid).affine)

    def without_orientation(self, orientation: Orientation, grid: Grid) -> "Image":
        """Undo ``with_orientation``; ``grid`` is the one that the voxels had before."""
        return replace(self, voxels=orientation.undo(self.voxels), affine=grid.affine)

    def on_grid(self, grid: Grid, outside: float, nearest: bool = False) -> "Image":
        """Resample onto another grid: linear, or nearest neighbour for masks and labels.

        Points beyond the first and last voxel centres but inside the voxels' box take the edge's value (a finer grid
        over the same box needs it); points outside of the box take ``outside``.
        """
        if self.grid.matches(grid, tolerance_mm=1e-6):
            return replace(self, affine=grid.affine)
        # Not before: a packed cohort trains, and validates on its own grid, where there is no SimpleITK.
        import SimpleITK as sitk

        reference = _sitk_frame(grid)
        channels = []
        for channel in self.voxels:
            source = to_sitk(channel.astype(np.float32), self.affine)
            resampler = sitk.ResampleImageFilter()
            resampler.SetReferenceImage(reference)
            resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
            resampler.SetDefaultPixelValue(float(outside))
            channels.append(from_sitk(resampler.Execute(source)))
        return Image(np.stack(channels), grid.affine, self.unit, self.facts)


def solid(mask: Array, spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Clean the mask of a body, (I, J, K) in R, A, S order: shells and small pieces off, holes filled.

    Eroding by 4 mm in the axial plane cuts tables and sheets off; pieces with at least a twentieth of the largest
    one's voxels stay (two legs are two bodies), are grown back within the mask, and their holes (bone and gas that a
    threshold missed, lungs) are filled axial slice by slice. A mask that is nowhere thicker than a shell is empty.
    """
    import SimpleITK as sitk

    tissue = to_sitk(mask.astype(np.uint8), np.eye(4))
    radius = [max(1, round(_SHELL_MM / spacing)) for spacing in spacing_mm[:2]] + [0]
    # The volume's own edge goes on outside of it: a body cut by the field of view must not be eroded from there.
    core = sitk.BinaryErode(tissue, radius, sitk.sitkBall, 0, 1, True)
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(core), sortByObjectSize=True)
    sizes = np.bincount(sitk.GetArrayViewFromImage(parts).ravel())[1:]
    if len(sizes) == 0:
        return np.zeros(mask.shape, bool)
    kept = int((sizes >= _SMALLEST_SHARE * sizes[0]).sum())
    core = sitk.BinaryThreshold(parts, 1, kept, 1, 0)
    grown = sitk.And(sitk.BinaryDilate(core, [r + 1 for r in radius[:2]] + [0], sitk.sitkBall), tissue)
    return _filled(grown)


def _filled(mask: Any) -> NDArray[np.bool_]:
    """Fill a SimpleITK mask's holes axial slice by slice."""
    import SimpleITK as sitk

    slices = [sitk.BinaryFillhole(mask[:, :, k]) for k in range(mask.GetSize()[2])]
    return np.ascontiguousarray(from_sitk(sitk.JoinSeries(slices)).astype(bool))


def placed(image: Image, grid: Grid, domain: Domain) -> Image:
    """Resample what a domain says an image is: linear, labels by nearest neighbour; background outside of it."""
    return image.on_grid(grid, domain.background, nearest=isinstance(domain.window, Labels))


def without_surroundings(image: Image, domain: Domain) -> tuple[Image, NDArray[np.bool_]]:
    """Set what is outside of the body to the domain's background, in every channel; return the body (I, J, K) too.

    The axes must be in R, A, S order (holes are filled in axial slices). A photograph shows no table, and what is small
    in it may be what it is of: nothing but black is taken off, and holes are filled.
    """
    found = domain.window.body(image.voxels if domain.window.components > 1 else image.voxels[0])
    if isinstance(domain.window, Colours):
        body = _filled(to_sitk(found.astype(np.uint8), np.eye(4)))
    else:
        body = solid(found, image.grid.spacing_mm)
    return replace(image, voxels=np.where(body, image.voxels, np.float32(domain.background))), body


def read(path: str | os.PathLike[str], unit: str) -> Image:
    """Read a file or a folder as ``read_as_said`` does; a DICOM series of a PET that should be SUV becomes so.

    The series says itself what its values are (``suv``), and ``facts["uptake"]`` how they became SUV. Raises SuvError
    where it does not say enough.
    """
    path = Path(path)
    image = read_as_said(path, unit)
    if image.unit != "SUV" or image.facts.get("modality") != "PT" or not path.is_dir():
        return image
    found = conversion(_series_files(path))
    voxels = image.voxels * found.factors.astype(np.float32)
    return replace(image, voxels=voxels.astype(np.float32), facts={**image.facts, "uptake": found.words})


def read_as_said(path: str | os.PathLike[str], unit: str) -> Image:
    """Read NIfTI, NRRD, MHA, a photograph (PNG, JPEG, TIFF) or a folder with one DICOM series.

    ``unit`` is what the values are (``HU``, ``SUV``, ``none``, ``label``) or a foreign unit that is turned into one
    (``HU+1024``); no format but DICOM carries it. Raises ImageError for a file that is missing, broken, too large for
    this machine, has a time axis, complex values or sheared axes, and for a folder with no or several series.

    A photograph is one slice, (3, I, J, 1) with colours from 0 to 255 whatever its depth, alpha dropped, or
    (1, I, J, 1) where it is grey, also if it says so three times. Its pixels count as 1 mm: what its file says of a
    size is that of a print.

    What ``write`` left as ``.npy`` is mapped into memory, not to be written to, and says its own unit: ImageError for
    another one.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"{path} does not exist")
    if path.name.lower().endswith(CROSSING):
        return _read_crossing(path, unit)
    import SimpleITK as sitk

    if unit.replace("/", "").upper() in _ACTIVITY:
        raise ImageError(
            f"{path}: {unit} is activity, which says no SUV without dose and weight: give the folder of the DICOM "
            "series, which knows both, without a unit; or multiply by the weight in g, divide by the dose in Bq that "
            "was left at the scan, and say SUV"
        )
    offset = 0.0
    if unit in FOREIGN_UNITS:
        unit, offset = FOREIGN_UNITS[unit]
    try:
        loaded = _read_series(path) if path.is_dir() else _read_file(path)
    except RuntimeError as error:
        raise ImageError(f"{path} could not be read: {_itk_reason(error)}") from error
    if path.is_file() and is_photograph(path):
        return _photograph(path, loaded, unit)
    if loaded.GetDimension() == 4 and loaded.GetSize()[3] == 1:
        loaded = loaded[:, :, :, 0]
    if loaded.GetDimension() > 3:
        beyond = "×".join(map(str, loaded.GetSize()[3:]))
        raise ImageError(f"{path} has a fourth axis of {beyond}: give one volume of it at a time")
    if loaded.GetDimension() == 2:
        loaded = sitk.JoinSeries(loaded)
    if "complex" in loaded.GetPixelIDTypeAsString():
        raise ImageError(f"{path} holds complex values: give the magnitude")
    affine = _affine_of(loaded)
    _refuse_sheared(path, affine)
    voxels = np.asarray(from_sitk(loaded))
    if voxels.ndim == 3:
        voxels = voxels[None]
    if offset:
        voxels = voxels.astype(np.float32) + np.float32(offset)
    return Image(voxels, affine, unit, _facts_of(loaded))


def is_photograph(path: Path) -> bool:
    """Say whether a file is a photograph by its name."""
    return path.name.lower().endswith((*PICTURES, *LOSSY))


def colours_of(channels: Array) -> Array:
    """Return the colours (3, …) of a photograph's channels on the scale of 8 bits: those of 16 are divided by 257.

    Alpha, the fourth, is dropped. Grey that is said three times is (1, …), and keeps its values, as any grey does.
    """
    if len(channels) == 4:
        channels = channels[:3]
    if len(channels) != 3:
        return channels
    if (channels[0] == channels[1:]).all():
        return channels[:1]
    return channels.astype(np.float32) / np.float32(257) if channels.dtype == np.uint16 else channels


def _photograph(path: Path, loaded: Any, unit: str) -> Image:
    """Return a photograph that ITK has read."""
    import SimpleITK as sitk

    if loaded.GetDimension() != 2:
        raise ImageError(f"{path} holds several pictures: give one")
    try:
        header = photographs.header_of(path.read_bytes())
    except ValueError as error:
        raise ImageError(f"{path} is damaged ({error}): copy it again") from error
    if header.painted and unit == "label":
        raise ImageError(f"{path} paints its values by a palette: save the label map in greys, a value each")
    pixels = sitk.GetArrayFromImage(loaded)
    channels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    if len(channels) == 4 and path.name.lower().endswith(LOSSY):
        raise ImageError(f"{path} holds colours for print (CMYK): save it in red, green and blue")
    colours = colours_of(channels)
    colours = colours // colours.dtype.type(header.stretched) if header.stretched > 1 else colours
    facts = {"size": UNMEASURED, **({"notes": header.note} if header.note else {})}
    return Image(np.swapaxes(colours, 1, 2)[..., None], _RAS_FROM_LPS.copy(), unit, facts)


def write(image: Image, path: str | os.PathLike[str]) -> None:
    """Write an image under a temporary name beside its own, then rename: a failure leaves nothing behind.

    HU are rounded to whole numbers and stored as int16, labels as the smallest integer that holds them, colours of a
    photograph as 8 bits, all else as float32. ``facts["notes"]`` goes into the header as one line of 79 ASCII
    characters at most: NIfTI has room for no more, and MHA breaks on what is more. Raises ImageError for a suffix that
    is not one of ``SUFFIXES`` and ``PICTURES`` or that cannot hold the image, for voxels that are NaN or infinite, and
    where the file cannot be written whole.

    ``.npy`` keeps voxels as they are, NaN too; affine, unit and facts go into ``NAME.npy.json``.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix == CROSSING:
        _write_crossing(image, path)
        return
    import SimpleITK as sitk

    refuse_format(path, image.unit, len(image.voxels), image.grid)
    output = to_sitk(_pixels(image) if suffix in PICTURES else _stored(image), image.affine)
    notes = " ".join(image.facts.get("notes", "").split()).encode("ascii", "replace").decode()[:79]
    if suffix in PICTURES:
        output = output[:, :, 0]
    elif notes:
        output.SetMetaData("MedGAN" if suffix in (".nrrd", ".mha") else "ITK_FileNotes", notes)
    partial = path.with_name(f".{path.name.removesuffix(suffix)}.partial-{os.getpid()}{suffix}")
    try:
        sitk.WriteImage(output, str(partial), useCompression=suffix != ".nii")
        if suffix in PICTURES and notes:
            partial.write_bytes(photographs.with_note(partial.read_bytes(), notes))
        # ITK says nothing when the disk is full, and reads what is missing as zeros.
        stored = sitk.ReadImage(str(partial))
        if not np.array_equal(sitk.GetArrayViewFromImage(stored), sitk.GetArrayViewFromImage(output)):
            raise ImageError(f"{path} could not be written whole: is the disk full?")
        partial.replace(path)
    except RuntimeError as error:
        raise ImageError(f"{path} could not be written: {_itk_reason(error)}") from error
    except OSError as error:
        raise ImageError(f"{path} could not be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and files of a folder. Raises ImageError where it is missing."""
    digest = hashlib.sha256()
    try:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as stream:
                    digest.update(file.name.encode() if path.is_dir() else b"")
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError as error:
        raise ImageError(f"{path} could not be read: {error.strerror}") from error
    return digest.hexdigest()


def suffix_of(path: Path) -> str:
    """Return the suffix of an image's name. Raises ImageError where it is none that we write."""
    for suffix in (*SUFFIXES, *PICTURES, CROSSING):
        if path.name.lower().endswith(suffix):
            return suffix
    hint = ": JPEG would blur what is written" if path.name.lower().endswith(LOSSY) else ""
    raise ImageError(f"{path.name}: the name must end in one of {', '.join((*SUFFIXES, *PICTURES))}{hint}")


def refuse_format(path: Path, unit: str, components: int, grid: Grid) -> None:
    """Raise ImageError where a file of this name cannot hold an image: a photograph's has one slice.

    PNG holds whole numbers, which only labels and colours are.
    """
    suffix = suffix_of(path)
    if suffix in PICTURES and grid.shape[2] != 1:
        raise ImageError(f"{path.name} holds one picture, the image has {grid.shape[2]} slices: call it {SUFFIXES[0]}")
    if suffix == ".png" and unit != "label" and components != 3:
        said = f"{components} values a pixel" if components > 1 else "values of any size"
        raise ImageError(f"{path.name} holds labels or colours, the image {said}: call it .tif or {SUFFIXES[0]}")


def _stored(image: Image) -> Array:
    voxels = image.voxels[0] if image.voxels.shape[0] == 1 else np.moveaxis(image.voxels, 0, -1)
    if not np.isfinite(voxels).all():
        # An integer cannot say NaN, and ITK reads it from a NIfTI file as 0, which is water.
        raise ImageError(f"{(~np.isfinite(voxels)).mean():.2%} of the voxels are NaN or infinite: nothing was written")
    if image.unit == "HU":
        return np.clip(np.rint(voxels), -32768, 32767).astype(np.int16)
    if image.unit == "label":
        low, high = voxels.min(initial=0), voxels.max(initial=0)
        labels = voxels.astype(np.result_type(np.min_scalar_type(int(low)), np.min_scalar_type(int(high))))
        if not np.array_equal(labels, voxels):
            raise ImageError("the labels are not whole numbers: nothing was written")
        return labels
    return voxels.astype(np.float32)


def _pixels(image: Image) -> Array:
    """Return what a photograph's file holds, (I, J, 1) or (I, J, 1, C): colours as 8 bits, all else as in any file."""
    stored = _stored(image)
    is_coloured = image.unit == "none" and len(image.voxels) == 3
    return np.clip(np.rint(stored), 0, HIGHEST_COLOUR).astype(np.uint8) if is_coloured else stored


def _write_crossing(image: Image, path: Path) -> None:
    sidecar = _crossing_sidecar(path)
    said = {
        "format": _CROSSING_FORMAT,
        "affine": image.affine.tolist(),
        "unit": image.unit,
        "facts": dict(image.facts),
    }
    partials = [name.with_name(f".{name.name}.partial-{os.getpid()}") for name in (sidecar, path)]
    try:
        partials[0].write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        with partials[1].open("wb") as stream:
            np.save(stream, image.voxels, allow_pickle=False)
        # The voxels last: who finds them finds all.
        partials[0].replace(sidecar)
        partials[1].replace(path)
    except OSError as error:
        raise ImageError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)


def _read_crossing(path: Path, unit: str) -> Image:
    try:
        said = json.loads(_crossing_sidecar(path).read_text(encoding="utf-8"))
        # Never unpickles; what is no array of numbers, or shorter than its header says, is a ValueError.
        voxels = np.asarray(np.lib.format.open_memmap(path, mode="r"))
        if said["format"] != _CROSSING_FORMAT or voxels.dtype.kind not in "biuf":
            raise ValueError(f"format {said['format']} of {voxels.dtype}")
        facts = {str(name): str(fact) for name, fact in said["facts"].items()}
        image = Image(voxels, np.array(said["affine"], np.float64), said["unit"], facts)
        _refuse_flat(image.affine)
    except OSError as error:
        raise ImageError(f"{error.filename or path} could not be read: {error.strerror or error}") from error
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ImageError(f"{path} and its .json are not a volume that MedGAN wrote: {error}") from error
    _refuse_sheared(path, image.affine)
    if image.unit != unit:
        raise ImageError(f"{path} holds {image.unit}: {unit} was expected")
    return image


def _refuse_flat(affine: Affine) -> None:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and lengths.all() and affine[3].tolist() == [0, 0, 0, 1]):
        raise ValueError("the affine does not lead from voxels to millimetres")


def _crossing_sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _refuse_sheared(path: Path, affine: Affine) -> None:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3:
        raise ImageError(f"{path} has sheared axes: resample it to a box first (in Slicer: harden its transform)")


def _read_file(path: Path) -> Any:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    _refuse_too_large(path, reader.GetSize(), reader.GetNumberOfComponents())
    _refuse_damaged(path, reader)
    image = reader.Execute()
    if reader.GetImageIOFromFileName(str(path)) == "NiftiImageIO" and image.GetNumberOfComponentsPerPixel() == 1:
        return _with_nan(path, reader, image)
    return image


def _with_nan(path: Path, reader: Any, image: Any) -> Any:
    """Put NaN back where a NIfTI file has no number: ITK reads 0 there, which is water in HU."""
    import SimpleITK as sitk

    stored = {"16": "f4", "64": "f8"}.get(reader.GetMetaData("datatype"))
    if stored is None:
        return image
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as stream:
        content = stream.read()
    order = "<" if int.from_bytes(content[:4], "little") in (348, 540) else ">"
    start, count = int(float(reader.GetMetaData("vox_offset"))), image.GetNumberOfPixels()
    missing = ~np.isfinite(np.frombuffer(content, order + stored, count, start))
    if not missing.any():
        return image
    voxels = sitk.GetArrayFromImage(image)
    voxels[missing.reshape(voxels.shape)] = np.nan
    whole = sitk.GetImageFromArray(voxels, isVector=False)
    whole.CopyInformation(image)
    return whole


def _series_files(folder: Path) -> tuple[str, ...]:
    """Return the files of the one DICOM series of a folder, slice by slice."""
    import SimpleITK as sitk

    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise ImageError(f"{folder} holds no DICOM series")
    if len(series) > 1:
        raise ImageError(f"{folder} holds {len(series)} DICOM series: give a folder with one ({', '.join(series)})")
    names: tuple[str, ...] = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    # GDCM leaves out what it cannot parse: at either end of a series nobody would miss the slice.
    left_out = sorted({file.name for file in folder.iterdir() if _is_dicom(file)} - {Path(name).name for name in names})
    if left_out:
        raise ImageError(f"{folder}: {left_out[0]} is damaged or no image: copy it again, or take it out of the folder")
    return names


def _read_series(folder: Path) -> Any:
    """Read the one DICOM series of a folder; positions are checked, because ITK only warns of a missing slice."""
    import SimpleITK as sitk

    names = _series_files(folder)
    header = sitk.ImageFileReader()
    positions, normal, kinds = [], np.zeros(3), set()
    for name in names:
        header.SetFileName(name)
        header.ReadImageInformation()
        direction = np.array(header.GetDirection()).reshape(3, 3)
        positions.append(np.array(header.GetOrigin()))
        normal = direction[:, 2]
        kinds.add(header.GetPixelID())
    _refuse_too_large(folder, (*header.GetSize()[:2], len(names)), header.GetNumberOfComponents())
    if len(names) > 1:
        offsets = np.array(positions) - positions[0]
        along = offsets @ normal
        if np.linalg.norm(offsets - np.outer(along, normal), axis=1).max() > _SHIFT * min(header.GetSpacing()[:2]):
            raise ImageError(f"{folder}: the slices are shifted against each other (gantry tilt): resample it first")
        steps = np.diff(along)
        if np.ptp(steps) > _UNEVEN * abs(steps.mean()):
            raise ImageError(
                f"{folder}: slice distances run from {steps.min():.3f} to {steps.max():.3f} mm: "
                "a slice is missing or there twice"
            )
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    if len(kinds) > 1:
        # Else all are read as the first: a slope of 1 there would round slices whose own slope is a fraction.
        reader.SetOutputPixelType(sitk.sitkFloat32)
    reader.MetaDataDictionaryArrayUpdateOn()
    reader.LoadPrivateTagsOff()
    image = reader.Execute()
    for tag in _DICOM_TAGS:
        if reader.HasMetaDataKey(0, tag):
            # Bytes of another character set would be refused; nothing that is looked for has any.
            image.SetMetaData(tag, reader.GetMetaData(0, tag).encode("ascii", "replace").decode())
    return image


def _is_dicom(file: Path) -> bool:
    """Say whether a file is DICOM by its magic bytes; a folder's index is not meant."""
    if not file.is_file() or file.name.upper() == "DICOMDIR":
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _refuse_too_large(path: Path, size: tuple[int, ...], components: int) -> None:
    # A volume is held as it is stored, as float32, and twice more while it is resampled: sixteen bytes a voxel.
    needed = int(np.prod([int(n) for n in size], dtype=object)) * components * 16
    import psutil

    available = psutil.virtual_memory().available
    if needed > available:
        raise ImageError(
            f"{path} says {'×'.join(map(str, size))} voxels: that needs {needed / 2**30:.1f} GiB of memory, "
            f"{available / 2**30:.1f} are free: crop or resample it first"
        )


def _refuse_damaged(path: Path, reader: Any) -> None:
    """Refuse what ITK reads in silence: a shortened NIfTI (zeros for the rest), checksums of NRRD and MHA that fail."""
    kind = reader.GetImageIOFromFileName(str(path))
    if kind == "NiftiImageIO" and not path.name.lower().endswith((".nii", ".nii.gz")):
        raise ImageError(
            f"{path} is half of an image in two files, which may leave left and right open: save as .nii.gz"
        )
    try:
        with path.open("rb") as stream:
            if kind == "NiftiImageIO":
                packed = stream.read(2) == b"\x1f\x8b"
                stream.seek(0)
                found = _inflated(stream) if packed else path.stat().st_size
                expected = _nifti_bytes(reader)
                if found < expected:
                    raise ImageError(f"{path} is cut short: it holds {found} bytes, {expected} expected")
            elif (packing := _PACKED.get(kind)) and (header := packing.search(stream.read(_LONGEST_HEADER))):
                stream.seek(header.end())
                _inflated(stream)
    except (EOFError, zlib.error) as error:
        raise ImageError(f"{path} is cut short or damaged ({error}): copy it again") from error
    except OSError as error:
        raise ImageError(f"{path} could not be read: {error.strerror}") from error


_LONGEST_HEADER = 1 << 20
# The header of a file that holds its own voxels, compressed; the match ends where they begin.
_PACKED = {
    "NrrdImageIO": re.compile(rb"\ANRRD(?!.*?\ndata ?file:).*?\nencoding: *gz(?:ip)?\r?\n(?:.*?\n)??\r?\n", re.DOTALL),
    "MetaImageIO": re.compile(rb"CompressedData *= *True.*?\nElementDataFile *= *LOCAL\r?\n", re.DOTALL),
}


def _nifti_bytes(reader: Any) -> int:
    """Return how long a NIfTI file is by its header, unpacked."""
    axes = [int(reader.GetMetaData(f"dim[{axis}]")) for axis in range(1, int(reader.GetMetaData("dim[0]")) + 1)]
    voxels = int(np.prod([max(1, length) for length in axes], dtype=object))
    return int(float(reader.GetMetaData("vox_offset"))) + voxels * int(reader.GetMetaData("bitpix")) // 8


def _inflated(stream: Any) -> int:
    """Return how many bytes a gzip or zlib stream holds. Raises zlib.error where damaged, EOFError where cut short."""
    found, inflater = 0, zlib.decompressobj(wbits=47)
    while block := stream.read(1 << 16):
        while block:
            if inflater.eof:  # a gzip file may be several, one behind the other
                inflater = zlib.decompressobj(wbits=47)
            found += len(inflater.decompress(block))
            block = inflater.unused_data.lstrip(b"\0")
    if not inflater.eof:
        raise EOFError("the last block is missing")
    return found


def to_sitk(voxels: Array, affine: Affine) -> Any:
    """Make a SimpleITK image of (I, J, K) or (I, J, K, C) voxels."""
    import SimpleITK as sitk

    axes = (2, 1, 0, 3)[: voxels.ndim]
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.transpose(voxels, axes)), isVector=voxels.ndim == 4)
    _place(image, affine)
    return image


def _sitk_frame(grid: Grid) -> Any:
    import SimpleITK as sitk

    frame = sitk.Image([int(n) for n in grid.shape], sitk.sitkUInt8)
    _place(frame, grid.affine)
    return frame


def _place(image: Any, affine: Affine) -> None:
    lps = _RAS_FROM_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())


def from_sitk(image: Any) -> Array:
    """Return (I, J, K), or (C, I, J, K) for several components."""
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    return np.transpose(array, (3, 2, 1, 0) if array.ndim == 4 else (2, 1, 0))


def _affine_of(image: Any) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    last = [n - 1 for n in image.GetSize()]
    # The contract between voxels and the world is checked on every image that is read (DESIGN §5).
    if np.abs((affine @ [*last, 1])[:3] - image.TransformIndexToPhysicalPoint(last)).max() > 1e-3:
        raise ImageError("the voxels' places do not follow from the header: please report this file's header")
    return _RAS_FROM_LPS @ affine


def _facts_of(image: Any) -> dict[str, str]:
    facts = {name: image.GetMetaData(tag).strip() for tag, name in _DICOM_TAGS.items() if image.HasMetaDataKey(tag)}
    notes = [image.GetMetaData(key).strip() for key in _NOTE_KEYS if image.HasMetaDataKey(key)]
    if any(notes):
        facts["notes"] = next(note for note in notes if note)
    return facts


def _itk_reason(error: RuntimeError) -> str:
    """Return the line of an ITK error that says most, without C++ places."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason"]
    said = [line for line in lines if "rror:" in line.lower() and not line.endswith(":")] or lines
    return said[-1].split("ERROR:")[-1].split("): ")[-1].strip()
