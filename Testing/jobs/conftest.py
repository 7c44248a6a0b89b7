"""Jobs whose children do what a test needs, and that leave nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from MedGANLogic.jobs import Job, child_environment


@pytest.fixture
def environment():
    """The environment of a child that finds the payloads."""
    usual = child_environment()
    folders = [usual["PYTHONPATH"], str(Path(__file__).parent)]
    return {**usual, "PYTHONPATH": os.pathsep.join(folders)}


@pytest.fixture
def place(tmp_path):
    """A folder with a name that breaks programs."""
    folder = tmp_path / "Größe 体 積 (1)"
    folder.mkdir()
    return folder


@pytest.fixture
def job(environment, place):
    """A job whose module is the payload."""
    with Job(module="payload", environment=environment, place=place) as made:
        yield made


@pytest.fixture
def other(environment, place):
    """A second job."""
    with Job(module="payload", environment=environment, place=place) as made:
        yield made


@pytest.fixture
def verb(environment, place):
    """A job whose module is our command line."""
    with Job(environment=environment, place=place) as made:
        yield made


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 128 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only Linux's root can make a small disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", folder], check=False).returncode != 0:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)
