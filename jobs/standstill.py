"""Nobody at work in a data folder: its worker ended, and where asked its jobs too."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from jobs import locks, run_folder
from jobs.executors import processes
from jobs.executors.base import Handle
from jobs.executors.local import LocalExecutor
from storage import files, jobs
from storage.errors import StudioError
from storage.jobs import Job

# A worker ends at SIGTERM at once; one that is suspended never does.
TERM_SECONDS = 5.0
GIVE_UP_SECONDS = 20.0
# Below the 30 seconds that are usually given to a container: `docker stop -t 30`.
GRACE_SECONDS = 25.0
LOOK_SECONDS = 0.05


@contextmanager
def without_worker() -> Iterator[None]:
    """End the worker of this data folder, and keep another one from starting; its jobs go on by themselves.

    Raises StudioError when it does not end.
    """
    began = time.monotonic()
    while (lock := locks.take(files.root() / "worker.lock")) is None:
        waited = time.monotonic() - began
        if waited > GIVE_UP_SECONDS:
            raise StudioError(
                "The worker of this data folder does not end.", "Restart the computer, then try again."
            )
        _signal(_worker(), force=waited > TERM_SECONDS)
        time.sleep(LOOK_SECONDS)
    with lock:
        yield


def end_all() -> list[Job]:
    """End the worker, then let every job's process save and end; returns the jobs that would not within the grace.

    The next worker lets all of them go on where they were. Raises StudioError when the worker does not end.
    """
    give_up = time.monotonic() + GRACE_SECONDS
    with without_worker():
        return _end_jobs(give_up)


def _end_jobs(give_up: float) -> list[Job]:
    executor = LocalExecutor()
    running = {
        handle: job
        for job in jobs.under_way()
        for handle in _processes_of(job)
        if processes.is_running(handle)
    }
    for handle in running:
        executor.stop(handle)
    while (left := [h for h in running if processes.is_running(h)]) and time.monotonic() < give_up:
        time.sleep(LOOK_SECONDS)
    return [running[handle] for handle in left]


def _processes_of(job: Job) -> set[Handle]:
    """The process that was started for the job's attempt, and the one that says it does it; mostly the same."""
    found = set()
    if job.pid is not None and job.process_started is not None:
        found.add(Handle(job.pid, job.process_started, job.boot_id or ""))
    with suppress(OSError, ValueError, TypeError):
        own = run_folder.process_of(files.attempt_folder(job.id, job.attempt))
        found |= {own} if own else set()
    return found


def _worker() -> Handle | None:
    try:
        return Handle(**files.read_json(files.root() / "worker.json"))
    except (OSError, StudioError, TypeError):  # it has the lock, and says in a moment who it is
        return None


def _signal(handle: Handle | None, force: bool) -> None:
    if handle is not None and processes.is_running(handle):
        with suppress(ProcessLookupError):
            os.kill(handle.pid, signal.SIGKILL if force else signal.SIGTERM)
