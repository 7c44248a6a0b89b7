"""What a test waits for, with a deadline."""

import time

import psutil

from MedGANLogic.jobs import State


def eventually(happens, seconds=15.0):
    """Say whether something becomes true in time."""
    until = time.monotonic() + seconds
    while not (happened := happens()) and time.monotonic() < until:
        time.sleep(0.01)
    return bool(happened)


def ready(job):
    """Return the next event of a job: what it says when it is ready."""
    found = []
    eventually(lambda: found.extend(job.poll()) or found or job.state is not State.RUNNING)
    assert found, job.error
    return found[0]


def lives(pid):
    """Say whether a process is there, and no corpse that nobody has fetched."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
