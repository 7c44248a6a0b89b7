"""A child process tells how far it is, ends well or badly, is cancelled, and leaves nothing behind."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from watching import eventually, lives, ready

import MedGANLogic
from MedGANLogic.jobs import Job, JobError, State, child_environment

PROGRESS = [{"event": "progress", "done": done, "total": 3} for done in (1, 2, 3)]
RESULT = {"event": "result", "output": "three"}

#: A front end that is killed.
FRONT_END = """
import time
from MedGANLogic.jobs import Job
job = Job(module="payload")
job.start("{work}")
while not (events := job.poll()):
    time.sleep(0.01)
print(events[0]["pid"], flush=True)
time.sleep(600)
"""


def launcher_of(place, script):
    """Write a program that starts Python as Slicer's does."""
    launcher = place / "launcher"
    launcher.write_text(f"#!/bin/sh\n{script}\n")
    launcher.chmod(0o755)
    return launcher


def heard(job, *arguments):
    """Run a job to its end and return its events."""
    events = []
    job.start(*arguments)
    assert job.wait(events.append, timeout=30) is not State.RUNNING
    return events


def cancelled(job):
    """Cancel a job as a GUI's timer would; return the seconds that it took and the events on the way."""
    began, events, longest = time.monotonic(), [], 0.0
    job.cancel()
    while job.state is State.RUNNING and time.monotonic() < began + 10:
        looked = time.monotonic()
        events += job.poll()
        longest = max(longest, time.monotonic() - looked)
        time.sleep(0.02)
    assert longest < 0.5
    assert job.state is State.CANCELLED
    return time.monotonic() - began, events


class TestEnd:
    def test_success_gives_every_event_in_order_and_the_result(self, job):
        assert heard(job, "count") == [*PROGRESS, RESULT]
        assert (job.state, job.result, job.error) == (State.DONE, RESULT, "")

    def test_arguments_arrive_as_they_are(self, job):
        given = ["Köpfe 头.npy", "", "a b", '"', "$HOME", "--", str(job.folder)]
        heard(job, "greet", *given[:-1], job.folder)
        assert job.result["output"] == given

    def test_noise_goes_to_the_log_and_is_no_event(self, job):
        assert heard(job, "shout") == [*PROGRESS, RESULT]
        log = job.log.read_bytes()
        for said in ("Grüße xxx", "a warning of a library", "forged", "cuDNN says so", "a program of its own"):
            assert said.encode() in log

    def test_more_events_than_one_look_reads_all_arrive(self, job):
        assert len(heard(job, "flood")) == 20_004

    @pytest.mark.parametrize(
        ("work", "said"),
        [
            ("refuse", "^volume 'T1' is under a non-linear transform: harden it first$"),
            ("stop_short", "the work ended with exit code 1.*RuntimeError: the weights do not fit"),
            ("crash", "the work crashed .segmentation fault."),
            ("abort", "the work crashed .aborted."),
            ("stumble", "the work was killed, probably because the memory ran out"),
            ("forget", "the work ended without a result"),
            ("fail_late", "the work ended with exit code 3"),
            ("overflow", "out.npy could not be written"),
        ],
    )
    def test_failure_is_said_in_words(self, work, said, job):
        heard(job, work)
        assert (job.state, job.result) == (State.FAILED, None)
        assert re.search(said, job.error), job.error

    def test_kill_from_outside_is_said(self, job):
        job.start("idle")
        psutil.Process(ready(job)["pid"]).kill()
        assert job.wait(timeout=10) is State.FAILED
        assert "was killed" in job.error

    @pytest.mark.skipif(sys.platform == "win32", reason="the launcher is a shell script")
    @pytest.mark.parametrize(
        ("work", "said"),
        [
            ("crash", "^the work crashed or was killed, probably because the memory ran out"),
            ("stumble_badly", "^the work crashed or was killed, probably because the memory ran out"),
            ("refuse", "harden it first$"),
        ],
    )
    def test_end_behind_slicer_s_launcher_is_said(self, work, said, environment, place):
        """Of a child that a signal ended, PythonSlicer gives the exit code 1 and this line."""
        script = '"{python}" "$@"; code=$?; [ $code -lt 128 ] && exit $code; echo "{says}" >&2; exit 1'
        says = "error: [bin/./python-real] exit abnormally - Report the problem."
        launcher = launcher_of(place, script.format(python=sys.executable, says=says))
        with Job(launcher, "payload", environment, place) as job:
            heard(job, work)
            assert job.state is State.FAILED
            assert re.search(said, job.error), job.error

    def test_module_that_is_not_there_is_said(self, environment, place):
        with Job(module="nowhere", environment=environment, place=place) as job:
            heard(job)
            assert "No module named nowhere" in job.error

    def test_full_disk_is_said_and_nothing_half_written_is_left(self, environment, small_disk):
        with Job(module="payload", environment=environment, place=small_disk) as job:
            heard(job, "write_volume")
            assert job.state is State.FAILED
            assert "out.npy could not be written" in job.error
            assert not list(job.folder.glob("*out*"))

    def test_disk_that_is_full_of_other_things_is_said(self, environment, small_disk):
        with Job(module="payload", environment=environment, place=small_disk) as job:
            with pytest.raises(OSError), (small_disk / "other").open("wb", buffering=0) as stream:
                while stream.write(bytes(4096)):
                    pass
            heard(job, "count")
            assert job.state is State.FAILED
            assert "is full" in job.error


class TestEventsFile:
    def test_torn_line_waits_for_its_end(self, job):
        job.start("idle")
        ready(job)
        with job.events.open("ab", buffering=0) as stream:
            stream.write('{"event": "progress", "what": "Grö'.encode()[:-1])
            assert job.poll() == []
            stream.write('ö"}'.encode()[1:])
            assert job.poll() == []
            stream.write(b'\n{"event": "half')
            assert [event["event"] for event in job.poll()] == ["progress"]
            stream.write(b'"}\n')
            assert job.poll() == [{"event": "half"}]

    @pytest.mark.parametrize(
        "line", [b"warning: no event", b"[1]", b"3", b"null", b"", b'{"event": ', b"\xff\xfe", b"[" * 100_000]
    )
    def test_line_that_is_no_event_is_kept_in_the_log(self, line, job):
        job.start("idle")
        ready(job)
        with job.events.open("ab", buffering=0) as stream:
            stream.write(line + b'\n{"event": "next"}\n')
        assert job.poll() == [{"event": "next"}]
        assert line[:100] in job.log.read_bytes()

    def test_line_without_end_is_passed_over(self, job):
        job.start("until_told")
        ready(job)
        with job.events.open("ab", buffering=0) as stream:
            stream.write(b"x" * (1 << 20) + b"\n")
        job.folder.joinpath("go").touch()
        assert job.wait(timeout=15) is State.DONE


class TestCancel:
    @pytest.mark.parametrize("work", ["idle", "spoil_stdin"])
    def test_child_ends_in_peace_when_it_can(self, work, job):
        job.start(work)
        child = ready(job)["pid"]
        seconds, events = cancelled(job)
        assert seconds < 2
        assert events == [{"event": "tidied"}]
        assert not lives(child)

    @pytest.mark.parametrize("work", ["swallow", "stay_deaf", "leave_another"])
    def test_child_that_will_not_end_is_killed_with_all_that_it_started(self, work, job):
        job.start(work)
        said = ready(job)
        assert cancelled(job)[0] < 2
        assert eventually(lambda: not any(lives(said[who]) for who in ("pid", "other") if who in said), 1)

    @pytest.mark.skipif(sys.platform == "win32", reason="the launchers are shell scripts")
    @pytest.mark.parametrize("launch", ['"{python}" "$@"', 'sleep 600 | "{python}" "$@"'])
    def test_child_behind_a_launcher_ends_too(self, launch, environment, place):
        """Slicer's Python is started by another program, which may keep its stdin for itself."""
        with Job(launcher_of(place, launch.format(python=sys.executable)), "payload", environment, place) as job:
            job.start("idle")
            child = ready(job)["pid"]
            assert cancelled(job)[0] < 2
            assert eventually(lambda: not lives(child), 1)

    def test_one_of_two_goes_on_when_the_other_is_cancelled(self, job, other):
        job.start("idle")
        other.start("until_told")
        ready(job), ready(other)
        assert cancelled(job)[1] == [{"event": "tidied"}]
        assert other.state is State.RUNNING
        other.folder.joinpath("go").touch()
        assert other.wait(timeout=15) is State.DONE

    def test_result_that_comes_too_late_does_not_count(self, job):
        job.start("count")
        assert eventually(lambda: job.events.exists() and b"result" in job.events.read_bytes())
        job.cancel()
        assert job.wait(timeout=10) is State.CANCELLED
        assert job.result is None

    def test_what_has_ended_stays_as_it_is(self, job):
        heard(job, "count")
        job.cancel()
        assert (job.state, job.poll()) == (State.DONE, [])

    @pytest.mark.parametrize("work", ["idle", "stay_deaf"])
    def test_child_ends_also_where_psutil_is_being_installed(self, work, job, monkeypatch):
        monkeypatch.setitem(sys.modules, "psutil", None)
        job.start(work)
        said = ready(job)
        assert cancelled(job)[0] < 2
        monkeypatch.undo()
        assert not lives(said["pid"])
        # What a child that is deaf has started is out of reach without psutil.
        if "other" in said:
            psutil.Process(said["other"]).kill()

    def test_child_ends_by_itself_even_with_a_psutil_that_is_broken(self, environment, tmp_path):
        (tmp_path / "psutil.py").write_text("raise RuntimeError('not this version of Python')")
        broken = {**environment, "PYTHONPATH": os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])}
        command = [sys.executable, "-m", "payload", "swallow", tmp_path / "events"]
        with subprocess.Popen(command, env=broken, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert eventually((tmp_path / "events").exists)
            child.stdin.close()
            ended = eventually(lambda: child.poll() is not None, 3)
            child.kill()
        assert ended and child.returncode == 130

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
    @pytest.mark.parametrize("work", ["idle", "swallow"])
    def test_orphan_ends_by_itself_within_two_seconds(self, work, environment, tmp_path):
        front_end = subprocess.Popen(
            [sys.executable, "-c", FRONT_END.format(work=work)],
            env={**environment, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
        )
        child = int(front_end.stdout.readline())
        assert lives(child)
        os.kill(front_end.pid, signal.SIGKILL)
        front_end.communicate()
        assert eventually(lambda: not lives(child), 2)


class TestFolder:
    def test_folder_goes_with_the_job(self, environment, place):
        with Job(module="payload", environment=environment, place=place) as job:
            assert job.folder.parent == place
            heard(job, "count")
        job.close()
        assert list(place.iterdir()) == []

    def test_folder_stays_until_the_child_is_dead(self, environment, place):
        with Job(module="payload", environment=environment, place=place) as job:
            job.start("stay_deaf")
            child = ready(job)["pid"]
        assert not lives(child)
        assert list(place.iterdir()) == []

    def test_only_its_owner_may_look_into_the_folder(self, job):
        assert sys.platform == "win32" or job.folder.stat().st_mode & 0o777 == 0o700

    def test_place_that_is_not_there_is_said(self, tmp_path):
        with pytest.raises(JobError, match="could not be made for a job"):
            Job(place=tmp_path / "nowhere")

    def test_places_are_named_where_none_will_do(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "nowhere")])
        with pytest.raises(JobError, match=r"^a temporary folder could not be made for a job: .*nowhere"):
            Job()

    def test_folder_without_a_log_does_not_stay(self, place, monkeypatch):
        def fail(path, *_arguments, **_more):
            raise OSError(24, "Too many open files", str(path))

        monkeypatch.setattr(Path, "open", fail)
        with pytest.raises(JobError, match=r"log\.txt could not be made for a job: Too many open files"):
            Job(place=place)
        assert list(place.iterdir()) == []

    def test_interpreter_that_is_not_there_is_said(self, place):
        with Job("no-such-python", place=place) as job, pytest.raises(JobError, match="no-such-python could not be st"):
            job.start("models")
        assert list(place.iterdir()) == []

    def test_job_runs_once(self, job):
        heard(job, "count")
        with pytest.raises(JobError, match="the job is done: make a new one"):
            job.start("count")


class TestFrontEnds:
    def test_loop_may_stop_waiting_and_go_on(self, job):
        job.start("until_told")
        ready(job)
        assert job.wait(timeout=0.1) is State.RUNNING
        job.folder.joinpath("go").touch()
        events = []
        assert job.wait(events.append, timeout=15) is State.DONE
        assert events == [*PROGRESS, RESULT]

    def test_asyncio_runs_two_at_once_beside_other_tasks(self, job, other):
        async def work():
            events, turns = ([], []), 0
            job.start("count")
            other.start("count")
            both = asyncio.gather(job.wait_async(events[0].append), other.wait_async(events[1].append))
            while not both.done():
                await asyncio.sleep(0.01)
                turns += 1
            return await both, events, turns

        states, events, turns = asyncio.run(work())
        assert states == [State.DONE, State.DONE]
        assert events == ([*PROGRESS, RESULT], [*PROGRESS, RESULT])
        assert turns > 5

    def test_asyncio_task_that_is_cancelled_cancels_the_job(self, job):
        async def work():
            started = asyncio.Event()
            task = asyncio.create_task(job.wait_async(lambda _event: started.set()))
            await asyncio.wait_for(started.wait(), 15)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        job.start("idle")
        asyncio.run(work())
        assert job.state is State.CANCELLED

    def test_qt_timer_polls_without_holding_up_its_event_loop(self, job, monkeypatch):
        core = pytest.importorskip("PySide6.QtCore", reason="PySide6 is not installed")
        widgets = pytest.importorskip("PySide6.QtWidgets", reason="PySide6 is not installed")
        monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
        # One for the whole process, and for widgets: the panels' tests may come after this one.
        app = widgets.QApplication.instance() or widgets.QApplication([])
        type(self).application = app
        events, looks = [], []

        def look():
            began = time.monotonic()
            events.extend(job.poll())
            looks.append(time.monotonic() - began)
            if job.state is not State.RUNNING:
                app.quit()

        timer = core.QTimer()
        timer.timeout.connect(look)
        job.start("count")
        timer.start(50)
        core.QTimer.singleShot(15_000, app.quit)
        app.exec()
        timer.stop()
        assert (job.state, events) == (State.DONE, [*PROGRESS, RESULT])
        assert max(looks) < 0.5


class TestEnvironment:
    def test_child_finds_this_package_and_nothing_that_misleads_it(self, monkeypatch):
        monkeypatch.setenv("PYTHONHOME", "/elsewhere")
        monkeypatch.setenv("PYTHONPATH", "/further")
        environment = child_environment()
        package = str(Path(MedGANLogic.__file__).parents[1])
        assert environment["PYTHONPATH"].split(os.pathsep) == [package, "/further"]
        assert (environment["PYTHONUTF8"], environment["PYTHONNOUSERSITE"]) == ("1", "1")
        assert "PYTHONHOME" not in environment

    def test_file_of_the_current_folder_is_not_taken_for_a_module(self, job, tmp_path, monkeypatch):
        (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
        monkeypatch.chdir(tmp_path)
        heard(job, "count")
        assert job.state is State.DONE

    def test_jobs_are_there_before_anything_is_installed(self, environment):
        code = "import sys, MedGANLogic.jobs; assert not {'torch', 'numpy', 'psutil', 'PySide6'} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
