"""What is missing is installed from a folder of wheels, by the real pip, without a network and without replacing."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from MedGANLogic.jobs import Job, State, child_environment

ROOT = Path(__file__).resolve().parents[2]


def wheel(folder, name, version, requires=()):
    """Make the smallest wheel that pip takes."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"__version__ = {version!r}\n")
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def bare(tmp_path):
    """A Python of its own that has pip, and sees the numpy of the suite: as much as a fresh Slicer has."""
    folder = tmp_path / "slicer python"
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    import numpy as np

    (site,) = folder.glob("**/site-packages")
    for name in ("numpy", "numpy.libs"):
        source = Path(np.__file__).parents[1] / name
        if source.exists():
            (site / name).symlink_to(source)
    (kept,) = Path(np.__file__).parents[1].glob("numpy-*.dist-info")
    (site / kept.name).symlink_to(kept)
    return python


def installed(python):
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True).stdout
    return {package["name"].lower(): package["version"] for package in json.loads(listed)}


def install(python, wheels):
    with Job(python, module="MedGANLogic.install", environment=child_environment()) as job:
        job.start("--wheels", wheels)
        state = job.wait(timeout=120)
        return state, job.error, job.log.read_text()


def test_conflict_installs_nothing_and_a_fitting_folder_replaces_nothing(bare, tmp_path):
    folders = {name: tmp_path / name for name in ("conflict", "fitting")}
    for folder in folders.values():
        folder.mkdir()
        for name, version in (("psutil", "7.0"), ("safetensors", "0.6"), ("numpy", "99.0"), ("torch", "2.10.0")):
            wheel(folder, name, version)
    wheel(folders["conflict"], "tqdm", "4.70", ["numpy>=99"])
    wheel(folders["fitting"], "tqdm", "4.70")
    before = installed(bare)
    state, error, _ = install(bare, folders["conflict"])
    assert state is State.FAILED and "could not be installed" in error and "numpy>=99" in error
    assert installed(bare) == before
    state, error, log = install(bare, folders["fitting"])
    assert (state, error) == (State.DONE, ""), log
    assert installed(bare) == {**before, "psutil": "7.0", "safetensors": "0.6", "tqdm": "4.70", "torch": "2.10.0"}
    assert "http" not in log
