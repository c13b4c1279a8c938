"""SIGTERM, as a container's stop sends it, at real processes of a training."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass

from jobs.executors import processes
from storage import files, jobs
from storage.jobs import Job
from tests.faults import points
from tests.faults.entry import STEP
from tests.faults.studio import Outcome, Studio, check, finished, told, until


@dataclass(frozen=True)
class Ending:
    """A job that was asked to end, once it has finished; seconds from the signal to the end of its process."""

    job: Job
    seconds: float


def terminate(studio: Studio, target: str, whole: Outcome) -> Ending:
    """Ask the job, or everybody, to end in the middle of a step; what comes out is as if nothing had been."""
    armed = points.arm("mid-accumulation")
    try:
        job = studio.submit()
        until(armed.pid)
        running = studio.job(job)
        assert running is not None
        studio.kill(target, job, signal.SIGTERM)
        began = time.monotonic()
    finally:
        armed.release()
    until(lambda: not processes.is_running(running))
    seconds = time.monotonic() - began
    if target == "all":
        assert studio.page is not None
        studio.page.wait(30)
        manifest = _saved_in_a_step(job)
        assert (manifest["step"], manifest["packs"]) == (STEP, 2), manifest
    studio.start()
    job = finished(job)
    check(job, whole)
    assert told(job) == [f"Stopped safely at step {STEP}; resumed from {STEP} (attempt 2)."]
    assert [one["counted"] for one in job.interruptions] == [False]
    return Ending(job, seconds)


def terminate_while_loading(studio: Studio, whole: Outcome) -> Ending:
    """Ask a job to end that has nothing to save and hears nothing: it ends after its grace period."""
    armed = points.arm("loading")
    try:
        job = studio.submit()
        until(armed.pid)
        running = studio.job(job)
        assert running is not None
        studio.kill("job", job, signal.SIGTERM)
        began = time.monotonic()
        until(lambda: not processes.is_running(running))
        seconds = time.monotonic() - began
    finally:
        armed.release()
    job = finished(job)
    check(job, whole)
    (sentence,) = told(job)
    assert sentence.startswith("Stopped safely") and sentence.endswith("started again (attempt 2)."), sentence
    return Ending(jobs.get(job.id), seconds)


def _saved_in_a_step(job: Job) -> dict[str, int]:
    states = sorted((files.attempt_folder(job.id, 1) / "states").glob("step-*"))
    found: dict[str, int] = json.loads((states[-1] / "manifest.json").read_bytes())
    return found
