"""What a layout of MedGAN is, and how one looks into it from outside."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STAND_IN_SLICER = Path(__file__).parent / "stand_in_slicer"


@dataclass(frozen=True)
class Layout:
    """Where a layout has what; ``path`` is where an interpreter looks for packages, the modules' folder first."""

    package: Path
    resources: Path
    path: tuple[Path, ...]

    def python(self, code):
        """Run code in an interpreter of its own that looks here first, and return the lines that it prints."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MEDGAN_", "PYTHON"))}
        environment |= {"PYTHONPATH": os.pathsep.join(map(str, self.path)), "PYTHONUTF8": "1"}
        return run(sys.executable, "-P", "-B", "-c", code, env=environment).splitlines()


def run(*command, **where):
    """Run a command that must succeed, and return what it prints."""
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, **where)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_below(folder):
    """Return the files below a folder, named from there."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
