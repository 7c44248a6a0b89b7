"""``medgan translate --dicom``: a series in, a series of the same study out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from scans import scan
from toys import save_toy

from MedGANLogic.__main__ import main
from MedGANLogic.images import read


@pytest.fixture
def translated(tmp_path: Path, source_folder: Path) -> Any:
    """Translate the source series by a toy of a task, into a folder that is not there yet."""

    def run(task: str = "translate", output: str = "out") -> tuple[int, Path]:
        model, folder = save_toy(task, tmp_path / "models"), tmp_path / output
        return main(["translate", "--model", str(model), str(source_folder), str(folder), "--dicom", "--force"]), folder

    return run


def test_series_out_lies_where_the_series_in_does(translated: Any, source_folder: Path) -> None:
    code, folder = translated()
    assert code == 0
    found, given = read(folder, "HU"), read(source_folder, "none")
    assert found.grid.matches(given.grid, tolerance_mm=0.01)
    headers = [pydicom.dcmread(next(of.iterdir())) for of in (folder, source_folder)]
    assert headers[0].StudyInstanceUID == headers[1].StudyInstanceUID
    assert headers[0].SeriesInstanceUID != headers[1].SeriesInstanceUID
    assert "SYNTHETIC" in headers[0].SeriesDescription
    provenance = json.loads(folder.with_name("out.medgan.json").read_text())
    assert provenance["synthetic"] and provenance["unit"] == "HU"


def test_labels_become_a_segmentation(translated: Any) -> None:
    code, folder = translated("segment")
    assert code == 0
    assert [pydicom.dcmread(file).Modality for file in folder.iterdir()] == ["SEG"]


def test_every_target_becomes_a_series_of_its_own(translated: Any) -> None:
    code, folder = translated("two-targets")
    both = [folder, folder.with_name("out-tissues")]
    assert code == 0 and [pydicom.dcmread(next(of.iterdir())).Modality for of in both] == ["CT", "SEG"]
    assert json.loads(folder.with_name("out.medgan.json").read_text())["further"][0]["output"] == str(both[1])


def test_no_series_is_written_where_one_of_several_cannot_be(translated: Any, tmp_path: Path) -> None:
    (tmp_path / "out-tissues").mkdir()
    (tmp_path / "out-tissues" / "mine.txt").write_text("mine")
    code, folder = translated("two-targets")
    assert code == 2 and not folder.exists()


def test_what_was_done_before_is_not_done_again(translated: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _, folder = translated()
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert translated()[0] == 0 and "done before" in capsys.readouterr().err
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


@pytest.mark.parametrize("source", ["mr.nii.gz", "empty"])
def test_source_that_is_no_series_is_refused_before_any_work(source: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mr.nii.gz").write_bytes(b"")
    model, output = save_toy("translate", tmp_path / "models"), tmp_path / "out"
    assert main(["translate", "--model", str(model), str(tmp_path / source), str(output), "--dicom"]) == 2
    assert not output.exists() and not list(tmp_path.glob("*.medgan.json"))


def test_folder_with_files_is_refused(translated: Any, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    code, folder = translated(output="full")
    assert code == 2 and [file.name for file in folder.iterdir()] == ["mine.txt"]


def test_series_described_in_another_alphabet_is_read(tmp_path: Path) -> None:
    folder = scan(tmp_path / "latin")
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        header.SpecificCharacterSet = "ISO_IR 100"
        header.SeriesDescription = "Sch\u00e4del axial"
        header.save_as(file)
    image = read(folder, "none")
    assert image.facts["series"].endswith("del axial") and np.isfinite(image.voxels).all()
