"""Run anything in a child process: progress, result, cancel, log. One class for a loop, asyncio and a Qt timer.

The child appends JSON lines to an events file; the parent polls it. The child holds its stdin, which ends it when it
is closed: on purpose, or because the parent died. Nothing here imports torch or Qt, and psutil, which Slicer does not
bring, only what ends a process does; without it, what the child started is left to the child.
"""

import asyncio
import contextlib
import enum
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from MedGANLogic.errors import MedGANError

#: One line of the events file. ``event["event"]`` says which kind: ``progress``, ``result``, ``error``, …
Event = dict[str, Any]

# The child needs a second to end in peace; what is left after this is killed, so that cancelling takes two at most.
_GRACE_SECONDS = 1.5
# What not even a kill ends (a process that waits for a broken disk) must not hold up the parent for ever.
_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.05
_BYTES_PER_POLL = 1 << 18
_LAST_LINES = 3
_LAST_BYTES = 1200
_FULL_BYTES = 1 << 20

_SIGNALS: Mapping[str, str] = {
    "SIGSEGV": "crashed (segmentation fault)",
    "SIGBUS": "crashed (bus error)",
    "SIGFPE": "crashed (arithmetic error)",
    "SIGILL": "crashed (an instruction that this processor lacks)",
    "SIGABRT": "crashed (aborted)",
    "SIGKILL": "was killed, probably because the memory ran out",
    "SIGTERM": "was ended from outside",
    "SIGINT": "was interrupted from outside",
}
_WINDOWS_CODES: Mapping[int, str] = {
    0xC0000005: _SIGNALS["SIGSEGV"],
    0xC00000FD: "crashed (stack overflow)",
    0xC000001D: _SIGNALS["SIGILL"],
    0xC0000409: _SIGNALS["SIGABRT"],
    0xC0000017: "was ended because the memory ran out",
    0xC000012D: "was ended because the memory ran out",
    0xC0000135: "could not start: a library (DLL) is missing",
    0xC000013A: _SIGNALS["SIGINT"],
}
# PythonSlicer, a launcher, ends with 1 whatever its child died of, and says only this.
_LAUNCHER_CODE = 1
_LAUNCHER_SAYS = "exit abnormally"


class JobError(MedGANError):
    """A job that cannot be started or taken away, said in words."""


class State(enum.Enum):
    """Where a job stands."""

    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


def child_environment() -> dict[str, str]:
    """Return this process's environment with what a child needs to find this package, and nothing that misleads it."""
    package = str(Path(__file__).resolve().parents[1])
    inherited = {name: value for name, value in os.environ.items() if name.upper() != "PYTHONHOME"}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(filter(None, [package, inherited.get("PYTHONPATH")])),
        "PYTHONUTF8": "1",
        "PYTHONNOUSERSITE": "1",
        # What it said before it crashed is in the log, and no file of the current folder is taken for a module.
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


class Job:
    """A module of ours at work in a child process, and the private folder that it may use.

    ``start`` runs ``interpreter -m module ARGUMENTS --events FILE``; then either ``wait``, or await ``wait_async``, or
    call ``poll`` from a timer until ``state`` is no longer RUNNING. A job is DONE with exit code 0 and a ``result``
    event, CANCELLED when it was cancelled and nothing of it lives any more, else FAILED. ``result`` is the last result
    event of a job that is done; ``error`` says in a plain sentence why one failed. ``close``, or leaving ``with``,
    takes the folder away.
    """

    def __init__(
        self,
        interpreter: str | os.PathLike[str] = sys.executable,
        module: str = "MedGANLogic.child",
        environment: Mapping[str, str] | None = None,
        place: Path | None = None,
    ) -> None:
        """Make the private folder in ``place``, else among the temporary files. Raises JobError where that fails."""
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="medgan-", dir=place))
            self.events, self.log = self.folder / "events.jsonl", self.folder / "log.txt"
            try:
                # Kept open, so that what both write into it stands one behind the other on Windows, too.
                self._log = self.log.open("ab", buffering=0)
            except OSError:
                self.folder.rmdir()
                raise
        except OSError as error:
            # Where no place will do, there is no name, and the reason lists all that were tried.
            what = error.filename or "a temporary folder"
            raise JobError(f"{what} could not be made for a job: {error.strerror}") from error
        self.state = State.READY
        self.result: Event | None = None
        self.error = ""
        self._command = [os.fspath(interpreter), "-m", module]
        self._environment = dict(child_environment() if environment is None else environment)
        self._read_bytes = 0
        self._last: dict[str, Event] = {}
        self._family: list[Any] = []
        self._kill_at: float | None = None

    def start(self, *arguments: str | os.PathLike[str]) -> None:
        """Start the child. Raises JobError where it cannot be started, or was before."""
        if self.state is not State.READY:
            raise JobError(f"the job is {self.state.value}: make a new one to run it again")
        command = [*self._command, *(os.fspath(one) for one in arguments), "--events", os.fspath(self.events)]
        try:
            self._process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                # Ctrl-C in the parent's terminal is the parent's, and Windows must not open a console.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise JobError(f"{command[0]} could not be started: {error.strerror}") from error
        self.state = State.RUNNING

    def poll(self) -> list[Event]:
        """Return the events since the last call; never blocks, and reads no more than 256 KiB."""
        if self.state is not State.RUNNING:
            return []
        # Asked before reading: what it wrote is all there, then.
        ended = self._ended()
        lines = self._new_lines()
        events = [event for line in lines if (event := self._parsed(line)) is not None]
        self._last.update((str(event.get("event")), event) for event in events)
        if ended and not lines:
            self._conclude(self._process.returncode)
        return events

    def cancel(self) -> None:
        """Ask the child to end, at once and without waiting; ``poll`` kills what is left after a second and a half."""
        if self.state is State.RUNNING and self._kill_at is None:
            # Now, because the children of a process that has ended cannot be found any more.
            self._family = self._living_family()
            self._kill_at = time.monotonic() + _GRACE_SECONDS
            self._let_go()

    def wait(self, on_event: Callable[[Event], object] = lambda _event: None, timeout: float = float("inf")) -> State:
        """Call ``on_event`` with each event until the job has ended, or for ``timeout`` seconds; return the state."""
        until = time.monotonic() + timeout
        while self._hear(on_event) and time.monotonic() < until:
            time.sleep(_PAUSE_SECONDS)
        return self.state

    async def wait_async(self, on_event: Callable[[Event], object] = lambda _event: None) -> State:
        """Wait as an asyncio task; a task that is cancelled cancels the job, and ends when the job has."""
        try:
            while self._hear(on_event):
                await asyncio.sleep(_PAUSE_SECONDS)
        except asyncio.CancelledError:
            self.cancel()
            while self._hear(on_event):
                await asyncio.sleep(_PAUSE_SECONDS)
            raise
        return self.state

    def close(self) -> None:
        """Cancel the job if it runs, which may take two seconds, and take its folder away.

        Raises JobError for a child that nothing ends; the folder stays, then. Windows also keeps a folder with files
        that are mapped into memory: copy voxels that were read from it before.
        """
        self.cancel()
        if self.wait(timeout=_PATIENCE_SECONDS) is State.RUNNING:
            raise JobError(f"process {self._process.pid} cannot be ended: its files stay in {self.folder}")
        self._log.close()
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_why: object) -> None:
        self.close()

    def last_lines(self) -> list[str]:
        """Return the last few lines of the log that are not empty."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, self.log.stat().st_size - _LAST_BYTES))
                text = stream.read().decode("utf-8", "replace")
        except OSError:
            return []
        return [line.strip() for line in text.splitlines() if line.strip()][-_LAST_LINES:]

    def _hear(self, on_event: Callable[[Event], object]) -> bool:
        for event in self.poll():
            on_event(event)
        return self.state is State.RUNNING

    def _ended(self) -> bool:
        """Say whether the child has ended, and, once cancelled, all that it started; kill them when it is time."""
        ended = self._process.poll() is not None
        if self._kill_at is None:
            return ended
        late = time.monotonic() >= self._kill_at
        left = [process for process in self._family if _lives(process)]
        if late:
            for process in (*left, *self._living_family()):
                kill(process)
            # Without psutil there is no family.
            self._process.kill()
        return ended and (late or not left)

    def _living_family(self) -> list[Any]:
        """Return the child and all that it started; nothing once it has ended: its number may be another's by then."""
        return family(self._process.pid) if self._process.poll() is None else []

    def _new_lines(self) -> list[bytes]:
        """Return the next whole lines of the events file; a line that is still being written waits for its end."""
        try:
            with self.events.open("rb") as stream:
                stream.seek(self._read_bytes)
                block = stream.read(_BYTES_PER_POLL)
        except OSError:  # not there yet
            return []
        whole = block[: block.rfind(b"\n") + 1]
        if not whole and len(block) == _BYTES_PER_POLL:
            whole = block  # no event is that long
        self._read_bytes += len(whole)
        return whole.splitlines()

    def _parsed(self, line: bytes) -> Event | None:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict):
            return event
        with contextlib.suppress(OSError):  # a full disk ends the child; it need not end the parent
            self._log.write(b"no event: " + line[:_LAST_BYTES] + b"\n")
        return None

    def _conclude(self, code: int) -> None:
        self._let_go()
        if self._kill_at is not None:
            self.state = State.CANCELLED
        elif code == 0 and "result" in self._last:
            self.state, self.result = State.DONE, self._last["result"]
        else:
            self.state, self.error = State.FAILED, self._reason(code)

    def _reason(self, code: int) -> str:
        said, lines = self._last.get("error", {}), self.last_lines()
        reason = f"the work {_in_words(code)}"
        if code == _LAUNCHER_CODE and lines and _LAUNCHER_SAYS in lines[-1]:
            reason = "the work crashed or was killed, probably because the memory ran out"
        # An error that the child got over (one file of a folder) is not what it died of later.
        elif code != 0 and said.get("text") and said.get("code", code) == code:
            return str(said["text"])
        with contextlib.suppress(OSError):
            if shutil.disk_usage(self.folder).free < _FULL_BYTES:
                reason += f", the disk of {self.folder} is full"
        return reason + (f". The last it said: {' / '.join(lines)}" if lines else "")

    def _let_go(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()


def family(pid: int) -> list[Any]:
    """Return a process that lives, and all that it started (``psutil.Process``); nothing without psutil."""
    try:
        import psutil
    except ImportError:  # not there, or only half of it while it is being installed
        return []
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def kill(process: Any) -> None:
    """Kill one of a family; what has ended, or is not ours to kill, is left alone."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process.kill()


def _lives(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _in_words(code: int) -> str:
    """Say what an exit code means; a launcher adds 128 to the number of a signal."""
    if code == 0:
        return "ended without a result"
    known = _WINDOWS_CODES.get(code & 0xFFFFFFFF)
    if known:
        return known
    try:
        name = signal.Signals(-code if code < 0 else code - 128).name
    except ValueError:
        return f"ended with exit code {code}"
    return _SIGNALS.get(name, f"was ended by {name}")
