"""Voxels cross between a front end and its child as they are, and what is damaged is refused in words."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from MedGANLogic.images import Image, ImageError, read, write

AFFINE = np.array([[0.0, -1.1, 0.3, 5.0], [0.7, 0.0, 0.0, -3.1], [0.0, 0.3, 1.1, 1 / 3], [0.0, 0.0, 0.0, 1.0]])


def volume(dtype=np.float32, unit="HU"):
    """Voxels of any kind on an oblique grid, with a fact that is not ASCII."""
    voxels = np.random.default_rng(0).integers(0, 200, (1, 4, 5, 6)).astype(dtype)
    return Image(voxels, AFFINE, unit, {"modality": "CT", "notes": "Größe"})


@pytest.fixture
def crossed(tmp_path):
    """A volume that was written."""
    path = tmp_path / "头 ö.npy"
    write(volume(), path)
    return path


def rewrite(path, **changes):
    """Change what the JSON beside a volume says."""
    sidecar = path.with_name(path.name + ".json")
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text(encoding="utf-8")), **changes}))


@pytest.mark.parametrize("unit", ["HU", "SUV", "none", "label"])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
def test_everything_crosses_bit_by_bit(dtype, unit, tmp_path):
    sent = volume(dtype, unit)
    write(sent, tmp_path / "a.npy")
    arrived = read(tmp_path / "a.npy", unit)
    assert arrived.voxels.dtype == dtype
    np.testing.assert_array_equal(arrived.voxels, sent.voxels)
    np.testing.assert_array_equal(arrived.affine, AFFINE)
    assert (arrived.unit, arrived.facts) == (unit, sent.facts)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.1, -32769.7])
def test_no_number_is_rounded_or_refused(value, tmp_path):
    write(replace(volume(), voxels=np.full((1, 2, 2, 2), value, np.float32)), tmp_path / "a.npy")
    np.testing.assert_array_equal(read(tmp_path / "a.npy", "HU").voxels, np.float32(value))


def test_volume_in_slicer_s_order_crosses_without_a_copy_in_another(tmp_path):
    kji = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
    write(replace(volume(), voxels=kji.transpose(2, 1, 0)[None]), tmp_path / "a.npy")
    arrived = read(tmp_path / "a.npy", "HU").voxels
    np.testing.assert_array_equal(arrived[0].transpose(2, 1, 0), kji)
    assert arrived[0].transpose(2, 1, 0).flags.c_contiguous


def test_voxels_are_mapped_and_cannot_be_written_to(crossed):
    voxels = read(crossed, "HU").voxels
    assert type(voxels) is np.ndarray
    assert isinstance(voxels.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        voxels[:] = 0


def test_another_volume_takes_the_place_of_the_first(crossed):
    write(volume(np.uint8, "label"), crossed)
    assert read(crossed, "label").voxels.dtype == np.uint8
    assert sorted(path.name for path in crossed.parent.iterdir()) == [crossed.name, crossed.name + ".json"]


@pytest.mark.parametrize("asked", ["none", "SUV", "HU+1024"])
def test_unit_that_contradicts_is_refused(asked, crossed):
    with pytest.raises(ImageError, match=rf"holds HU: {asked.replace('+', '.')} was expected"):
        read(crossed, asked)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "format 2"),
        ({"unit": "Bq/mL"}, "unknown unit 'Bq/mL'"),
        ({"unit": None}, "unknown unit None"),
        ({"affine": np.eye(3).tolist()}, r"affine \(3, 3\)"),
        ({"affine": np.diag([1.0, 0, 1, 1]).tolist()}, "does not lead from voxels to millimetres"),
        ({"affine": np.diag([1.0, 1, 1, 2]).tolist()}, "does not lead from voxels to millimetres"),
        ({"affine": np.diag([1.0, float("nan"), 1, 1]).tolist()}, "does not lead from voxels to millimetres"),
        ({"affine": (np.eye(4) + np.eye(4, k=1)).tolist()}, "does not lead from voxels|sheared"),
        ({"affine": [[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "sheared axes"),
        ({"affine": "eye"}, "not a volume that MedGAN wrote"),
        ({"facts": ["CT"]}, "not a volume that MedGAN wrote"),
    ],
)
def test_json_that_makes_no_sense_is_refused(changes, reason, crossed):
    rewrite(crossed, **changes)
    with pytest.raises(ImageError, match=reason):
        read(crossed, "HU")


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "{", "[" * 100_000])
def test_json_that_is_none_is_refused(text, crossed):
    crossed.with_name(crossed.name + ".json").write_text(text)
    with pytest.raises(ImageError, match="not a volume that MedGAN wrote"):
        read(crossed, "HU")


def test_volume_without_its_json_is_refused(crossed):
    crossed.with_name(crossed.name + ".json").unlink()
    with pytest.raises(ImageError, match=r"npy\.json could not be read"):
        read(crossed, "HU")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3, 4), np.float32),
        np.zeros((1, 2, 3, 4), np.complex64),
        np.zeros((1, 2, 3, 4), "U3"),
        np.zeros((1, 2, 3, 4), [("a", "f4")]),
        np.full((1, 1, 1, 1), print, object),
    ],
    ids=["three axes", "complex", "text", "records", "objects"],
)
def test_array_that_is_no_volume_is_refused(array, crossed):
    np.save(crossed, array, allow_pickle=True)
    with pytest.raises(ImageError, match="not a volume that MedGAN wrote"):
        read(crossed, "HU")


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_shortened_file_is_refused(kept, crossed):
    crossed.write_bytes(crossed.read_bytes()[:kept])
    with pytest.raises(ImageError, match="not a volume that MedGAN wrote"):
        read(crossed, "HU")


def test_volume_is_read_where_psutil_is_not_installed(crossed, monkeypatch):
    """A fresh Slicer has none, and what is mapped fills no memory."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert read(crossed, "HU").unit == "HU"


def test_failure_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_arguments, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(ImageError, match="could not be written: No space left on device"):
        write(volume(), tmp_path / "a.npy")
    assert list(tmp_path.iterdir()) == []
