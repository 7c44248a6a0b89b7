"""The command line as a child process: ``python -m MedGANLogic.child VERB …`` ends when its parent lets go of it.

What runs is what ``medgan VERB …`` runs. ``jobs.Job`` starts it, and holds the other end of its stdin.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from MedGANLogic.jobs import family, kill

# The parent kills half a second later: what ends by itself leaves nothing half-written.
_GRACE_SECONDS = 1.0
_CANCELLED = 130
_POLITENESS = 5


def run(work: Callable[[], int]) -> NoReturn:
    """Do work and exit with its code; end early when stdin is closed, by a parent that lives or by one that died.

    The main thread is interrupted as by Ctrl-C, so that it takes away what is half-written. What has not ended after a
    second is ended, with all that it started.
    """
    if hasattr(os, "nice"):
        # Whoever waits in front of a screen comes first.
        os.nice(_POLITENESS)
    # A process in the background may have been told to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    held = os.dup(0)
    # A library that reads or closes stdin gets at an empty file instead.
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device, not a path
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_end_when_closed, args=(held,), daemon=True).start()
    try:
        code = work()
    except KeyboardInterrupt:
        code = _CANCELLED
    sys.exit(code)


def _end_when_closed(held: int) -> None:
    while os.read(held, 4096):
        pass
    if hasattr(signal, "pthread_kill"):
        # Wakes the main thread from a system call, which the signal to this thread would not.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)
    time.sleep(_GRACE_SECONDS)
    try:
        for process in family(os.getpid())[1:]:
            kill(process)
    finally:
        # Also where psutil is broken: nobody else may be left to end this process.
        os._exit(_CANCELLED)


def _command_line() -> int:
    from MedGANLogic.__main__ import main

    return main()


if __name__ == "__main__":
    run(_command_line)
