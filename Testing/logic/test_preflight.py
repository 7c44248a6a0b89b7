"""One plain sentence per finding, and nothing that is there is ever replaced."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from MedGANLogic.check import Level
from MedGANLogic.preflight import GIVEN, NEEDED, Machine, constraints, missing, pip_arguments, preflight
from MedGANLogic.presenters.readiness import readiness

READY = Machine(
    system="Linux",
    processor="x86_64",
    packages={"torch": "2.10.0", "numpy": "2.0.2", "simpleitk": "2.5.0", **NEEDED},
    site_packages=Path("/opt/Slicer/lib/Python/Lib/site-packages"),
    may_write=True,
    has_long_paths=True,
    free_disk_bytes=50 << 30,
    memory_bytes=16 << 30,
    gpu="an NVIDIA driver",
)


def without(*names):
    return {name: version for name, version in READY.packages.items() if name not in names}


def test_machine_that_is_ready_has_nothing_against_it():
    assert {finding.level for finding in preflight(READY)} == {Level.NOTE} and missing(READY) == []


def test_this_machine_can_run_the_suite():
    machine = Machine.this()
    assert [finding for finding in preflight(machine) if finding.level is Level.ERROR] == []
    assert missing(machine) == [] and machine.memory_bytes > 1 << 30


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"system": "Darwin"}, Level.ERROR, "Intel"),
        ({"packages": without("torch")}, Level.WARNING, "PyTorch extension"),
        ({"packages": {**READY.packages, "torch": "2.5.1+cu121"}}, Level.ERROR, "too old"),
        ({"packages": without("psutil")}, Level.WARNING, "psutil>=5.9"),
        ({"packages": {**READY.packages, "safetensors": "0.4.9"}}, Level.WARNING, "safetensors>=0.5"),
        ({"packages": without("tqdm"), "may_write": False}, Level.ERROR, "may not be written to"),
        ({"packages": without("torch"), "free_disk_bytes": 1 << 30}, Level.ERROR, "1.0 GB of disk"),
        ({"memory_bytes": 2 << 30}, Level.WARNING, "2.0 GB of memory"),
        ({"gpu": ""}, Level.NOTE, "CPU"),
        ({}, Level.NOTE, "torch 2.10.0 is there, in /opt/Slicer"),
        ({}, Level.NOTE, "MONAI is not installed"),
        ({"packages": {**READY.packages, "monai": "1.6.0"}}, Level.NOTE, "MONAI 1.6.0"),
    ],
)
def test_each_finding_is_one_sentence_with_what_to_do(changes, level, said):
    found = preflight(replace(READY, **changes))
    assert [finding for finding in found if finding.level is level and said in finding.text]
    assert all("\n" not in finding.text for finding in found)
    assert found == sorted(found, key=lambda finding: -finding.level)


def test_mac_of_today_is_fine():
    assert {finding.level for finding in preflight(replace(READY, system="Darwin", processor="arm64"))} == {Level.NOTE}


@pytest.mark.parametrize(
    ("depth", "long_paths", "refused"), [(150, False, True), (150, True, False), (20, False, False)]
)
def test_windows_paths_that_torch_would_overrun_are_said_before(depth, long_paths, refused):
    place = Path("C:/" + "x" * depth)
    machine = replace(
        READY, system="Windows", site_packages=place, has_long_paths=long_paths, packages=without("torch")
    )
    assert any("short folder" in finding.text for finding in preflight(machine)) == refused


def test_what_is_given_is_never_asked_of_pip_and_what_is_there_is_kept():
    bare = replace(READY, packages={"numpy": "2.0.2", "requests": "2.32.0", "psutil": "5.0"})
    assert not {requirement.partition(">=")[0] for requirement in missing(bare)} & set(GIVEN)
    kept = constraints(bare, missing(bare)).split()
    assert "numpy==2.0.2" in kept and "requests==2.32.0" in kept
    assert not any(line.startswith("psutil") for line in kept), "what must be newer may be"


def test_folder_of_wheels_needs_no_internet():
    said = pip_arguments(["psutil>=5.9"], Path("c.txt"), Path("wheels"))
    assert "--no-index" in said and said[said.index("--find-links") + 1] == "wheels"
    assert "--no-index" not in pip_arguments(["psutil>=5.9"], Path("c.txt"), None)


def test_nothing_that_may_be_missing_is_imported():
    absent = ("torch", "monai", "psutil", "safetensors", "tqdm", "SimpleITK")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}));"
        "from MedGANLogic.preflight import Machine, preflight; preflight(Machine.this())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changes", "question", "is_ready"),
    [
        ({}, "", True),
        ({"gpu": ""}, "", True),
        ({"memory_bytes": 2 << 30}, "", True),
        ({"packages": without("psutil")}, "Install psutil now?", False),
        ({"packages": without("torch", "tqdm")}, "Install torch, tqdm now?", False),
        ({"packages": without("psutil"), "may_write": False}, "", False),
        ({"packages": {**READY.packages, "torch": "1.13"}}, "", False),
    ],
)
def test_question_is_asked_only_where_the_answer_helps(changes, question, is_ready):
    found = readiness(replace(READY, **changes))
    assert found.question.startswith(question) and bool(found.question) == bool(question)
    assert found.is_ready == is_ready
