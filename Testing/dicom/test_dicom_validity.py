"""Validators that are not ours: David Clunie's dciodvfy and dcentvfy, from Debian's package dicom3tools."""

import shutil
import subprocess
from pathlib import Path

import pytest
from scans import DOMAINS, GRIDS, made, scan

from MedGANLogic.catalogue import Model
from MedGANLogic.dicom import open_series, write

pytestmark = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy: install dicom3tools")

# Synthetic Data entered the standard after the validator that Debian has; it must be said all the same.
UNKNOWN_TO_IT = ("(0008,001c)",)


def errors(*command: str | Path) -> list[str]:
    """What a validator holds to be wrong."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith("Error") and not any(tag in line for tag in UNKNOWN_TO_IT)]


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_sources_of_these_tests_are_valid(modality: str, tmp_path: Path) -> None:
    for file in scan(tmp_path / "a", modality).iterdir():
        assert errors("dciodvfy", "-new", file) == []


@pytest.mark.parametrize("target", DOMAINS)
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_every_file_is_valid(modality: str, target: str, tmp_path: Path, model: Model) -> None:
    source = open_series(scan(tmp_path / "source", modality))
    write(made(target), DOMAINS[target], model, source, tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        assert errors("dciodvfy", "-new", file) == []


@pytest.mark.parametrize("target", DOMAINS)
def test_patient_study_and_frame_agree_across_both_series(target: str, tmp_path: Path, model: Model) -> None:
    source = open_series(scan(tmp_path / "source"))
    write(made(target), DOMAINS[target], model, source, tmp_path / "out")
    assert errors("dcentvfy", *source.folder.iterdir(), *(tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())
def test_flipped_grids_are_valid(affine: object, tmp_path: Path, model: Model) -> None:
    source = open_series(scan(tmp_path / "source", "MR", affine))  # type: ignore[arg-type]
    write(made("CT", affine), DOMAINS["CT"], model, source, tmp_path / "out")  # type: ignore[arg-type]
    assert errors("dciodvfy", "-new", tmp_path / "out" / "00001.dcm") == []


def test_the_validator_finds_what_is_wrong(tmp_path: Path) -> None:
    import pydicom

    file = next(scan(tmp_path / "a").iterdir())
    image = pydicom.dcmread(file)
    del image.ScanningSequence
    image.save_as(file)
    assert errors("dciodvfy", "-new", file)
