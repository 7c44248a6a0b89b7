"""Voxels keep place, value and unit through files, orientations and grids; broken files are refused."""

import gzip
import itertools
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from MedGANLogic.domain import CT
from MedGANLogic.images import SUFFIXES, Grid, Image, ImageError, Orientation, read, solid, without_surroundings, write

ORDERS = [
    Orientation(axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]
SHAPE = (4, 5, 6)


def rotation(degrees: float) -> NDArray[np.float64]:
    """Rotation about an axis that is none of R, A, S."""
    x, y, z = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def affine_of(order: Orientation, degrees: float) -> NDArray[np.float64]:
    """Spacing .7, 1.3 and 3.1 mm along voxel axes that run in any order and direction, turned by an angle."""
    axes = np.zeros((3, 3))
    for world, (axis, flip) in enumerate(zip(order.axes, order.flips, strict=True)):
        axes[world, axis] = -1 if flip else 1
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) @ axes * (0.7, 1.3, 3.1)
    affine[:3, 3] = (-31.7, 12.3, 870.1)
    return affine


def places(grid: Grid) -> NDArray[np.float64]:
    """Physical coordinates of all voxels, (3, I, J, K): an image in which every voxel says where it is."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"))
    return np.einsum("wv,vijk->wijk", grid.affine[:3, :3], index) + grid.affine[:3, 3, None, None, None]


def box(grid: Grid) -> NDArray[np.float64]:
    """Physical coordinates of the eight corners of the box that the voxels fill, half a voxel beyond their centres."""
    corners = itertools.product(*((-0.5, n - 0.5) for n in grid.shape))
    return np.array([grid.affine @ [*corner, 1] for corner in corners])


def coordinate_image(order: Orientation, degrees: float = 23) -> Image:
    grid = Grid(SHAPE, affine_of(order, degrees))
    return Image(places(grid), grid.affine, "none")


def linear(at: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.tensordot((0.5, -0.25, 0.125), at, axes=1) + 40)


OBLIQUE = affine_of(Orientation((2, 0, 1), (True, False, True)), 23)


@pytest.fixture
def volume() -> Image:
    """Noise in HU on an oblique grid: no two voxels alike, so that none can stand in for another."""
    voxels = np.random.default_rng(0).permutation(7 * 8 * 9).reshape(1, 7, 8, 9) - 250
    return Image(voxels.astype(np.int16), OBLIQUE, "HU")


@pytest.mark.parametrize("degrees", [0, 23, 40])
@pytest.mark.parametrize("order", ORDERS, ids=str)
class TestOrderOfAxes:
    def test_every_voxel_keeps_its_place(self, order: Orientation, degrees: float) -> None:
        image = coordinate_image(order, degrees)
        upright = image.with_orientation(Orientation.nearest(image.affine))
        assert np.abs(upright.voxels - places(upright.grid)).max() < 1e-6

    def test_axes_run_to_the_nearest_of_right_anterior_superior(self, order: Orientation, degrees: float) -> None:
        image = coordinate_image(order, degrees)
        upright = image.with_orientation(Orientation.nearest(image.affine))
        axes = upright.affine[:3, :3] / np.linalg.norm(upright.affine[:3, :3], axis=0)
        # A turn by 40 degrees about this axis leaves every direction its own nearest axis.
        np.testing.assert_allclose(axes, rotation(degrees), atol=1e-12)

    def test_undo_is_the_exact_inverse(self, order: Orientation, degrees: float) -> None:
        image = coordinate_image(order, degrees)
        found = Orientation.nearest(image.affine)
        back = image.with_orientation(found).without_orientation(found, image.grid)
        np.testing.assert_array_equal(back.voxels, image.voxels)
        np.testing.assert_array_equal(back.affine, image.affine)
        np.testing.assert_array_equal(found.apply(found.undo(found.apply(image.voxels))), found.apply(image.voxels))


@pytest.mark.parametrize("order", ORDERS[::5], ids=str)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_keeps_every_voxel_s_place_and_value(order: Orientation, suffix: str, tmp_path: Path) -> None:
    image = coordinate_image(order)
    stored = Image(image.voxels[:1].astype(np.float32), image.affine, "none")
    write(stored, tmp_path / f"a{suffix}")
    again = read(tmp_path / f"a{suffix}", "none")
    np.testing.assert_array_equal(again.voxels, stored.voxels)
    assert again.voxels.dtype == np.float32
    assert np.abs(places(again.grid) - image.voxels).max() < 1e-3


@pytest.mark.parametrize("order", ORDERS[::5], ids=str)
def test_another_reader_of_nifti_agrees_on_places_and_values(order: Orientation, tmp_path: Path) -> None:
    image = coordinate_image(order)
    write(Image(image.voxels[:1], image.affine, "none"), tmp_path / "a.nii.gz")
    found: Any = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-4)
    np.testing.assert_array_equal(found.get_fdata(dtype=np.float32), image.voxels[0].astype(np.float32))


def test_another_writer_of_nifti_is_read_at_the_same_places(tmp_path: Path) -> None:
    values = np.arange(120, dtype=np.int16).reshape(SHAPE)
    nibabel.Nifti1Image(values, OBLIQUE).to_filename(tmp_path / "a.nii")
    image = read(tmp_path / "a.nii", "none")
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-4)
    np.testing.assert_array_equal(image.voxels[0], values)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_toolkit_finds_voxels_of_nrrd_and_mha_at_the_same_places(suffix: str, volume: Image, tmp_path: Path) -> None:
    write(volume, tmp_path / f"a{suffix}")
    raw = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
    left_posterior_superior = raw.TransformIndexToPhysicalPoint((1, 2, 3))
    np.testing.assert_allclose(np.array(left_posterior_superior) * (-1, -1, 1), places(volume.grid)[:, 1, 2, 3])
    assert raw[1, 2, 3] == volume.voxels[0, 1, 2, 3]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "unit, values, stored",
    [
        ("HU", [-1000.4, 0.6, 3071.0], np.int16),
        ("label", [0, 1, 255], np.uint8),
        ("label", [0, 1, 256], np.uint16),
        ("SUV", [0.0, 0.125, 17.25], np.float32),
        ("none", [-3.5, 0.0, 4e5], np.float32),
    ],
)
def test_values_are_stored_as_their_unit_asks(
    suffix: str, unit: str, values: list[float], stored: type, tmp_path: Path
) -> None:
    image = Image(np.array(values).reshape(1, 3, 1, 1), np.eye(4), unit)
    write(image, tmp_path / f"a{suffix}")
    again = read(tmp_path / f"a{suffix}", unit)
    assert again.voxels.dtype == stored
    np.testing.assert_array_equal(again.voxels, np.rint(image.voxels) if unit == "HU" else image.voxels)


def test_hu_beyond_16_bit_saturate_and_do_not_wrap(tmp_path: Path) -> None:
    write(Image(np.array([-4e4, 4e4]).reshape(1, 2, 1, 1), np.eye(4), "HU"), tmp_path / "a.nii")
    np.testing.assert_array_equal(read(tmp_path / "a.nii", "HU").voxels.ravel(), [-32768, 32767])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["größe 胸部", "with space"])
def test_paths_need_not_be_ascii(suffix: str, name: str, volume: Image, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    write(volume, folder / f"{name}{suffix}")
    np.testing.assert_array_equal(read(folder / f"{name}{suffix}", "HU").voxels, volume.voxels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_notes_survive_as_one_ascii_line(suffix: str, tmp_path: Path) -> None:
    """MHA broke on a second line, NIfTI on 79 characters of more than a byte each."""
    for notes in ("SYNTHETIC CT (HU) by MedGAN", "SYNTHETIC by Müller\n in two lines " + "é" * 100):
        write(Image(np.zeros((1, 2, 2, 2)), np.eye(4), "HU", {"notes": notes}), tmp_path / f"a{suffix}")
        found = read(tmp_path / f"a{suffix}", "HU").facts["notes"]
        assert found.startswith(notes[:14]) and found.isascii() and "\n" not in found


def test_file_without_notes_has_no_facts(volume: Image, tmp_path: Path) -> None:
    write(volume, tmp_path / "a.nii.gz")
    assert read(tmp_path / "a.nii.gz", "HU").facts == {}


@pytest.mark.parametrize("unit, offset", [("HU+1024", 1024), ("HU+1000", 1000)])
def test_offset_is_taken_off_a_ct_that_was_stored_without_sign(unit: str, offset: int, tmp_path: Path) -> None:
    stored = sitk.GetImageFromArray(np.array([[[0, 1024, 4095]]], np.uint16))
    sitk.WriteImage(stored, str(tmp_path / "a.nii.gz"))
    image = read(tmp_path / "a.nii.gz", unit)
    assert image.unit == "HU"
    np.testing.assert_array_equal(image.voxels.ravel(), [-offset, 1024 - offset, 4095 - offset])


@pytest.mark.parametrize("spacing", [(0.5, 1.0, 3.1), (2.0, 2.0, 2.0), (90.0, 90.0, 90.0), (0.71, 1.29, 0.11)])
def test_new_spacing_keeps_the_physical_box(spacing: tuple[float, float, float]) -> None:
    grid = Grid((31, 17, 9), OBLIQUE)
    new = grid.with_spacing(spacing)
    np.testing.assert_allclose(box(new), box(grid), atol=1e-9)
    assert new.extent_mm == pytest.approx(grid.extent_mm)
    assert all(
        n == max(1, round(e / s)) or n == o
        for n, e, s, o in zip(new.shape, grid.extent_mm, spacing, grid.shape, strict=True)
    )


def test_spacing_that_is_nearly_right_stays_untouched() -> None:
    grid = Grid((31, 17, 9), OBLIQUE)
    new = grid.with_spacing((0.705, 1.31, 3.09))
    assert new.shape == grid.shape
    np.testing.assert_array_equal(new.affine, grid.affine)


def test_grids_match_by_their_corners() -> None:
    grid = Grid((101, 101, 101), np.eye(4))
    turned = np.eye(4)
    turned[0, 1] = 5e-5
    assert grid.matches(Grid(grid.shape, np.eye(4)))
    assert not grid.matches(Grid(grid.shape, turned))
    assert grid.matches(Grid(grid.shape, turned), tolerance_mm=0.01)
    assert not grid.matches(Grid((101, 101, 100), np.eye(4)))


def test_resampling_reproduces_a_linear_function_inside_the_box_and_the_background_outside() -> None:
    source = Grid((12, 10, 8), OBLIQUE)
    image = Image(linear(places(source))[None].astype(np.float32), source.affine, "none", {"modality": "MR"})
    turned = affine_of(Orientation((0, 1, 2), (False, False, False)), -11)
    turned[:3, 3] += OBLIQUE[:3, :3] @ (6, 5, 4) + OBLIQUE[:3, 3] - (turned @ [10, 9, 7, 1])[:3]
    target = Grid((20, 18, 14), turned)
    result = image.on_grid(target, outside=-777.0)

    index = np.einsum(
        "vw,wijk->vijk", np.linalg.inv(OBLIQUE)[:3, :3], places(target) - OBLIQUE[:3, 3, None, None, None]
    )
    last = np.array(source.shape)[:, None, None, None] - 1
    inside = ((index >= 0) & (index <= last)).all(axis=0)
    outside = ((index < -0.5 - 1e-6) | (index > last + 0.5 + 1e-6)).any(axis=0)
    assert inside.sum() > 200 and outside.sum() > 200
    np.testing.assert_allclose(result.voxels[0][inside], linear(places(target))[inside], atol=1e-3)
    assert (result.voxels[0][outside] == -777).all()
    assert (result.voxels[0][~inside & ~outside] != -777).all()
    np.testing.assert_array_equal(result.affine, target.affine)
    assert (result.unit, result.facts) == ("none", {"modality": "MR"})


def test_nearest_neighbour_invents_no_label() -> None:
    labels = np.random.default_rng(0).choice([0, 3, 40], (1, 9, 9, 9)).astype(np.uint8)
    image = Image(labels, OBLIQUE, "label")
    finer = image.on_grid(image.grid.with_spacing((0.3, 0.3, 0.3)), outside=0, nearest=True)
    assert set(np.unique(finer.voxels)) == {0, 3, 40}
    assert set(np.unique(image.on_grid(finer.grid, outside=0).voxels)) > {0, 3, 40}
    back = finer.on_grid(image.grid, outside=0, nearest=True)
    np.testing.assert_array_equal(back.voxels, labels)


def test_finer_grid_over_the_same_box_has_no_background_at_its_edge() -> None:
    image = Image(np.full((1, 5, 5, 5), 300.0), OBLIQUE, "HU")
    assert (image.on_grid(image.grid.with_spacing((0.2, 0.2, 0.2)), outside=-1000).voxels == 300).all()


def test_round_trip_through_a_finer_grid_returns_a_smooth_image() -> None:
    grid = Grid((24, 24, 12), affine_of(ORDERS[0], 23))
    at = places(grid)
    image = Image(np.sin(at / 12).sum(axis=0)[None], grid.affine, "none")
    back = image.on_grid(grid.with_spacing((0.35, 0.65, 0.5)), outside=0).on_grid(grid, outside=0)
    inner = (slice(None), *(slice(2, -2),) * 3)
    assert np.abs(back.voxels - image.voxels)[inner].max() < 0.02


def test_equal_grid_is_not_interpolated(volume: Image) -> None:
    assert volume.on_grid(volume.grid, outside=0).voxels is volume.voxels


@pytest.mark.parametrize("shape, affine", [((4, 4, 4), (4, 4)), ((1, 4, 4), (4, 4)), ((1, 4, 4, 4), (3, 4))])
def test_image_of_another_shape_is_refused(shape: tuple[int, ...], affine: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"expected \(C, I, J, K\)"):
        Image(np.zeros(shape), np.zeros(affine), "HU")


def test_image_of_unknown_unit_is_refused() -> None:
    with pytest.raises(ImageError, match="unknown unit 'HU\\+1024'"):
        Image(np.zeros((1, 2, 2, 2)), np.eye(4), "HU+1024")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        read(tmp_path / "a.nii.gz", "HU")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kept", [0, 1, 100, 352, 400, 0.5, 0.9, -9, -1], ids=str)
def test_file_that_is_cut_short_is_refused(suffix: str, kept: float, volume: Image, tmp_path: Path) -> None:
    """ITK reads a shortened NIfTI as zeros, and a shortened NRRD without its checksum."""
    path = tmp_path / f"a{suffix}"
    write(volume, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(ImageError, match=re.escape(str(path))):
        read(path, "HU")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_uncompressed_file_is_read_and_refused_when_cut_short(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path), useCompression=False)
    np.testing.assert_array_equal(read(path, "HU").voxels[0], values.T)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ImageError, match="could not be read"):
        read(path, "HU")


def test_nrrd_whose_header_ends_in_its_encoding_is_read_and_refused_when_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    values = np.full(60, 0x0A0A, dtype="<i2")  # looks like the empty line behind a header
    header = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 3 4 5\nendian: little\nencoding: gzip\n\n"
    path.write_bytes(header + gzip.compress(values.tobytes(), compresslevel=0))
    np.testing.assert_array_equal(read(path, "HU").voxels.ravel(order="F"), values)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ImageError, match="cut short or damaged"):
        read(path, "HU")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_damaged_byte_is_noticed_by_the_checksum(suffix: str, volume: Image, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    write(volume, path)
    damaged = bytearray(path.read_bytes())
    damaged[-40] ^= 0x10
    path.write_bytes(damaged)
    with pytest.raises(ImageError, match=re.escape(str(path))):
        read(path, "HU")


def test_gzip_file_of_several_members_is_whole(volume: Image, tmp_path: Path) -> None:
    """As parallel compressors write it."""
    write(volume, tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content[:500]) + gzip.compress(content[500:]))
    np.testing.assert_array_equal(read(tmp_path / "b.nii.gz", "HU").voxels, volume.voxels)


def claim(path: Path, size: tuple[int, int, int]) -> None:
    """Overwrite the size in a file's header."""
    content = path.read_bytes()
    sizes = " ".join(map(str, size)).encode()
    if path.name.endswith(".nii"):
        path.write_bytes(content[:40] + struct.pack("<4h", 3, *size) + content[48:])
    else:
        path.write_bytes(content.replace(b"DimSize = 7 8 9", b"DimSize = " + sizes).replace(b"7 8 9\n", sizes + b"\n"))


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_header_that_claims_more_than_the_memory_is_refused_before_reading(
    suffix: str, volume: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    write(volume, path)
    claim(path, (32767, 32767, 32767))

    def must_not_run(_: Any) -> None:
        raise AssertionError("the voxels were read")

    monkeypatch.setattr(sitk.ImageFileReader, "Execute", must_not_run)
    with pytest.raises(ImageError, match="32767×32767×32767 voxels: that needs"):
        read(path, "HU")


@pytest.mark.parametrize("size", [(-5, 8, 9), (0, 8, 9)])
def test_header_with_an_impossible_size_is_refused(size: tuple[int, int, int], volume: Image, tmp_path: Path) -> None:
    write(volume, tmp_path / "a.nii")
    claim(tmp_path / "a.nii", size)
    with pytest.raises(ImageError, match="could not be read"):
        read(tmp_path / "a.nii", "HU")


def nifti(path: Path, values: NDArray[Any], affine: NDArray[np.float64] = OBLIQUE) -> Path:
    nibabel.Nifti1Image(values, affine).to_filename(path)
    return path


def test_fourth_axis_of_one_volume_is_dropped(tmp_path: Path) -> None:
    assert read(nifti(tmp_path / "a.nii", np.ones((*SHAPE, 1), np.float32)), "none").voxels.shape == (1, *SHAPE)


@pytest.mark.parametrize("axes", [(2,), (1, 3)], ids=str)
def test_several_volumes_in_a_file_are_refused(axes: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="give one volume of it at a time"):
        read(nifti(tmp_path / "a.nii", np.ones((*SHAPE, *axes), np.float32)), "none")


def test_plain_picture_becomes_a_volume_of_one_slice(tmp_path: Path) -> None:
    image = read(nifti(tmp_path / "a.nii", np.ones((4, 5), np.float32), np.diag([2.0, 3.0, 1.0, 1.0])), "none")
    assert image.voxels.shape == (1, 4, 5, 1)
    assert image.grid.spacing_mm == (2.0, 3.0, 1.0)


@pytest.mark.parametrize("suffix", [".png", ".mha", ".nii.gz"])
def test_colours_become_channels(suffix: str, tmp_path: Path) -> None:
    colours = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / f"a{suffix}"))
    image = read(tmp_path / f"a{suffix}", "none")
    assert image.voxels.shape == (3, 5, 4, 1)
    np.testing.assert_array_equal(image.voxels[:, :, :, 0], np.transpose(colours, (2, 1, 0)))


def test_complex_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="complex values: give the magnitude"):
        read(nifti(tmp_path / "a.nii", np.ones(SHAPE, np.complex64)), "none")


def sheared_nifti(path: Path) -> None:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[0, 1] = 0.5
    nifti(path, np.ones(SHAPE, np.float32), affine)


def sheared_mha(path: Path) -> None:
    write(Image(np.ones((1, *SHAPE)), np.eye(4), "none"), path)
    content = path.read_bytes()
    assert b"TransformMatrix = -1 0 0 0" in content
    path.write_bytes(content.replace(b"TransformMatrix = -1 0 0 0", b"TransformMatrix = -1 0 0 0.5"))


@pytest.mark.parametrize(
    "name, shear, words", [("a.nii", sheared_nifti, "orthonormal"), ("a.mha", sheared_mha, "sheared axes")]
)
def test_sheared_axes_are_refused(name: str, shear: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    shear(tmp_path / name)
    with pytest.raises(ImageError, match=words):
        read(tmp_path / name, "none")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.dcm", "a"])
@pytest.mark.parametrize("content", [b"", b"subject,age\n1,42\n" * 50], ids=["empty", "text"])
def test_file_that_is_no_image_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match="could not be read"):
        read(tmp_path / name, "none")


def test_image_in_two_files_is_refused(tmp_path: Path) -> None:
    nibabel.Nifti1Pair(np.ones(SHAPE, np.float32), OBLIQUE).to_filename(tmp_path / "a.img")
    for name in ("a.img", "a.hdr"):
        with pytest.raises(ImageError, match=r"save as \.nii\.gz"):
            read(tmp_path / name, "none")


def test_mhd_with_its_raw_file_is_read_but_not_written(volume: Image, tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(volume.voxels[0].T), str(tmp_path / "a.mhd"))
    np.testing.assert_array_equal(read(tmp_path / "a.mhd", "HU").voxels, volume.voxels)
    with pytest.raises(ImageError, match=r"b\.mhd: the name must end in one of \.nii\.gz, \.nii, \.nrrd, \.mha"):
        write(volume, tmp_path / "b.mhd")
    (tmp_path / "a.raw").unlink()
    with pytest.raises(ImageError, match="could not be read"):
        read(tmp_path / "a.mhd", "HU")


SLICES = (6, 7, 8)
SLICE_DISTANCE_MM = 2.5


def write_series(
    folder: Path, series: str = "1.2.3", modality: str = "CT", left_out: int = -1, shift_mm: float = 0.0
) -> Image:
    """Write an axial DICOM series with oblique rows, stored as HU + 1024, out of order; return what it holds."""
    folder.mkdir(exist_ok=True)
    stored = np.random.default_rng(0).permutation(np.prod(SLICES)).reshape(SLICES).astype(np.int16)
    turn = np.deg2rad(12)
    direction = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    origin = np.array([-101.5, 33.25, 12.0])
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in set(range(SLICES[2])) - {left_out}:
        piece = sitk.GetImageFromArray(np.ascontiguousarray(stored[:, :, k : k + 1].T - 1024))
        position = origin + np.array([0, shift_mm, SLICE_DISTANCE_MM]) * k
        piece.SetSpacing((0.75, 1.25, SLICE_DISTANCE_MM))
        piece.SetOrigin(position.tolist())
        piece.SetDirection(direction.ravel().tolist())
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{series}.{k + 1}",
            "0008|0060": modality,
            "0018|0015": "THIGH",
            "0020|000d": "1.2",
            "0020|000e": series,
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(f"{x:.4f}" for x in position),
            "0020|0037": "\\".join(f"{x:.9f}" for x in direction.T[:2].ravel()),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        for tag, value in tags.items():
            piece.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{series}_{(k * 5) % SLICES[2]}.dcm"))
        writer.Execute(piece)
    affine = np.eye(4)
    affine[:3, :3] = direction * (0.75, 1.25, SLICE_DISTANCE_MM)
    affine[:3, 3] = origin
    return Image(stored[None] - 1024, np.diag([-1.0, -1, 1, 1]) @ affine, "HU")


def test_dicom_series_keeps_places_hounsfield_units_and_modality(tmp_path: Path) -> None:
    expected = write_series(tmp_path / "ct")
    image = read(tmp_path / "ct", "HU")
    np.testing.assert_array_equal(image.voxels, expected.voxels)
    np.testing.assert_allclose(image.affine, expected.affine, atol=1e-3)
    assert image.facts == {"modality": "CT", "body part": "THIGH"}


def test_single_dicom_file_says_its_modality(tmp_path: Path) -> None:
    write_series(tmp_path / "mr", modality="MR")
    assert read(next((tmp_path / "mr").iterdir()), "none").facts["modality"] == "MR"


def test_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(ImageError, match="holds no DICOM series"):
        read(tmp_path, "HU")


def test_folder_with_two_series_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "both")
    write_series(tmp_path / "both", series="1.2.4")
    with pytest.raises(ImageError, match=r"holds 2 DICOM series: give a folder with one \(1\.2\.3, 1\.2\.4\)"):
        read(tmp_path / "both", "HU")


def test_series_with_a_missing_slice_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", left_out=3)
    with pytest.raises(ImageError, match=r"run from 2\.500 to 5\.000 mm: a slice is missing"):
        read(tmp_path / "ct", "HU")


@pytest.mark.parametrize("shift_mm", [0.1, 1.0])
def test_series_of_a_tilted_gantry_is_refused(shift_mm: float, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", shift_mm=shift_mm)
    with pytest.raises(ImageError, match="gantry tilt"):
        read(tmp_path / "ct", "HU")


@pytest.mark.parametrize("slice_index", [0, 4, 7])
def test_series_with_a_damaged_slice_is_refused(slice_index: int, tmp_path: Path) -> None:
    """GDCM drops what it cannot parse; at the end of a stack no distance would give that away."""
    write_series(tmp_path / "ct")
    file = tmp_path / "ct" / f"1.2.3_{(slice_index * 5) % SLICES[2]}.dcm"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ImageError, match=f"{file.name} is damaged or no image"):
        read(tmp_path / "ct", "HU")


def test_other_files_in_a_dicom_folder_do_no_harm(tmp_path: Path) -> None:
    expected = write_series(tmp_path / "ct")
    (tmp_path / "ct" / "notes.txt").write_text("short")
    (tmp_path / "ct" / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(50))
    np.testing.assert_array_equal(read(tmp_path / "ct", "HU").voxels, expected.voxels)


def half_written(_image: Any, path: str, **_: Any) -> None:
    Path(path).write_bytes(b"half")
    raise RuntimeError("ITK ERROR: NiftiImageIO(0x1): disk is full")


def interrupted(_image: Any, path: str, **_: Any) -> None:
    Path(path).write_bytes(b"half")
    raise KeyboardInterrupt


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_write_that_fails_midway_leaves_nothing_and_spares_what_was_there(
    suffix: str, volume: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    monkeypatch.setattr(sitk, "WriteImage", half_written)
    with pytest.raises(ImageError, match="could not be written: disk is full"):
        write(volume, path)
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"precious")
    for failure, error in ((half_written, ImageError), (interrupted, KeyboardInterrupt)):
        monkeypatch.setattr(sitk, "WriteImage", failure)
        with pytest.raises(error):
            write(volume, path)
        assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"precious"]


def test_folder_that_is_missing_or_taken_is_said_so(volume: Image, tmp_path: Path) -> None:
    (tmp_path / "taken.nii.gz").mkdir()
    for path in (tmp_path / "missing" / "a.nii.gz", tmp_path / "taken.nii.gz"):
        with pytest.raises(ImageError, match="could not be written"):
            write(volume, path)
    assert [file.name for file in tmp_path.iterdir()] == ["taken.nii.gz"]


@pytest.mark.parametrize("name", ["a.jpg", "a.mhd", "a", "a.nii.bz2", "a.gz"])
def test_suffix_that_we_do_not_write_is_refused_before_anything_is_there(
    name: str, volume: Image, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match="the name must end in one of"):
        write(volume, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "unit, values, words",
    [
        ("HU", [0.0, np.nan], "NaN or infinite: nothing was written"),
        ("HU", [0.0, np.inf], "NaN or infinite: nothing was written"),
        ("label", [1.0, np.nan], "NaN or infinite: nothing was written"),
        ("label", [1.0, 1.5], "labels are not whole numbers"),
    ],
)
def test_values_that_a_whole_number_cannot_hold_are_refused(
    unit: str, values: list[float], words: str, tmp_path: Path
) -> None:
    """NaN stored as a whole number would be 0 HU, which is water."""
    with pytest.raises(ImageError, match=words):
        write(Image(np.array(values).reshape(1, 2, 1, 1), np.eye(4), unit), tmp_path / "a.nii.gz")
    assert not list(tmp_path.iterdir())


def test_negative_label_does_not_wrap_around(tmp_path: Path) -> None:
    write(Image(np.array([-1, 0, 200]).reshape(1, 3, 1, 1), np.eye(4), "label"), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "a.nii.gz", "label").voxels.ravel(), [-1, 0, 200])


SPACING = (2.0, 2.0, 5.0)


def disc(shape: tuple[int, int, int], centre: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    i, j, _ = np.mgrid[tuple(slice(n) for n in shape)]
    return np.asarray(np.hypot(i - centre[0], j - centre[1]) <= radius)


@pytest.mark.parametrize("slices", [1, 4])
class TestSolidBody:
    def test_table_is_removed_and_two_legs_are_kept(self, slices: int) -> None:
        shape = (120, 80, slices)
        legs = disc(shape, (35, 45), 18) | disc(shape, (85, 45), 16)
        table = np.zeros(shape, bool)
        table[5:115, 10:12] = True
        found = solid(legs | table, SPACING)
        assert not (found & table).any()
        assert (found == legs).mean() > 0.999

    def test_holes_are_filled(self, slices: int) -> None:
        shape = (80, 80, slices)
        leg = disc(shape, (40, 40), 25)
        np.testing.assert_array_equal(solid(leg & ~disc(shape, (42, 38), 8), SPACING), solid(leg, SPACING))
        assert (solid(leg, SPACING) == leg).mean() > 0.999

    def test_tube_beside_the_body_is_removed(self, slices: int) -> None:
        shape = (120, 80, slices)
        leg, tube = disc(shape, (45, 40), 30), disc(shape, (105, 40), 5)
        assert not (solid(leg | tube, SPACING) & tube).any()

    def test_body_cut_by_the_field_of_view_reaches_its_edge(self, slices: int) -> None:
        np.testing.assert_array_equal(solid(np.ones((30, 30, slices), bool), SPACING), True)

    def test_mask_nowhere_thicker_than_a_shell_is_empty(self, slices: int) -> None:
        shell = np.zeros((60, 60, slices), bool)
        shell[:, 20:22] = True
        assert not solid(shell, SPACING).any()
        assert not solid(np.zeros((10, 10, slices), bool), SPACING).any()

    def test_surroundings_become_background_in_every_channel(self, slices: int) -> None:
        shape = (120, 80, slices)
        leg = disc(shape, (60, 45), 22)
        hu = np.where(leg, 50.0, -1000.0)
        hu[5:115, 10:12] = 200.0
        image = Image(np.stack([hu, hu + 1]), np.diag([*SPACING, 1.0]), "HU")
        cleaned, body = without_surroundings(image, CT)
        assert (cleaned.voxels[:, ~body] == CT.background).all()
        np.testing.assert_array_equal(cleaned.voxels[:, body], image.voxels[:, body])
        assert (body == leg).mean() > 0.999


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8"])
def test_a_voxel_of_a_nifti_file_that_is_no_number_is_none_after_reading(
    suffix: str, kind: str, tmp_path: Path
) -> None:
    voxels = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(kind)
    voxels[1, 2, 3], voxels[0, 0, 1] = np.nan, np.inf
    header = nibabel.Nifti1Header(endianness=kind[0])
    header.set_data_dtype(kind)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 2, 3, 1]), header), tmp_path / f"holed{suffix}")
    found = read(tmp_path / f"holed{suffix}", "none").voxels[0]
    assert np.argwhere(~np.isfinite(found)).tolist() == [[0, 0, 1], [1, 2, 3]]
    there = np.isfinite(voxels)
    assert np.array_equal(found[there], voxels[there])
