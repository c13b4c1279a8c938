"""Waiting for other processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from jobs.executors.spare import LOG
from storage import files, jobs
from storage.jobs import Job

Found = TypeVar("Found")


def until(look: Callable[[], Found], seconds: float = 60.0) -> Found:
    """The first true value of `look`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def ended(job_id: str, seconds: float = 60.0) -> Job:
    """The job once it has ended."""

    def look() -> Job | None:
        job = jobs.get(job_id)
        return job if job.finished_at is not None else None

    return until(look, seconds)


def at_step(job_id: str, step: int) -> Job:
    """The job once it has reached a step."""

    def look() -> Job | None:
        job = jobs.get(job_id)
        assert job.finished_at is None, job
        return job if job.step >= step else None

    return until(look)


def waits() -> bool:
    """Whether the newest waiting process has said that it is ready."""
    log = files.log_path(LOG)
    return log.exists() and log.read_text().endswith("waiting for a job.\n")


def processes_of_home(*words: str) -> list[int]:
    """The numbers of the processes that were started for the data folder, with these words in their command."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        own = any(str(files.root()) in word for word in command) and process.pid != os.getpid()
        if own and process.info["status"] != psutil.STATUS_ZOMBIE and set(words) <= set(command):
            found.append(process.pid)
    return found


def kill(pid: int) -> None:
    """kill -9, and wait until the process is gone: on a busy machine it may be found alive a while longer."""

    def is_gone() -> bool:
        try:
            return psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return True

    os.kill(pid, signal.SIGKILL)
    until(is_gone)
