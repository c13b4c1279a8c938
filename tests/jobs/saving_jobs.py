"""A kind of job that saves states and goes on from them, beside the small ones; a worker and jobs that know it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from jobs import run_job, worker
from jobs.executors.local import LocalExecutor
from jobs.progress import Progress
from storage import files
from storage.errors import DiskFull
from tests.jobs import small_jobs
from tests.jobs.small_jobs import Spec

MODULE = "tests.jobs.saving_jobs"
KINDS = {**small_jobs.KINDS, "save": f"{MODULE}:save"}
SAVE_EVERY = 10


def save(spec: Spec, progress: Progress) -> dict[str, object]:
    """Measure settings["steps"] steps with a state after every tenth; at settings["die_at"], once, be killed.

    With settings["needs_bytes"] it finds the disk full halfway.
    """
    settings, attempt = spec["settings"], spec["attempt"]
    run = files.run_folder(spec["job_id"])
    saved = sorted(run.glob("attempt-*/states/step-*"), key=lambda path: path.name)
    first = int(saved[-1].name.removeprefix("step-")) if saved else 0
    progress.total_steps(settings["steps"])
    if saved:
        progress.resumed(first)
    for step in range(first + 1, settings["steps"] + 1):
        if progress.should_stop():
            return {"status": "stopped"}
        time.sleep(settings.get("seconds", 0.0))
        # Both attempts measure the steps between the last state and the death; the second one's values count.
        progress.metric(step, loss=1 / step + attempt)
        if step % SAVE_EVERY == 0:
            _save_state(run, attempt, step, progress)
        if attempt == 1 and step == settings.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if settings.get("needs_bytes") and step == settings["steps"] // 2:
            raise DiskFull("The disk is full.", needed_bytes=settings["needs_bytes"])
    return {"status": "finished"}


def _save_state(run: Path, attempt: int, step: int, progress: Progress) -> None:
    states = run / f"attempt-{attempt}" / "states"
    (states / f"step-{step:08d}").mkdir(parents=True)
    kept = sorted(states.iterdir())[-2:]
    progress.checkpoint(
        step, f"attempt-{attempt}/states/step-{step:08d}", [str(k.relative_to(run)) for k in kept]
    )
    for folder in set(states.iterdir()) - set(kept):
        folder.rmdir()


def main() -> int:
    """Be a worker or a job's process, as the arguments say."""
    if "--data-dir" in sys.argv:
        worker.IDLE_SECONDS = 1.0
        return worker.main(LocalExecutor(MODULE))
    return run_job.main(sys.argv[1:], KINDS, [])


if __name__ == "__main__":
    sys.exit(main())
