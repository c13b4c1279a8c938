"""Small kinds of jobs for the tests, and the entry points of real processes that know them.

`python -m tests.jobs.small_jobs RUN_FOLDER ATTEMPT` is a job, `… --wait DATA_FOLDER` waits for one, and
`… --data-dir D --database-url U` is a worker.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from typing import Any

from jobs import run_job, worker
from jobs.executors import local
from jobs.executors.local import LocalExecutor
from jobs.progress import Progress
from storage import files
from storage.errors import StudioError

MODULE = "tests.jobs.small_jobs"
NAMES = (
    "count", "sleep", "deaf", "deaf_once", "refuse", "break_down", "fill_up", "forget", "adapt", "die", "hang"
)  # fmt: skip
KINDS = {name: f"{MODULE}:{name}" for name in NAMES}

Spec = dict[str, Any]


def count(spec: Spec, progress: Progress) -> dict[str, Any]:
    """Measure settings["steps"] steps, settings["seconds"] each."""
    settings = spec["settings"]
    steps = settings.get("steps", 20)
    progress.total_steps(steps)
    for step in range(1, steps + 1):
        if progress.should_stop():
            return {"status": "stopped"}
        time.sleep(settings.get("seconds", 0.0))
        progress.metric(step, loss=1 / step, learning_rate=1e-4)
    return {"status": "finished"}


def sleep(spec: Spec, progress: Progress) -> dict[str, Any]:
    """Note when it began and ended, so that a test sees what ran beside what."""
    began = time.time()
    time.sleep(spec["settings"].get("seconds", 1.0))
    return {"status": "finished", "began": began, "ended": time.time()}


def deaf(spec: Spec, progress: Progress) -> dict[str, Any]:
    """Hear neither the stop file nor SIGTERM."""
    progress.total_steps(9)
    progress.metric(3, loss=1.0)
    time.sleep(600)
    return {"status": "finished"}


def deaf_once(spec: Spec, progress: Progress) -> dict[str, Any]:
    """Hear of a stop only late."""
    progress.total_steps(1)
    time.sleep(spec["settings"]["seconds"])
    return {"status": "stopped" if progress.should_stop() else "finished"}


def die(spec: Spec, progress: Progress) -> dict[str, Any]:
    """Count to settings["steps"], killed after as many steps as settings["deaths"] says for each attempt."""
    deaths = spec["settings"]["deaths"]
    steps = spec["settings"]["steps"]
    progress.total_steps(steps)
    for step in range(1, steps + 1):
        progress.metric(step, loss=1 / step)
        if spec["attempt"] <= len(deaths) and step == deaths[spec["attempt"] - 1]:
            os.kill(os.getpid(), signal.SIGKILL)
    return {"status": "finished"}


def hang(spec: Spec, progress: Progress) -> dict[str, Any]:
    """Report nothing any more after a step, until it is stopped."""
    progress.total_steps(9)
    progress.metric(1, loss=1.0)
    while not progress.should_stop():
        time.sleep(0.05)
    return {"status": "stopped"}


def fill_up(spec: Spec, progress: Progress) -> dict[str, Any]:
    """Find the disk full, until the data folder holds a file `roomy`."""
    if (files.root() / "roomy").exists():
        return {"status": "finished"}
    with files.full_disk_as_error(123_000_000):
        raise OSError(errno.ENOSPC, "No space left on device")


def forget(spec: Spec, progress: Progress) -> dict[str, Any]:
    """Find no memory, in torch's words."""
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


def refuse(spec: Spec, progress: Progress) -> dict[str, Any]:
    """Fail in words."""
    raise StudioError("The rows are empty.", "Add rows.")


def break_down(spec: Spec, progress: Progress) -> dict[str, Any]:
    """Fail without words."""
    raise ZeroDivisionError("a detail for the log")


def adapt(spec: Spec, progress: Progress) -> dict[str, Any]:
    """Leave a folder that looks like an adapter."""
    folder = files.attempt_folder(spec["job_id"], spec["attempt"]) / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text(json.dumps({"r": spec["rank"]}))
    return {
        "status": "finished",
        "adapter": {
            "rank": spec["rank"],
            "alpha": 16.0,
            "target_modules": ["q_proj"],
            "parameters": 7,
            "base_weights_sha256": "ba5e",
            "held_out_loss": 0.5,
            "best_step": 3,
            "settings": {},
        },
    }


def main() -> int:
    """Be a worker or a job's process, as the arguments say."""
    if "--data-dir" in sys.argv:
        worker.IDLE_SECONDS = 1.0
        worker.PREPARE_AFTER_SECONDS = 0.2
        worker.SILENT_SECONDS = float(os.environ.get("SILENT_SECONDS", worker.SILENT_SECONDS))
        local.SPARE_NEEDS_BYTES = 0
        return worker.main(LocalExecutor(MODULE))
    run_job.GRACE_SECONDS = float(os.environ.get("GRACE_SECONDS", run_job.GRACE_SECONDS))
    return run_job.main(sys.argv[1:], KINDS, os.environ.get("WARM_MODULES", "").split())


if __name__ == "__main__":
    sys.exit(main())
