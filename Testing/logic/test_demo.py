"""The demonstration writes what it promises, for the phantom and for one's own image."""

import json

import pytest

pytest.importorskip("matplotlib")

from MedGANLogic.__main__ import main
from MedGANLogic.images import read


def test_the_phantom_is_translated_drawn_and_measured(toy_folder, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--model", str(toy_folder), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    found = {path.name for path in out.iterdir()}
    assert found == {
        "mr.nii.gz",
        "true_ct.nii.gz",
        "tissues.nii.gz",
        "synthetic_ct.nii.gz",
        "synthetic_ct.nii.gz.medgan.json",
        "sheet.png",
        "errors.txt",
    }
    assert read(out / "synthetic_ct.nii.gz", "HU").grid.matches(read(out / "mr.nii.gz", "none").grid)
    assert json.loads((out / "synthetic_ct.nii.gz.medgan.json").read_text())["synthetic"] is True
    assert "MAE" in told
    assert "medgan translate" in told
    assert str(out / "sheet.png") in told


def test_ones_own_image_is_translated_and_drawn_without_truth(toy_folder, mr_file, tmp_path, capsys):
    out = tmp_path / "mine"
    assert main(["demo", "--model", str(toy_folder), "--input", str(mr_file), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "synthetic_ct.nii.gz",
        "synthetic_ct.nii.gz.medgan.json",
        "sheet.png",
    }
    assert "Errors against" not in capsys.readouterr().out
