"""``medgan phantom`` makes what it is asked for, and ``docs/phantoms.md`` says what it is made of."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from make_phantom_page import PAGE, with_tables
from phantoms import SMALL

from MedGANLogic import phantom
from MedGANLogic.__main__ import main
from MedGANLogic.images import read


@pytest.fixture(autouse=True)
def few_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    for anatomy in ("thigh", "head", "inserts"):
        monkeypatch.setattr(phantom, anatomy, partial(getattr(phantom, anatomy), grid=SMALL))


@pytest.mark.parametrize("anatomy, part", [("thigh", phantom.thigh), ("head", phantom.head)])
def test_writes_mr_ct_and_pet_of_one_body(anatomy: str, part: object, tmp_path: Path) -> None:
    mr, ct, pet = (tmp_path / f"{name}.nii.gz" for name in ("mr", "ct", "pet"))
    assert main(["phantom", str(mr), "--anatomy", anatomy, "--ct", str(ct), "--pet", str(pet), "--seed", "5"]) == 0
    made = getattr(phantom, anatomy)(5)
    for file, image in ((mr, made.mr), (ct, made.ct), (pet, made.pet)):
        written = read(file, image.unit)
        assert np.allclose(written.voxels, image.voxels, atol=0.51 if image.unit == "HU" else 1e-6)
        assert written.grid.matches(image.grid)


def test_makes_the_mr_of_a_thigh_where_nothing_else_is_said(tmp_path: Path) -> None:
    assert main(["phantom", str(tmp_path / "mr.nrrd")]) == 0
    assert np.array_equal(read(tmp_path / "mr.nrrd", "none").voxels, phantom.thigh(0).mr.voxels)
    assert [file.name for file in tmp_path.iterdir()] == ["mr.nrrd"]


def test_says_where_inserts_lie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phantom", str(tmp_path / "ct.nrrd"), "--anatomy", "inserts", "--seed", "3"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(phantom.inserts(3).to_json()))
    assert np.allclose(read(tmp_path / "ct.nrrd", "HU").voxels, phantom.inserts(3).ct.voxels, atol=0.51)


def test_complains_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phantom", str(tmp_path / "a.nrrd"), "--anatomy", "inserts", "--ct", "x.nii"]) == 2
    assert "leave --ct and --pet out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_page_lists_the_tissues_as_they_are() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tables(page)
