"""Segmentation of a CT and a PET that lie on different grids: brought together in training and in use alike."""

import csv

import numpy as np
import pytest

from MedGANLogic.__main__ import main
from MedGANLogic.bundle import open_bundle
from MedGANLogic.catalogue import read as read_bundle
from MedGANLogic.cohort import Row, prepare, unpack
from MedGANLogic.domain import PET
from MedGANLogic.images import Image, ImageError, read, write
from MedGANLogic.inference.translate import translate
from MedGANLogic.study import Study

TOML = """
inputs = ["ct", "pet"]
dimensions = 2
neighbours = 1
changes = { width = 4, levels = 2, patch = 16, batch = 2 }

[targets.tumour]
modality = "SEG"
window = { name = "Labels", labels = [{ value = 1, name = "tumour" }] }
"""
#: In mm about the middle: the body's radius in the slice, and where it is hot.
BODY, HOT = 30.0, (8.0, -6.0)


def _on(shape, spacing, turn, unit, values_at):
    """Return an image of what is at places in mm, on a grid about the middle of the world."""
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(spacing)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    places = np.einsum("ab,bijk->aijk", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)
    return Image(values_at(*places)[None].astype(np.float32), affine, unit)


def _ct(x, y, z):
    hu = np.where(x**2 + y**2 < BODY**2, 40 + 10 * np.cos(z / 9), -1000) + np.where(x**2 + (y - 15) ** 2 < 25, 900, 0)
    return hu + np.random.default_rng(0).normal(0, 12, hu.shape)


def _uptake(x, y, z):
    """Linear in the world wherever there is body: interpolation leaves it as it is."""
    return np.where(x**2 + y**2 < (BODY + 8) ** 2, 4 + 0.05 * x - 0.04 * y + 0.02 * z, 0)


def _tumour(x, y, z):
    return (x - HOT[0]) ** 2 + (y - HOT[1]) ** 2 + z**2 < 9**2


@pytest.fixture
def files(tmp_path):
    """Write a patient's CT, with its tumour, and PET: coarser, turned over, and seen from the feet."""
    ct = _on((40, 38, 8), (2.0, 2.0, 4.0), np.eye(3), "HU", _ct)
    turned = np.array([[0, -1, 0], [1, 0, 0], [0, 0, -1]], float)
    pet = _on((27, 25, 15), (3.7, 4.1, 3.3), turned, "SUV", _uptake)
    tumour = _on((40, 38, 8), (2.0, 2.0, 4.0), np.eye(3), "label", _tumour)
    places = {role: tmp_path / f"{role}.nii.gz" for role in ("ct", "pet", "tumour")}
    for role, image in {"ct": ct, "pet": pet, "tumour": tumour}.items():
        write(image, places[role])
    (tmp_path / "study.toml").write_text(TOML, encoding="utf-8")
    return places


def test_a_case_has_the_pet_where_the_ct_has_its_voxels(files, tmp_path):
    case = prepare(Row("P1", "train", files), Study.from_file(tmp_path / "study.toml"))
    assert case.volumes["pet"].shape == case.volumes["ct"].shape == case.volumes["tumour"].shape
    x, y, z = (np.einsum("b,bijk->ijk", row[:3], np.indices(case.valid.shape)) + row[3] for row in case.affine[:3])
    inside = x**2 + y**2 < (BODY - 5) ** 2
    assert inside.sum() > 1000 and case.valid[inside].all()
    # Stored in steps: no value is further off than half of one.
    half = 0.51 * case.slopes["pet"]
    np.testing.assert_allclose(case.in_unit("pet", case.volumes["pet"])[inside], _uptake(x, y, z)[inside], atol=half)
    assert half < 0.1
    np.testing.assert_array_equal(case.volumes["tumour"] == 1, _tumour(x, y, z))
    assert case.scanned["pet"].spacing_mm == pytest.approx((4.1, 3.7, 3.3))


def test_a_model_of_both_segments_on_the_grid_of_the_ct(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "cohort.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["subject", "part", *files])
        for subject, part in (("P1", "train"), ("P2", "validation")):
            table.writerow([subject, part, *(path.name for path in files.values())])
    assert main(["train", "--recipe", "segan", "--cohort", "cohort.csv", "--study", "study.toml", "--out", "run",
                 "--steps", "2", "--device", "cpu"]) == 0  # fmt: skip
    assert len(unpack(tmp_path / "run" / "cohort.zip")) == 2
    command = ["translate", "--model", "run/bundle", "ct.nii.gz", "found.nrrd", "--input", "pet", "pet.nii.gz"]
    assert main(command) == 0
    ct, pet, found = read(files["ct"], "HU"), read(files["pet"], "SUV"), read(tmp_path / "found.nrrd", "label")
    assert found.grid.matches(ct.grid) and not pet.grid.matches(ct.grid)
    bundle = open_bundle(read_bundle(tmp_path / "run" / "bundle"))

    def likely(uptake):
        return translate(bundle, {"ct": ct, "pet": uptake}).probabilities()["tumour"].image.voxels

    brought = pet.on_grid(ct.grid, outside=0.0)
    np.testing.assert_allclose(likely(pet), likely(brought), atol=1e-4)
    assert np.abs(likely(pet) - likely(Image(pet.voxels[..., ::-1] * 0.3, pet.affine, "SUV"))).max() > 1e-3
    far = pet.affine + np.pad([[500.0]], ((0, 3), (3, 0)))
    with pytest.raises(ImageError, match="the images show different places"):
        likely(Image(pet.voxels, far, PET.unit))
