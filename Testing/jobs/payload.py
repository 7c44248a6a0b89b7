"""What the children of these tests do: ``python -m payload WORK … --events FILE``."""

import ctypes
import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from MedGANLogic.child import run

events = Path(sys.argv[-1])


def tell(**event):
    with events.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(event) + "\n")


def count():
    """Do what is expected of it."""
    for done in (1, 2, 3):
        tell(event="progress", done=done, total=3)
    tell(event="result", output="three")
    return 0


def greet():
    """Answer with what it was given."""
    tell(event="result", output=sys.argv[2:-2])
    return 0


def shout():
    """Write to stdout and stderr as Python, as C and as another program do."""
    print("Grüße", "x" * 200_000)
    print("a warning of a library", file=sys.stderr)
    os.write(1, b'{"event": "result", "output": "forged"}\n\xff\xfe')
    os.write(2, b"cuDNN says so\n")
    subprocess.run([sys.executable, "-c", "print('a program of its own')"], check=True)
    return count()


def flood():
    """Tell more than one look can read."""
    with events.open("a") as stream:
        stream.writelines(json.dumps({"event": "progress", "done": done}) + "\n" for done in range(20_000))
    return count()


def refuse():
    """Refuse as the command line does."""
    tell(event="error", text="volume 'T1' is under a non-linear transform: harden it first", code=2)
    return 2


def stumble():
    """Get over an error, and be killed later."""
    tell(event="error", text="b.nii.gz is broken", code=2)
    os.kill(os.getpid(), signal.SIGKILL)


def stumble_badly():
    """Get over an error of the code that a launcher gives, and be killed later."""
    tell(event="error", text="b.nii.gz is broken", code=1)
    os.kill(os.getpid(), signal.SIGKILL)


def stop_short():
    """Raise what nobody expected."""
    raise RuntimeError("the weights do not fit")


def crash():
    faulthandler._sigsegv()


def abort():
    os.abort()


def forget():
    """End well without a result."""
    return 0


def fail_late():
    """Tell a result and fail: it does not count."""
    count()
    return 3


def idle():
    """Wait for ever, and say when it was interrupted in peace."""
    tell(event="ready", pid=os.getpid())
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        tell(event="tidied")
        raise
    return 1


def until_told():
    """Wait for a file that the test makes."""
    tell(event="ready")
    while not events.with_name("go").exists():
        time.sleep(0.01)
    return count()


def spoil_stdin():
    """Read stdin and close it, as a library may."""
    sys.stdin.read()
    os.close(0)
    return idle()


def swallow():
    """Take no notice of being interrupted."""
    while True:
        try:
            idle()
        except KeyboardInterrupt:
            continue


def stay_deaf():
    """Hold the interpreter in a long C call, beside a child that holds on as well."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    tell(event="ready", pid=os.getpid(), other=other.pid)
    ctypes.PyDLL(None).sleep(600)


def leave_another():
    """Start a program that goes on when its parent was interrupted."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    tell(event="ready", pid=os.getpid(), other=other.pid)
    time.sleep(600)


def overflow():
    """Write a volume where only 64 KiB may be written."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
    return write_volume()


def write_volume():
    """Write a volume of 1 MiB into the job's folder."""
    import numpy as np

    from MedGANLogic.images import Image, write

    write(Image(np.zeros((1, 64, 64, 64), np.float32), np.eye(4), "HU"), events.with_name("out.npy"))
    return count()


if __name__ == "__main__":
    run(globals()[sys.argv[1]])
