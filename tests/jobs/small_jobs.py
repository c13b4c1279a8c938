"""Small kinds of jobs for the tests, and the entry points of real processes that know them.

`python -m tests.jobs.small_jobs RUN_FOLDER ATTEMPT` is a job, `… --wait DATA_FOLDER` waits for one, and
`… --data-dir D --database-url U` is a worker.
"""

from __future__ import annotations

import json
import os
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
KINDS = {name: f"{MODULE}:{name}" for name in ("count", "sleep", "deaf", "refuse", "break_down", "adapt")}

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
        local.SPARE_NEEDS_BYTES = 0
        return worker.main(LocalExecutor(MODULE))
    return run_job.main(sys.argv[1:], KINDS, os.environ.get("WARM_MODULES", "").split())


if __name__ == "__main__":
    sys.exit(main())
