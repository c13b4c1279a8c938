"""The entry point of one job's own process: `python -m jobs.run_job RUN_FOLDER ATTEMPT`.

With `--wait DATA_FOLDER` instead it waits for a worker to name the job; see `jobs.warm`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from jobs import gpu, run_folder, warm
from jobs.kinds import KINDS, WARM_MODULES
from jobs.progress import Progress, RunFolderProgress
from jobs.serving import connection
from storage import config, files
from storage.errors import StudioError

# The system ends the job rather than the page or the desktop when memory runs out.
OOM_SCORE_ADJUSTMENT = "500"
# After SIGTERM a job has so long to save a checkpoint; then it ends with the last one that it has.
GRACE_SECONDS = 20.0

JobFunction = Callable[[dict[str, Any], Progress], dict[str, Any]]


def main(
    arguments: list[str], kinds: Mapping[str, str] = KINDS, warm_modules: Sequence[str] = WARM_MODULES
) -> int:
    """Do the job that the arguments name, or wait for one with `warm_modules` imported."""
    _prepare_process()
    if arguments[0] != warm.OPTION:
        do(Path(arguments[0]), int(arguments[1]), kinds)
    elif job := warm.wait_for_job(warm_modules):
        do(*job, kinds)
    return 0


def do(folder: Path, attempt: int, kinds: Mapping[str, str]) -> None:
    """Do the job that job.json of the run folder describes, and leave result.json in the attempt's folder."""
    config.use(config.from_environment(data_dir=folder.parent.parent))
    # Kernels compiled for this machine are kept with everything else.
    os.environ["TRITON_CACHE_DIR"] = str(files.root() / "cache" / "triton")
    os.environ["XDG_CACHE_HOME"] = str(files.root() / "cache")
    attempt_folder = folder / f"attempt-{attempt}"
    attempt_folder.mkdir(parents=True, exist_ok=True)
    if not run_folder.claim(attempt_folder):
        print("This attempt is another process's already.", flush=True)
        return
    run_folder.reserve(attempt_folder)
    progress = RunFolderProgress(attempt_folder, attempt)
    ending = _end_in_order_on_sigterm(progress, attempt_folder)
    spec = files.read_json(folder / run_folder.JOB_FILE)
    progress.interrupted_at = spec.get("interrupted_at")
    result = _result_of(spec, progress, kinds)
    if result["status"] == "stopped" and progress.terminated and not progress.asked_to_stop():
        result["status"] = "interrupted"
    with suppress(OSError):  # on a full disk what was written stays, and the result has its own room
        progress.close()
    with ending:
        run_folder.write_result(attempt_folder, result)


def _end_in_order_on_sigterm(progress: RunFolderProgress, attempt_folder: Path) -> threading.Lock:
    """Take SIGTERM as a wish to save and end, and end without having saved when that takes too long.

    Returns the lock under which a result is written: of both endings, the first one counts.
    """
    ending = threading.Lock()

    def give_up() -> None:
        with ending:
            if not (attempt_folder / run_folder.RESULT_FILE).exists():
                run_folder.write_result(attempt_folder, {"status": "interrupted"})
            os._exit(128 + signal.SIGTERM)

    def on_sigterm(_signal: int, _frame: object) -> None:
        if not progress.terminated:
            progress.terminated = True
            timer = threading.Timer(GRACE_SECONDS, give_up)
            timer.daemon = True  # whoever has saved in time does not wait for it
            timer.start()

    signal.signal(signal.SIGTERM, on_sigterm)
    return ending


def _prepare_process() -> None:
    if sys.platform == "linux":
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE_ADJUSTMENT)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # The order in which jobs.gpu counts; torch reads it when it is imported or later.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"


def _result_of(spec: dict[str, Any], progress: Progress, kinds: Mapping[str, str]) -> dict[str, Any]:
    """What the job's function returns, or its failure in words."""
    try:
        with _device(spec, progress):
            return _function(kinds[spec["kind"]])(spec, progress)
    except gpu.WaitStopped:
        return {"status": "stopped"}
    except Exception as error:  # noqa: BLE001 (an edge: logged)
        with suppress(OSError):  # a full disk takes no log either
            traceback.print_exc()
        return _failure(error, progress)


def _failure(error: Exception, progress: Progress) -> dict[str, Any]:
    """The result that an error makes: a pause for want of disk, else a failure in words."""
    if files.is_full_disk(error):
        return {"status": "paused", "needs_bytes": getattr(error, "needed_bytes", None)}
    if not isinstance(error, StudioError):
        place = _without_memory(error)
        if place is not None:
            error = StudioError(
                f"{place} has too little memory for this job.",
                "Close other programs that use it, set tokens_per_step or max_tokens lower, or choose a smaller base"
                " model.",
            )
        else:
            error_id = files.new_id()
            progress.log(f"The error above is error {error_id}.")
            error = StudioError(
                f"Something unexpected went wrong (error {error_id}).",
                "The details stand in the run's log above that id.",
            )
    return {"status": "failed", "error": error.as_json()}


def _without_memory(error: Exception) -> str | None:
    """What had no memory left, by torch's words, whose types only a process that imports it knows."""
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "The computer"
    return "The GPU" if isinstance(error, RuntimeError) and "out of memory" in str(error) else None


@contextmanager
def _device(spec: dict[str, Any], progress: Progress) -> Iterator[None]:
    """The job's device for itself, given back by the model server if that has it."""
    if spec["device"] in gpu.WITHOUT_DEVICE:
        yield
        return
    progress.phase("Waiting for the device")
    who = f"the job “{spec['name']}”"
    with gpu.take(spec["device"], who, connection.free_device, progress.should_stop, progress.phase):
        yield


def _function(place: str) -> JobFunction:
    """The function at "package.module:name", imported now."""
    module, _, name = place.partition(":")
    return cast(JobFunction, getattr(warm.imported(module), name))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
