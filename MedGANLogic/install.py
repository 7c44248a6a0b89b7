"""Install what is missing, in a child process: ``python -m MedGANLogic.install --events FILE``.

pip works under constraints that keep everything which is there; where that cannot be, nothing is installed and pip's
own reason is said. numpy and SimpleITK are never installed, torch only from a folder of wheels.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from MedGANLogic.child import run
from MedGANLogic.preflight import NEEDED, NEEDED_FOR_DICOM, OLDEST_TORCH, Machine, constraints, missing, pip_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Install what ``preflight.missing`` names; say the result, or pip's reason, in the events file."""
    parser = argparse.ArgumentParser(prog="MedGANLogic.install")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels: nothing is downloaded then")
    parser.add_argument("--dicom", action="store_true", help="also what writing DICOM needs")
    parser.add_argument("--events", type=Path, required=True)
    options = parser.parse_args(arguments)
    machine = Machine.this()
    wanted = missing(machine, NEEDED_FOR_DICOM if options.dicom else NEEDED)
    if options.wheels and "torch" not in machine.packages:
        # The PyTorch extension needs the internet; who names a folder has none.
        wanted.append(f"torch>={OLDEST_TORCH}")
    reason = _pip(wanted, constraints(machine, wanted), options.wheels) if wanted else ""
    event = {"event": "error", "text": reason, "code": 1} if reason else {"event": "result", "installed": wanted}
    with options.events.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(event) + "\n")
    return 1 if reason else 0


def _pip(requirements: Sequence[str], kept: str, wheels: Path | None) -> str:
    """Run pip; return why it failed, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "constraints.txt")
        file.write_text(kept, encoding="utf-8")
        command = [sys.executable, "-m", "pip", *pip_arguments(requirements, file, wheels)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout)
    if done.returncode == 0:
        return ""
    said = [line.removeprefix("ERROR: ") for line in done.stdout.splitlines() if line.startswith("ERROR: ")]
    conflict = done.stdout.partition("The conflict is caused by:")[2].partition("\n\n")[0].split("\n")
    reasons = [line.strip() for line in (*said[:1], *conflict) if line.strip()] or ["pip gave no reason"]
    return f"{', '.join(requirements)} could not be installed: {'; '.join(reasons)}"


if __name__ == "__main__":
    run(main)
