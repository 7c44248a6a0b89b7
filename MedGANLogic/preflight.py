"""Can this machine do the work? One plain sentence per finding, before anything is installed or run.

Nothing that may be missing is imported: packages are known by their metadata. torch, numpy and SimpleITK are no
requirements of ours: torch comes from Slicer's PyTorch extension, or from the folder of wheels that a user names where
there is no internet; the others come with Slicer.
"""

import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from MedGANLogic.check import Finding, Level

#: What prediction needs beside torch, numpy and SimpleITK: small packages, each with its oldest version that works.
NEEDED: Mapping[str, str] = {"psutil": "5.9", "safetensors": "0.5", "tqdm": "4.66"}

#: What writing DICOM needs besides.
NEEDED_FOR_DICOM: Mapping[str, str] = {**NEEDED, "highdicom": "0.26", "pydicom": "3.0"}

#: What comes before us and stays as it is.
GIVEN = ("torch", "numpy", "SimpleITK")

#: The oldest torch that prediction works with.
OLDEST_TORCH = "2.6"

_TORCH_BYTES = 4 << 30
_ENOUGH_MEMORY_BYTES = 4 << 30
_LONGEST_WINDOWS_PATH = 260
#: The longest name that torch unpacks below site-packages.
_LONGEST_INSIDE = 150


@dataclass(frozen=True)
class Machine:
    """What there is: all that ``preflight`` judges. ``packages`` are versions by name; ``gpu`` is "" for none."""

    system: str
    processor: str
    packages: Mapping[str, str]
    site_packages: Path
    may_write: bool
    has_long_paths: bool
    free_disk_bytes: int
    memory_bytes: int
    gpu: str

    @staticmethod
    def this() -> "Machine":
        """Look at this machine and this Python."""
        place = Path(sysconfig.get_paths()["purelib"])
        return Machine(
            system=platform.system(),
            processor=platform.machine().lower(),
            packages=_installed(),
            site_packages=place,
            may_write=os.access(place, os.W_OK),
            has_long_paths=_has_long_paths(),
            free_disk_bytes=shutil.disk_usage(place).free,
            memory_bytes=_memory_bytes(),
            gpu="an NVIDIA driver" if shutil.which("nvidia-smi") else "",
        )


def preflight(machine: Machine, needed: Mapping[str, str] = NEEDED) -> list[Finding]:
    """Return what speaks against working here, the gravest first; no errors means that one Apply away it runs."""
    found = [
        *_platform(machine),
        *_torch(machine),
        *_monai(machine),
        *_small_packages(machine, needed),
        *_room(machine),
        *_accelerator(machine),
    ]
    return sorted(found, key=lambda finding: -finding.level)


def missing(machine: Machine, needed: Mapping[str, str] = NEEDED) -> list[str]:
    """Return what ``pip`` must install, as requirements; never one of ``GIVEN``."""
    return [
        f"{name}>={oldest}"
        for name, oldest in needed.items()
        if _numbers(machine.packages.get(name.lower(), "0")) < _numbers(oldest)
    ]


def constraints(machine: Machine, changed: Sequence[str]) -> str:
    """Return a pip constraints file that keeps everything which is installed as it is, but for some requirements."""
    changing = {requirement.partition(">=")[0].lower() for requirement in changed}
    kept = {name: version for name, version in machine.packages.items() if name not in changing}
    return "".join(f"{name}=={version}\n" for name, version in sorted(kept.items()))


def pip_arguments(requirements: Sequence[str], constraints_file: Path, wheels: Path | None) -> list[str]:
    """Return pip's arguments: under the constraints, and from a folder of wheels alone where one is given."""
    source = ["--no-index", "--find-links", str(wheels)] if wheels else []
    return ["install", "--disable-pip-version-check", "--constraint", str(constraints_file), *source, *requirements]


def _platform(machine: Machine) -> list[Finding]:
    if machine.system == "Darwin" and machine.processor != "arm64":
        return [Finding(Level.ERROR, "this is a Mac with an Intel processor: torch is no longer made for it")]
    return []


def _torch(machine: Machine) -> list[Finding]:
    found = machine.packages.get("torch")
    if found is None:
        return [Finding(Level.WARNING, "torch is not installed: the PyTorch extension installs it (up to 3 GB)")]
    if _numbers(found) < _numbers(OLDEST_TORCH):
        return [Finding(Level.ERROR, f"torch {found} is too old: MedGAN needs {OLDEST_TORCH} and replaces none itself")]
    return [Finding(Level.NOTE, f"torch {found} is there, in {machine.site_packages}")]


def _monai(machine: Machine) -> list[Finding]:
    found = machine.packages.get("monai")
    if found is not None:
        return [Finding(Level.NOTE, f"MONAI {found} is there")]
    return [Finding(Level.NOTE, "MONAI is not installed: only training and models with networks of MONAI's need it")]


def _small_packages(machine: Machine, needed: Mapping[str, str]) -> list[Finding]:
    wanted = missing(machine, needed)
    if wanted and not machine.may_write:
        text = (
            f"{machine.site_packages} may not be written to, and {', '.join(wanted)} is missing: ask who installed it"
        )
        return [Finding(Level.ERROR, text)]
    if wanted:
        return [Finding(Level.WARNING, f"to be installed: {', '.join(wanted)} (a few MB)")]
    return []


def _room(machine: Machine) -> list[Finding]:
    found = []
    if "torch" not in machine.packages and machine.free_disk_bytes < _TORCH_BYTES:
        free = machine.free_disk_bytes / 2**30
        found.append(Finding(Level.ERROR, f"{free:.1f} GB of disk are free: torch needs {_TORCH_BYTES >> 30}"))
    if machine.memory_bytes < _ENOUGH_MEMORY_BYTES:
        text = f"{machine.memory_bytes / 2**30:.1f} GB of memory: large volumes will be worked on in many small windows"
        found.append(Finding(Level.WARNING, text))
    if machine.system == "Windows" and not machine.has_long_paths and "torch" not in machine.packages:
        longest = len(str(machine.site_packages)) + _LONGEST_INSIDE
        if longest > _LONGEST_WINDOWS_PATH:
            text = f"paths would be {longest} characters long, Windows takes {_LONGEST_WINDOWS_PATH}: install Slicer "
            found.append(Finding(Level.ERROR, text + "in a short folder such as C:\\Slicer, or allow long paths"))
    return found


def _accelerator(machine: Machine) -> list[Finding]:
    if machine.gpu:
        return []
    return [Finding(Level.NOTE, "no NVIDIA driver was found: the work is done on the CPU, which takes longer")]


def _installed() -> dict[str, str]:
    """Return the packages that Python would import, by lower-case name; of two of one name the first on the path."""
    found: dict[str, str] = {}
    for package in metadata.distributions():
        # A folder that an installation left half behind has no name.
        if package.metadata is not None and package.metadata["Name"]:
            found.setdefault(package.metadata["Name"].lower(), package.version)
    return found


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (2, 13, 0) for ``2.13.0+cpu``."""
    numbers = []
    for part in version.split("+", maxsplit=1)[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _has_long_paths() -> bool:
    if sys.platform != "win32":
        return True
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])
    except OSError:
        return False


def _memory_bytes() -> int:
    if sys.platform != "win32":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "page", "page_free", "virtual", "virtual_free")),
            ("extended", ctypes.c_ulonglong),
        ]

    status = Status()
    status.length = ctypes.sizeof(Status)
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.total)
