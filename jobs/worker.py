"""The worker: starts queued jobs, takes in what they report, writes down how they end.

One for each data folder: `python -m jobs.worker --data-dir D --database-url U`. It may be killed at any
moment: jobs run in sessions of their own, and the next worker finds them by their processes.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

from jobs import finishing, gpu, locks, progress, rebuild, recovery, run_folder, run_state
from jobs.executors import processes
from jobs.executors.base import Executor, Handle
from jobs.executors.local import PROJECT_ROOT, LocalExecutor
from jobs.lanes import Lanes
from storage import config, database, files, jobs, metrics, workers
from storage.errors import DiskFull, StudioError
from storage.jobs import Job

LOOP_SECONDS = 0.3
# While nothing is under way, so that a click is soon heard; a round takes 1.5 ms of one core.
IDLE_LOOP_SECONDS = 0.1
FAILURE_PAUSE_SECONDS = 2.0
IDLE_SECONDS = 10.0
# So long after the last job, or its own start, the worker makes ready for the next one: what the page does at
# these moments (opening, asking the new adapter) is what the user waits for, and the imports take a core.
PREPARE_AFTER_SECONDS = 5.0
# After a stop, a job has this long to save its adapter; then it is told to end, then it is ended.
TERM_AFTER_SECONDS = 60.0
KILL_AFTER_SECONDS = 70.0
# A job that reports nothing for so long is said to hang; only its user knows whether that is so.
SILENT_SECONDS = 600.0
# A worker writes this often that it is well, and one that has not for so long is ended and replaced. The longest
# that it waits for anything is the database's ten seconds, or a slow disk while an adapter is published.
BEAT_SECONDS = 2.0
STALLED_SECONDS = 120.0
KILLED_SECONDS = 5.0
# How often it is looked at why jobs wait, which costs a reading of the whole queue, and what is to be deleted.
TIDY_SECONDS = 2.0
ALREADY_RUNNING = 3
DATABASE_LOST = 4
BEAT_FILE = "worker.beat"
SPEC_FIELDS = ("attempt", "kind", "name", "device", "dataset_id", "base_model_id", "rank", "settings")

# What a worker needs at most until it has said that it is there, on a busy computer.
START_SECONDS = 60.0

_page_locks: list[TextIO] = []
_started: list[tuple[subprocess.Popen[bytes], float]] = []


# -- for the page --------------------------------------------------------------------------------------------


def hold_page_lock() -> None:
    """Keep the worker alive as long as the calling process lives; to be called before `start_worker`."""
    # A worker that is about to end holds this lock to its end, so after waiting a new one is started.
    lock = locks.take(files.root() / "page.lock", shared=True, wait=True)
    assert lock is not None
    _page_locks.append(lock)


def start_worker(module: str = "jobs.worker") -> None:
    """Start the worker of this data folder unless it runs; it outlives the caller and never waits for it.

    One that runs and does nothing any more, as when it was suspended, is ended first: its jobs go on.
    """
    running = _running_worker()
    if running is not None:
        if not _has_stalled():
            return
        _end(running)
    elif _is_starting():
        return
    own = config.current()
    with files.log_path("worker").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--data-dir", str(own.data_dir)],
            cwd=PROJECT_ROOT,
            # Not in the command, which everybody on this computer can read: it may hold a password.
            env={**os.environ, "LORA_TAILOR_DATABASE_URL": own.database_url},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started[:] = [(process, time.monotonic())]
    # Somebody has to ask for its exit status, or its remains stay in the process table.
    threading.Thread(target=process.wait, daemon=True).start()


def worker_is_alive() -> bool:
    """Whether the worker of this data folder runs."""
    return _running_worker() is not None


def _running_worker() -> Handle | None:
    path = files.root() / "worker.json"
    try:
        handle = Handle(**files.read_json(path))
    except (FileNotFoundError, StudioError, TypeError):
        return None
    return handle if processes.is_running(handle) else None


def _has_stalled() -> bool:
    """Whether the worker has not said for long that it is well; never by the date, which may be set."""
    try:
        return time.monotonic() - float((files.root() / BEAT_FILE).read_text()) > STALLED_SECONDS
    except (FileNotFoundError, ValueError):
        return False


def _is_starting() -> bool:
    """Whether a worker that this process has started may still be about to say that it is there."""
    return any(
        process.poll() is None and time.monotonic() - since < START_SECONDS for process, since in _started
    )


def _end(handle: Handle) -> None:
    """Kill a worker and wait until it is gone; one that the system itself holds up ends when it is let go."""
    if processes.is_running(handle):
        with suppress(ProcessLookupError):
            os.kill(handle.pid, signal.SIGKILL)
    give_up = time.monotonic() + KILLED_SECONDS
    while processes.is_running(handle) and time.monotonic() < give_up:
        time.sleep(0.02)


# -- the worker itself ---------------------------------------------------------------------------------------


class Worker:
    """Looks after the jobs of one data folder; `look_after_all` is one round of it."""

    def __init__(self, executor: Executor, lanes: Lanes | None = None) -> None:
        self._executor = executor
        self._lanes = lanes or Lanes()
        self._stopping_since: dict[str, float] = {}
        self._heard: dict[str, tuple[int, float]] = {}
        self._tidied = self._beaten = -STALLED_SECONDS
        self._last_failure = ""

    def look_after_all(self) -> bool:
        """Take care of every job under way and start what can be started; False when something went wrong."""
        well = [self._guarded(job) for job in jobs.under_way()]
        is_time = time.monotonic() - self._tidied > TIDY_SECONDS
        if jobs.count("queued"):
            while (claimed := self._lanes.next_job(jobs.under_way())) is not None:
                well.append(self._guarded(claimed))
            if is_time:
                self._lanes.explain()
        if is_time:
            for job in jobs.marked_for_deletion():
                finishing.forget(job)
            self._tidied = time.monotonic()
        return all(well)

    def say_once(self, failure: str) -> None:
        """Log a failure, unless it is the same as last time: rounds come three a second."""
        if failure != self._last_failure:
            with suppress(OSError):  # a full disk takes no log either
                print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {failure}", flush=True)
        self._last_failure = failure

    def beat(self) -> None:
        """Say that this worker is well, for whoever would otherwise replace it."""
        if time.monotonic() - self._beaten > BEAT_SECONDS:
            self._beaten = _beat()

    def _guarded(self, job: Job) -> bool:
        """One job's trouble must not keep the worker from the others."""
        self.beat()
        try:
            self._look_after(job)
        except Exception as error:  # noqa: BLE001 (an edge: logged, and tried again)
            self.say_once(f"Job {job.id}: {traceback.format_exc()}")
            if isinstance(error, DiskFull):
                with suppress(StudioError):  # the database may be on the same disk
                    jobs.update(job.id, job.attempt, paused_for=str(error))
            return False
        return True

    def _look_after(self, job: Job) -> None:
        handle = _adopted(job)
        if handle is None:
            if job.status == "stopping":
                jobs.finish(job.id, job.attempt, "stopped")
                run_state.write(job.id)
            else:
                self._start(job)
            return
        # Asked before the events are read: those of a process that has ended are complete.
        alive = self._executor.is_alive(handle)
        offset = _take_in_events(job)
        if not alive:
            self._stopping_since.pop(job.id, None)
            self._heard.pop(job.id, None)
            finishing.finish(jobs.get(job.id), self._executor.exit_status(handle))
        elif job.status == "stopping":
            self._press(job, handle)
        else:
            self._listen(job, offset)

    def _start(self, job: Job) -> None:
        folder = files.run_folder(job.id)
        before = [one["step"] for one in job.interruptions if one["attempt"] == job.attempt - 1]
        interrupted_at = before[-1] if before and job.total_steps else None
        spec = {"job_id": job.id, **{name: getattr(job, name) for name in SPEC_FIELDS}}
        try:
            run_folder.forget_stop(folder)
            files.write_json(folder / run_folder.JOB_FILE, {**spec, "interrupted_at": interrupted_at})
            handle = self._executor.start(folder, job.attempt)
        except DiskFull as error:
            needed = max(error.needed_bytes or recovery.ROOM_BYTES, job.needs_bytes or 0)
            words = recovery.waits_for_room(replace(job, needs_bytes=needed))
            jobs.requeue(job.id, job.attempt, None, words, needed)
        except StudioError as error:
            jobs.finish(job.id, job.attempt, "failed", error=error)
        else:
            jobs.started(job.id, job.attempt, handle.pid, handle.started, handle.boot_id)
        run_state.write(job.id)

    def _press(self, job: Job, handle: Handle) -> None:
        """Remind a job that is to stop, with more weight the longer it takes."""
        run_folder.request_stop(files.run_folder(job.id))
        since = self._stopping_since.setdefault(job.id, time.monotonic())
        waited = time.monotonic() - since
        if waited > TERM_AFTER_SECONDS:
            self._executor.stop(handle, force=waited > KILL_AFTER_SECONDS)

    def _listen(self, job: Job, offset: int) -> None:
        """Note for how many whole minutes a job has reported nothing, once that is long."""
        now = time.monotonic()
        heard, since = self._heard.get(job.id, (-1, now))
        if offset != heard:
            self._heard[job.id] = (offset, now)
            silent = None
        else:
            silent = now - since - (now - since) % 60.0 if now - since >= SILENT_SECONDS else None
        if silent != job.silent_seconds:
            jobs.update(job.id, job.attempt, silent_seconds=silent)


def _beat() -> float:
    """Write down that the calling worker is well, and when that was."""
    now = time.monotonic()
    with suppress(OSError):
        (files.root() / BEAT_FILE).write_text(str(now))
    return now


def _adopted(job: Job) -> Handle | None:
    """The process of this attempt: the one that says so itself, else the one that was started for it.

    They differ when a worker died after it had started the process and before it could write that down.
    """
    recorded = None
    if job.pid is not None and job.process_started is not None:
        recorded = Handle(job.pid, job.process_started, job.boot_id or "")
    own = run_folder.process_of(files.attempt_folder(job.id, job.attempt))
    if own is not None and own != recorded:
        jobs.started(job.id, job.attempt, own.pid, own.started, own.boot_id)
    return own or recorded


def _take_in_events(job: Job) -> int:
    """Take in what the job has reported since last time, a batch a transaction; up to which byte."""
    folder, offset = files.attempt_folder(job.id, job.attempt), job.events_offset
    while (batch := progress.read_events(folder, offset)).offset > offset:
        taken = metrics.take_in(
            job.id, job.attempt, batch.metrics, batch.offset, batch.saved, batch.kept, **batch.fields
        )
        if not taken:
            break
        offset = batch.offset
    return offset


def run(executor: Executor) -> None:
    """Look after the jobs until no page lives and nothing is queued or running any more."""
    worker = Worker(executor)
    idle_since = quiet_since = asked = time.monotonic()
    while files.root().exists():
        try:
            worker.beat()
            if time.monotonic() - asked > BEAT_SECONDS:
                if not workers.is_current():
                    return
                asked = time.monotonic()
            well = worker.look_after_all()
            under_way = jobs.under_way()
            idle = not (under_way or jobs.count("queued"))
        except Exception:  # noqa: BLE001 (an edge: logged, and tried again)
            worker.say_once(traceback.format_exc())
            well, idle, under_way = False, False, []
        now = time.monotonic()
        if any(job.device not in gpu.WITHOUT_DEVICE for job in under_way):
            quiet_since = now
        if not idle or (page := locks.take(files.root() / "page.lock")) is None:
            idle_since = now
            if well and now - quiet_since > PREPARE_AFTER_SECONDS:
                executor.prepare()
        elif now - idle_since > IDLE_SECONDS:
            # Held to the end of this process: a page that opens now waits, and then starts another worker.
            _page_locks.append(page)
            return
        else:
            page.close()
        loop_seconds = IDLE_LOOP_SECONDS if idle else LOOP_SECONDS
        time.sleep(loop_seconds if well else FAILURE_PAUSE_SECONDS)


def main(executor: Executor | None = None) -> int:
    """Start from the command line; the exit status says whether another worker was there first."""
    parser = argparse.ArgumentParser(prog="python -m jobs.worker", description=__doc__)
    parser.add_argument("--data-dir", required=True, type=Path)
    parser.add_argument(
        "--database-url", help="LORA_TAILOR_DATABASE_URL, else SQLite in the data folder, if absent"
    )
    arguments = parser.parse_args()
    config.use(config.from_environment(arguments.data_dir, arguments.database_url))
    files.make_folders()
    lock = locks.take(files.root() / "worker.lock")
    if lock is None:
        other = _running_worker()
        who = f" as process {other.pid}" if other else ""
        print(f"The worker of {files.root()} is already running{who}.", file=sys.stderr)
        return ALREADY_RUNNING
    with lock:
        if rebuild.is_needed():
            # An empty one in its place would look as if there had never been anything.
            print(
                "The database is gone: it is made again from the folders when the studio is opened.",
                file=sys.stderr,
            )
            return DATABASE_LOST
        own = processes.own_handle()
        _beat()  # first, or an earlier worker's would be taken for this one's
        files.write_json(files.root() / "worker.json", asdict(own))
        database.connect()
        workers.enter(own.pid, own.started, own.boot_id)
        run_state.write_missing()
        executor = executor or LocalExecutor()
        try:
            run(executor)
        finally:
            executor.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
