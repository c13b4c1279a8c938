"""The studio's processes with the points of `tests.faults.points` wrapped around their functions.

`python -m tests.faults.entry page DATA_FOLDER` holds the page's lock and keeps a worker, as the page does;
`… --data-dir D` is a worker; `… RUN_FOLDER ATTEMPT` and `… --wait DATA_FOLDER` are a job's process.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Any

from jobs import finishing, run_folder, run_job, worker
from jobs.executors import local
from jobs.executors.local import LocalExecutor
from jobs.kinds import KINDS, WARM_MODULES
from jobs.progress import Progress, RunFolderProgress
from storage import adapters, config, files, jobs, metrics
from tests.faults import kinds, points, pretence
from tests.jobs import small_jobs

MODULE = "tests.faults.entry"
# The step at which most points lie: states are behind it, and steps before it.
STEP = 5
# So small that a step of the tests' rows takes several packs.
PACK_TOKENS = 40
KEEP_SECONDS = 0.3


def numbers(name: str, default: float) -> float:
    """A number that a test sets through the environment of the processes."""
    return float(os.environ.get(f"FAULTS_{name}", default))


# -- page ----------------------------------------------------------------------------------------------------


def page(data_dir: Path) -> int:
    """Do what `studio.server` does for the worker, without a page."""
    config.use(config.from_environment(data_dir))
    pretence.record_signals()
    worker.STALLED_SECONDS = numbers("STALLED_SECONDS", worker.STALLED_SECONDS)
    worker.hold_page_lock()
    while True:
        worker.start_worker(MODULE)
        time.sleep(KEEP_SECONDS)


# -- worker --------------------------------------------------------------------------------------------------


def be_worker() -> int:
    """Be a worker that makes ready at once, and ends soon after the last page."""
    worker.IDLE_SECONDS = 1.0
    worker.PREPARE_AFTER_SECONDS = 0.2
    local.SPARE_NEEDS_BYTES = 0
    for name in ("BEAT_SECONDS", "SILENT_SECONDS", "TERM_AFTER_SECONDS", "KILL_AFTER_SECONDS"):
        setattr(worker, name, numbers(name, getattr(worker, name)))
    pretence.record_signals()
    pretence.shift_clock()
    pretence.count_memory_kills()
    points.before(jobs, "claim", "queued")
    points.before(worker.Worker, "_start", "claimed")
    points.after(LocalExecutor, "start", "spawned")
    points.before(metrics, "take_in", "checkpoint heard of", lambda *given, **_: len(given) > 4 and given[4])
    points.before(files, "publish_folder", "adapter unpublished")
    points.before(adapters, "add", "adapter published")
    points.before(jobs, "finish", "adapter recorded")
    points.after(jobs, "finish", "end recorded")
    points.before(finishing, "finish", "job gone")
    return worker.main(LocalExecutor(MODULE))


# -- job -----------------------------------------------------------------------------------------------------


def training(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The real training, with points; never twice at once, else it says so in a file."""
    from jobs.training import job

    with (points.folder() / f"{spec['job_id']}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (points.folder() / "violation").write_text(f"{spec['job_id']} runs twice: {os.getpid()}\n")
            raise
        _wrap_training()
        return job.run(spec, progress)


def _wrap_training() -> None:
    from jobs.datasets import token_files
    from jobs.training import job, loop, plain, states

    plain.CPU_TOKENS = PACK_TOKENS
    loop.STATE_SECONDS = 0.0
    states.STATE_SHARE = 1e9
    running: list[loop._Run] = []
    real_step = loop._Run.step
    seconds = numbers("STEP_SECONDS", 0.0)

    def step(run: loop._Run) -> bool:
        running[:] = [run]
        time.sleep(seconds)
        return real_step(run)

    def at(steps: int, packs: int | None = None) -> bool:
        state = running[-1].state if running else None
        return state is not None and state.steps == steps and packs in (None, len(state.learned))

    def ends_epoch(run: loop._Run) -> bool:
        rows = [sum(map(len, run.plan[: run.state.steps + more])) for more in (0, 1)]
        return rows[0] <= len(run.examples) < rows[1]

    pretence.poison(plain.PlainEngine)
    loop._Run.step = step  # type: ignore[method-assign]
    points.before(job, "adapted_model", "loading")
    points.before(token_files, "publish", "tokenizing")
    points.after(plain.PlainEngine, "learn", "first step", lambda *_: at(0))
    points.before(plain.PlainEngine, "learn", "mid-accumulation", lambda *_: at(STEP, 1))
    points.before(loop._Run, "step", "epoch boundary", ends_epoch)
    points.before(states, "_write", "checkpoint file", lambda path, _: at(STEP) and path.name == "state.json")
    points.before(
        states, "_write", "before the marker", lambda path, _: at(STEP) and path.name == "manifest.json"
    )
    points.after(states, "save_state", "after the rename", lambda *_: at(STEP))
    points.before(
        loop._Run, "held_out_losses", "eval", lambda run, base=False: not base and run.state.steps >= STEP
    )
    points.before(
        job, "save_adapter", "adapter saved", lambda *_: running and running[-1].state.steps >= STEP
    )


def be_job() -> int:
    """Be a job's process."""
    pretence.shift_clock()
    pretence.count_memory_kills()
    run_job.GRACE_SECONDS = numbers("GRACE_SECONDS", run_job.GRACE_SECONDS)
    points.after(run_folder, "claim", "begun")
    points.before(run_folder, "write_result", "result")
    points.after(run_folder, "write_result", "result written")
    points.before(RunFolderProgress, "close", "all done")
    known = {**KINDS, **small_jobs.KINDS, **kinds.KINDS, "training": f"{MODULE}:training"}
    warm = (*WARM_MODULES, "datasets") if numbers("WARM", 1) else ()
    return run_job.main(sys.argv[1:], known, warm)


def main() -> int:
    """Be what the arguments say."""
    if sys.argv[1] == "page":
        return page(Path(sys.argv[2]))
    return be_worker() if "--data-dir" in sys.argv else be_job()


if __name__ == "__main__":
    sys.exit(main())
