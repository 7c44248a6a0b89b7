"""Work that a child process does for a panel or script, in steps that are short enough for a GUI's timer. No Qt."""

import logging
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from MedGANLogic.errors import MedGANError
from MedGANLogic.jobs import Job, State
from MedGANLogic.presenters.translation import Work, progressed

#: How long a script waits between two looks at its child.
_PAUSE_SECONDS = 0.05
#: How long the parent itself works before it lets the GUI go on.
_LONGEST_SECONDS = 0.03


class Task(ABC):
    """One piece of work. ``advance`` does a little of it and returns whether there is more; ``work`` says what.

    In the end ``state`` is DONE, or FAILED and ``error`` says why, or CANCELLED.
    """

    def __init__(self, doing: str, interpreter: str = sys.executable, module: str = "MedGANLogic.child") -> None:
        self.state = State.RUNNING
        self.work = Work(doing)
        self.error = ""
        self._interpreter, self._module = interpreter, module
        self._job: Job | None = None
        self._steps = self._all()

    def advance(self) -> bool:
        """Do the next piece; return whether there is more."""
        if self.state is not State.RUNNING:
            return False
        try:
            self.work = next(self._steps)
        except StopIteration:
            self.state = State.CANCELLED if self.work.cancelling else State.DONE
        except (MedGANError, OSError) as error:
            self.state, self.error = State.FAILED, str(error)
        except Exception as error:  # a task that ends without a word would look like one that is done
            logging.exception("a task of MedGAN failed")
            self.state, self.error = State.FAILED, f"{type(error).__name__}: {error}"
        return self.state is State.RUNNING

    def cancel(self) -> None:
        """Ask for the end; ``advance`` until it has come, which takes two seconds at most."""
        self.work = replace(self.work, cancelling=True)
        if self._job is not None:
            self._job.cancel()

    def abandon(self) -> None:
        """End at once, waiting for the child: for a scene or a module that goes away."""
        self.cancel()
        self._steps.close()
        if self.state is State.RUNNING:
            self.state = State.CANCELLED

    def finish(self, onStep: Callable[["Task"], object] = lambda _task: None) -> None:
        """Go on to the end, as a script does. Raises MedGANError where the work fails."""
        while self.advance():
            onStep(self)
            time.sleep(_PAUSE_SECONDS)
        if self.state is State.FAILED:
            raise MedGANError(self.error)

    @abstractmethod
    def _go(self, job: Job) -> Iterator[Work]:
        """Do the work with a job that has not been started; yield what is being done after each short piece."""

    def _run(self, job: Job, *arguments) -> Iterator[Work]:
        """Start the job and wait for it; return its result event, or None where it was cancelled."""
        if self.work.cancelling:
            return None
        job.start(*arguments)
        while job.state is State.RUNNING:
            for event in job.poll():
                self.work = progressed(self.work, event)
            yield self.work
        if job.state is State.FAILED:
            raise MedGANError(job.error)
        return job.result

    def _inShort(self, doing: str, steps: Iterator[float]) -> Iterator[Work]:
        """Go through steps that each yield the share done, as many at a time as a GUI can bear; return their result."""
        while not self.work.cancelling:
            until, share = time.monotonic() + _LONGEST_SECONDS, 0.0
            while time.monotonic() < until:
                try:
                    share = next(steps)
                except StopIteration as end:
                    return end.value
            yield Work(doing, share)
        return None

    def _all(self) -> Iterator[Work]:
        with Job(self._interpreter, self._module) as job:
            self._job = job
            yield from self._go(job)


class Command(Task):
    """A command of ours, and its result event."""

    def __init__(self, doing: str, interpreter: str, *arguments, module: str = "MedGANLogic.child") -> None:
        super().__init__(doing, interpreter, module)
        self.result: Mapping[str, object] = {}
        self._arguments = arguments

    def _go(self, job: Job) -> Iterator[Work]:
        self.result = (yield from self._run(job, *self._arguments)) or {}
