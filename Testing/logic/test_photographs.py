"""Photographs: what their files hold reaches an image, in colours or grey, and comes back; all else is said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import toys
from PIL import Image as Picture

from MedGANLogic.__main__ import main
from MedGANLogic.bundle import open_bundle
from MedGANLogic.catalogue import read as read_bundle
from MedGANLogic.check import Level, check
from MedGANLogic.domain import PHOTOGRAPH, Colours, Domain
from MedGANLogic.evaluation.sheet import Cut, Plane, axial_cuts, slice_as_drawn, translation_panels, write_sheet
from MedGANLogic.images import Image, ImageError, read, without_surroundings, write
from MedGANLogic.inference.translate import translate, translate_file

WIDE, HIGH = 23, 17


def seen(seed: int = 0) -> np.ndarray[Any, Any]:
    """Return rows of pixels of a photograph as other programs hold them: (HIGH, WIDE, 3), smooth, with a black rim."""
    down, across = np.mgrid[0:HIGH, 0:WIDE]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    pixels = 130 + 90 * np.sin(down[..., None] / 5 + across[..., None] / 7 + phase)
    rim = (down - HIGH // 2) ** 2 + (across - WIDE // 2) ** 2 > 70
    pixels[rim] = 0
    return pixels.astype(np.uint8)


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """Return a photograph's file."""
    Picture.fromarray(seen()).save(tmp_path / "eye.png")
    return tmp_path / "eye.png"


def rows(image: Image) -> np.ndarray[Any, Any]:
    """Return an image's only slice as other programs hold it: rows, columns and, of several values, those."""
    return image.values.T.squeeze(0) if image.values.ndim == 3 else image.values.T[0]


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.tif", "a.tiff", "a.jpg", "a.jpeg"])
def test_a_photograph_is_read_in_its_colours_wherever_it_is_printed(tmp_path: Path, name: str) -> None:
    lossy = {"quality": 95, "subsampling": 0} if "j" in name else {}
    Picture.fromarray(seen()).save(tmp_path / name, dpi=(300, 300), **lossy)
    image = read(tmp_path / name, "none")
    assert image.voxels.shape == (3, WIDE, HIGH, 1) and image.unit == "none"
    # By another reader of the same file: what JPEG changed is changed for both.
    expected = np.asarray(Picture.open(tmp_path / name)).astype(int)
    assert np.abs(rows(image).astype(int) - expected).max() <= (3 if "j" in name else 0)
    assert image.grid.spacing_mm == (1.0, 1.0, 1.0) and "no physical size" in image.facts["size"]


@pytest.mark.parametrize(
    ("mode", "pixels", "expected"),
    [
        ("RGBA", np.dstack([seen(), seen()[..., :1] // 2]), seen()),
        ("L", seen()[..., 0], seen()[..., 0]),
        ("RGB", np.repeat(seen()[..., :1], 3, axis=2), seen()[..., 0]),
    ],
    ids=["alpha", "grey", "grey three times"],
)
def test_alpha_is_dropped_and_grey_is_one_value(tmp_path: Path, mode: str, pixels: Any, expected: Any) -> None:
    Picture.fromarray(pixels, mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(rows(read(tmp_path / "a.png", "none")), expected)


def test_sixteen_bits_of_colour_are_on_the_scale_of_eight_and_of_grey_as_they_are(tmp_path: Path) -> None:
    deep = (seen().astype(int) * 257 + 100 * (seen() > 0)).astype(np.uint16)
    for suffix in ("png", "tif"):
        sitk.WriteImage(sitk.GetImageFromArray(deep, isVector=True), str(tmp_path / f"c.{suffix}"))
        np.testing.assert_allclose(rows(read(tmp_path / f"c.{suffix}", "none")), deep / 257, rtol=1e-6)
        sitk.WriteImage(sitk.GetImageFromArray(deep[..., 0]), str(tmp_path / f"g.{suffix}"))
        np.testing.assert_array_equal(rows(read(tmp_path / f"g.{suffix}", "none")), deep[..., 0])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_keep_the_values_that_their_file_says(tmp_path: Path, bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, (HIGH, WIDE)).astype(np.uint8)
    if bits == 1:
        Picture.fromarray(values.astype(bool)).save(tmp_path / "m.png")
    else:
        Picture.fromarray(values * (255 // (2**bits - 1))).save(tmp_path / "m.png", bits=bits)
        _as_grey_of(tmp_path / "m.png", values, bits)
    np.testing.assert_array_equal(rows(read(tmp_path / "m.png", "label")), values)


def _as_grey_of(path: Path, values: Any, bits: int) -> None:
    """Write a grey PNG of 2 or 4 bits by hand: Pillow makes none."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    each = 8 // bits
    padded = np.pad(values, ((0, 0), (0, -WIDE % each))).reshape(HIGH, -1, each)
    packed = (padded << np.arange(8 - bits, -1, -bits)).sum(axis=2).astype(np.uint8)
    lines = b"".join(b"\0" + line.tobytes() for line in packed)
    header = struct.pack(">IIBBBBB", WIDE, HIGH, bits, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
def test_labels_and_colours_come_back_from_a_file_with_their_note(tmp_path: Path, shown: Path, suffix: str) -> None:
    photograph = read(shown, "none")
    labels = Image(np.arange(WIDE * HIGH).reshape(1, WIDE, HIGH, 1) % 300, photograph.affine, "label")
    for name, image in {"colours": photograph, "labels": labels}.items():
        path = tmp_path / (name + suffix)
        write(replace(image, facts={"notes": "SYNTHETIC SEG by MedGAN toy, research use only"}), path)
        again = read(path, image.unit)
        np.testing.assert_array_equal(again.voxels, image.voxels)
        assert again.facts["notes"] == "SYNTHETIC SEG by MedGAN toy, research use only"
        with Picture.open(path) as other:
            said = other.tag_v2[270] if "tif" in suffix else other.info["Description"]
            assert said == again.facts["notes"] and other.size == (WIDE, HIGH)
            np.testing.assert_array_equal(np.asarray(other), rows(image))


def test_what_a_result_adds_to_a_colour_is_rounded_and_kept_within_its_bits(tmp_path: Path) -> None:
    voxels = np.float32([-7.2, 0.4, 0.6, 254.6, 300.0, 9]).reshape(3, 2, 1, 1)
    write(Image(voxels, np.eye(4), "none"), tmp_path / "a.png")
    assert read(tmp_path / "a.png", "none").voxels.ravel().tolist() == [0, 0, 1, 255, 255, 9]


def test_values_of_any_size_are_kept_by_tiff_alone(tmp_path: Path) -> None:
    shares = Image(np.random.default_rng(0).random((1, 5, 4, 1), np.float32), np.eye(4), "none")
    write(shares, tmp_path / "p.tif")
    np.testing.assert_array_equal(read(tmp_path / "p.tif", "none").voxels, shares.voxels)
    with pytest.raises(
        ImageError, match=r"p\.png holds labels or colours, the image values of any size: call it \.tif"
    ):
        write(shares, tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("a.png", (1, 4, 5, 6), r"a\.png holds one picture, the image has 6 slices: call it \.nii\.gz"),
        ("a.tif", (3, 4, 5, 2), r"a\.tif holds one picture, the image has 2 slices"),
        ("a.png", (2, 4, 5, 1), r"the image 2 values a pixel"),
        ("a.jpg", (3, 4, 5, 1), r"must end in one of .*\.png.*: JPEG would blur what is written"),
    ],
)
def test_what_a_picture_cannot_hold_is_not_written(tmp_path: Path, name: str, shape: Any, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        write(Image(np.zeros(shape, np.float32), np.eye(4), "none"), tmp_path / name)


def test_what_is_cut_short_or_several_is_refused(tmp_path: Path, shown: Path) -> None:
    whole = Picture.open(shown)
    whole.save(tmp_path / "whole.jpg")
    whole.save(tmp_path / "whole.tif")
    for name, kept in {"whole.jpg": 0.9, "eye.png": 0.5, "whole.tif": 0.5}.items():
        content = (tmp_path / name).read_bytes()
        cut = tmp_path / f"cut-{name}"
        cut.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(ImageError, match=f"cut-{name} "):
            read(cut, "none")
    whole.save(tmp_path / "two.tif", save_all=True, append_images=[whole])
    with pytest.raises(ImageError, match=r"two\.tif holds several pictures: give one"):
        read(tmp_path / "two.tif", "none")


def test_a_palette_is_no_label_map(tmp_path: Path) -> None:
    Picture.fromarray(seen()[..., 0] // 64).convert("P", palette=Picture.Palette.ADAPTIVE).save(tmp_path / "p.png")
    with pytest.raises(ImageError, match="by a palette: save the label map in greys"):
        read(tmp_path / "p.png", "label")


def test_colours_fill_the_networks_range_and_return() -> None:
    values = np.float32([0, 127.5, 255]).reshape(3, 1, 1, 1)
    window = PHOTOGRAPH.window
    written = window.shown(values, window.scale(values))
    assert written.ravel().tolist() == [-1, 0, 1] and window.volumes("eye") == ("eye: red", "eye: green", "eye: blue")
    np.testing.assert_array_equal(window.answer(written, window.scale(values)), values)
    assert Domain.from_json(PHOTOGRAPH.to_json()) == PHOTOGRAPH
    with pytest.raises(ValueError):
        Colours(body_above=255)


def test_all_but_black_is_body_however_small_and_its_holes_too() -> None:
    voxels = np.zeros((3, 40, 40, 1), np.float32)
    voxels[1, 5:25, 5:25] = 90
    voxels[:, 12:15, 12:15] = 4  # a dark spot inside
    voxels[2, 35, 35] = 30  # one bright pixel
    voxels[:, 30:, :5] = 8  # what JPEG leaves of black
    cleaned, body = without_surroundings(Image(voxels, np.eye(4), "none"), PHOTOGRAPH)
    expected = np.zeros((40, 40), bool)
    expected[5:25, 5:25] = expected[35, 35] = True
    np.testing.assert_array_equal(body[..., 0], expected)
    np.testing.assert_array_equal(cleaned.voxels, np.where(expected[..., None], voxels, 0))


SEGMENTING = toys.photographed("segmentation", toys.SEGMENTATION)
COLOURING = toys.photographed("recolour", PHOTOGRAPH)
GREY = toys.CARDS["translate"]()


def texts(card: Any, image: Image, level: Level = Level.ERROR) -> list[str]:
    return [found.text for found in check(card, next(iter(card.inputs)), image) if found.level is level]


def test_grey_into_colours_and_colours_into_grey_are_refused_in_words(shown: Path) -> None:
    photograph = read(shown, "none")
    assert texts(SEGMENTING, photograph) == []
    assert texts(SEGMENTING, photograph, Level.WARNING) == []
    assert texts(SEGMENTING, photograph, Level.NOTE) == ["a photograph has no physical size: a pixel counts as 1 mm"]
    (said,) = texts(SEGMENTING, replace(photograph, voxels=photograph.voxels[:1]))
    assert said == (
        "the image has 1 value per voxel (grey), toy-segmentation reads colours (red, green, blue): "
        "give a colour photograph"
    )
    (said,) = texts(GREY, photograph)
    assert "3 values per voxel (a colour or vector image), toy-translate reads one: give one grey value" in said
    for factor in (1 / 255, 3.0):
        said = texts(SEGMENTING, replace(photograph, voxels=photograph.voxels * np.float32(factor)))
        assert any("are not colours from 0 to 255" in text for text in said)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {card.task: toys.save_card(card, folder) for card in (SEGMENTING, COLOURING)}


def test_a_jpeg_becomes_labels_in_a_png_of_its_size(tmp_path: Path, bundles: dict[str, Path]) -> None:
    Picture.fromarray(seen()).save(tmp_path / "eye.jpg", quality=95)
    provenance = translate_file(str(bundles["segmentation"]), str(tmp_path / "eye.jpg"), str(tmp_path / "out.png"))
    written = np.asarray(Picture.open(tmp_path / "out.png"))
    assert written.shape == (HIGH, WIDE) and set(np.unique(written)) <= {0, 1, 7} and written.any()
    done = translate(open_bundle(read_bundle(bundles["segmentation"])), read(tmp_path / "eye.jpg", "none"))
    np.testing.assert_array_equal(written, rows(done.image))
    assert json.loads((tmp_path / "out.png.medgan.json").read_text()) == provenance
    assert "no physical size" in provenance["findings"][0]["text"]


def test_colours_come_out_where_a_model_makes_them_and_are_said_to_be_made_up(
    tmp_path: Path, bundles: dict[str, Path], shown: Path
) -> None:
    translate_file(str(bundles["recolour"]), str(shown), str(tmp_path / "out.tif"))
    again = read(tmp_path / "out.tif", "none")
    assert again.voxels.shape == (3, WIDE, HIGH, 1)
    made = translate(open_bundle(read_bundle(bundles["recolour"])), read(shown, "none")).image
    np.testing.assert_array_equal(again.voxels, np.clip(np.rint(made.voxels), 0, 255))
    assert any("itself synthetic" in text for text in texts(COLOURING, again, Level.WARNING))


def test_a_name_that_cannot_hold_the_result_is_refused_before_any_work(
    tmp_path: Path, bundles: dict[str, Path], shown: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = tmp_path / "mr.nii.gz"
    write(Image(np.random.default_rng(0).random((1, 8, 8, 3), np.float32) * 400, np.eye(4), "none"), volume)
    toy = toys.save_toy("translate", tmp_path)
    assert main(["translate", "--model", str(toy), str(volume), str(tmp_path / "ct.png")]) == 2
    assert "ct.png holds one picture, the image has 3 slices" in capsys.readouterr().err
    assert main(["translate", "--model", str(bundles["segmentation"]), str(shown), str(tmp_path / "out.jpg")]) == 2
    assert "JPEG would blur what is written" in capsys.readouterr().err


def test_a_folder_of_photographs_becomes_one_of_label_maps(
    tmp_path: Path, bundles: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "eyes", tmp_path / "labels"
    source.mkdir()
    for number, name in enumerate(("a.jpg", "b.png", "c.tif")):
        Picture.fromarray(seen(number)).save(source / name)
    command = ["translate", "--model", str(bundles["segmentation"]), str(source), str(output)]
    assert main(command) == 0
    assert sorted(path.name for path in output.iterdir() if path.suffix != ".json") == ["a.png", "b.png", "c.tif"]
    Picture.fromarray(seen(3)).save(source / "a.png")
    assert main(command) == 2 and "two files would lead to a.png" in capsys.readouterr().err


def test_a_sheet_shows_photographs_upright_in_their_colours(tmp_path: Path, shown: Path) -> None:
    photograph = read(shown, "none")
    drawn = slice_as_drawn(photograph, Cut(Plane.AXIAL, 0))
    np.testing.assert_array_equal(drawn.pixels, seen())
    labels = Image((photograph.voxels[:1] > 99).astype(np.uint8), photograph.affine, "label")
    cuts = axial_cuts(photograph.grid, 3)
    assert cuts == (Cut(Plane.AXIAL, 0),)
    write_sheet(tmp_path / "sheet.png", "Eye", translation_panels(photograph, labels, labels), cuts)
    pixels = np.asarray(Picture.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    # The reddest places of the photograph are red on the sheet: no palette of greys took their colour.
    assert (pixels[..., 0] - pixels[..., 2]).max() > 100


def test_a_grey_model_takes_a_grey_photograph(tmp_path: Path) -> None:
    Picture.fromarray(seen()[..., 0]).save(tmp_path / "grey.png")
    found = texts(GREY, read(tmp_path / "grey.png", "none"))
    assert not any("per voxel" in text for text in found)
