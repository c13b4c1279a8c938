"""The worker: starts queued jobs, takes in what they report, writes down how they end.

One for each data folder: `python -m jobs.worker --data-dir D --database-url U`. It may be killed at any
moment: jobs run in sessions of their own, and the next worker finds them by their processes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from jobs import finishing, gpu, locks, progress, run_folder
from jobs.executors import processes
from jobs.executors.base import Executor, Handle
from jobs.executors.local import PROJECT_ROOT, LocalExecutor
from storage import config, database, files, jobs, metrics
from storage.errors import StudioError
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
ALREADY_RUNNING = 3
SPEC_FIELDS = ("attempt", "kind", "name", "device", "dataset_id", "base_model_id", "rank", "settings")

_page_locks: list[TextIO] = []


# -- for the page --------------------------------------------------------------------------------------------


def hold_page_lock() -> None:
    """Keep the worker alive as long as the calling process lives; to be called before `start_worker`."""
    # A worker that is about to end holds this lock to its end, so after waiting a new one is started.
    lock = locks.take(files.root() / "page.lock", shared=True, wait=True)
    assert lock is not None
    _page_locks.append(lock)


def start_worker(module: str = "jobs.worker") -> None:
    """Start the worker of this data folder unless it runs; it outlives the caller and never waits for it."""
    if worker_is_alive():
        return
    own = config.current()
    command = [sys.executable, "-m", module]
    command += ["--data-dir", str(own.data_dir), "--database-url", own.database_url]
    with files.log_path("worker").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Somebody has to ask for its exit status, or its remains stay in the process table.
    threading.Thread(target=process.wait, daemon=True).start()


def worker_is_alive() -> bool:
    """Whether the worker of this data folder runs."""
    path = files.root() / "worker.json"
    return path.exists() and processes.is_running(Handle(**files.read_json(path)))


# -- the worker itself ---------------------------------------------------------------------------------------


class Worker:
    """Looks after the jobs of one data folder; `look_after_all` is one round of it."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._stopping_since: dict[str, float] = {}
        self._last_failure = ""

    def look_after_all(self) -> bool:
        """Take care of every job under way and start what can be started; False when something went wrong."""
        well = [self._guarded(job) for job in _under_way()]
        while jobs.count("queued"):
            job = jobs.claim({job.device for job in _under_way()})
            if job is None:
                break
            well.append(self._guarded(job))
        return all(well)

    def say_once(self, failure: str) -> None:
        """Log a failure, unless it is the same as last time: rounds come three a second."""
        if failure != self._last_failure:
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {failure}", flush=True)
        self._last_failure = failure

    def _guarded(self, job: Job) -> bool:
        """One job's trouble must not keep the worker from the others."""
        try:
            self._look_after(job)
        except Exception:  # noqa: BLE001 (an edge: logged, and tried again)
            self.say_once(f"Job {job.id}: {traceback.format_exc()}")
            return False
        return True

    def _look_after(self, job: Job) -> None:
        handle = _adopted(job)
        if handle is None:
            if job.status == "stopping":
                jobs.finish(job.id, job.attempt, "stopped")
            else:
                self._start(job)
            return
        # Asked before the events are read: those of a process that has ended are complete.
        alive = self._executor.is_alive(handle)
        _take_in_events(job)
        if not alive:
            self._stopping_since.pop(job.id, None)
            finishing.finish(jobs.get(job.id))
        elif job.status == "stopping":
            self._press(job, handle)

    def _start(self, job: Job) -> None:
        folder = files.run_folder(job.id)
        try:
            spec = {"job_id": job.id, **{name: getattr(job, name) for name in SPEC_FIELDS}}
            files.write_json(folder / run_folder.JOB_FILE, spec)
            handle = self._executor.start(folder, job.attempt)
        except StudioError as error:
            jobs.finish(job.id, job.attempt, "failed", error=error)
            return
        jobs.started(job.id, job.attempt, handle.pid, handle.started, handle.boot_id)

    def _press(self, job: Job, handle: Handle) -> None:
        """Remind a job that is to stop, with more weight the longer it takes."""
        run_folder.request_stop(files.run_folder(job.id))
        since = self._stopping_since.setdefault(job.id, time.monotonic())
        waited = time.monotonic() - since
        if waited > TERM_AFTER_SECONDS:
            self._executor.stop(handle, force=waited > KILL_AFTER_SECONDS)


def _under_way() -> list[Job]:
    return jobs.list_all(status="running") + jobs.list_all(status="stopping")


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


def _take_in_events(job: Job) -> None:
    """Take in what the job has reported since last time, a batch a transaction."""
    folder, offset = files.attempt_folder(job.id, job.attempt), job.events_offset
    while (batch := progress.read_events(folder, offset)).offset > offset:
        if not metrics.take_in(job.id, job.attempt, batch.metrics, batch.offset, **batch.fields):
            return
        offset = batch.offset


def run(executor: Executor) -> None:
    """Look after the jobs until no page lives and nothing is queued or running any more."""
    worker = Worker(executor)
    idle_since = quiet_since = time.monotonic()
    while files.root().exists():
        try:
            well = worker.look_after_all()
            under_way = _under_way()
            idle = not (under_way or jobs.count("queued"))
        except Exception:  # noqa: BLE001 (an edge: logged, and tried again)
            worker.say_once(traceback.format_exc())
            well, idle, under_way = False, False, []
        now = time.monotonic()
        if any(job.device != gpu.NETWORK for job in under_way):
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
    parser.add_argument("--database-url", required=True)
    arguments = parser.parse_args()
    config.use(config.from_environment(arguments.data_dir, arguments.database_url))
    files.make_folders()
    lock = locks.take(files.root() / "worker.lock")
    if lock is None:
        return ALREADY_RUNNING
    with lock:
        files.write_json(files.root() / "worker.json", asdict(processes.own_handle()))
        database.connect()
        executor = executor or LocalExecutor()
        try:
            run(executor)
        finally:
            executor.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
