"""The entry point of one job's own process: `python -m jobs.run_job RUN_FOLDER ATTEMPT`.

With `--wait DATA_FOLDER` instead it waits for a worker to name the job; see `jobs.warm`.
"""

from __future__ import annotations

import os
import sys
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
    progress = RunFolderProgress(attempt_folder, attempt)
    progress.stop_on_sigterm()
    result = _result_of(files.read_json(folder / run_folder.JOB_FILE), progress, kinds)
    progress.close()
    files.write_json(attempt_folder / run_folder.RESULT_FILE, result)


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
    except StudioError as error:
        traceback.print_exc()
        return {"status": "failed", "error": error.as_json()}
    except Exception:  # noqa: BLE001 (an edge: logged under an id)
        error_id = files.new_id()
        progress.log(f"Error {error_id}:\n{traceback.format_exc()}")
        return {
            "status": "failed",
            "error": {
                "message": f"Something unexpected went wrong (error {error_id}).",
                "remedy": "The details stand in the run's log under that id.",
            },
        }


@contextmanager
def _device(spec: dict[str, Any], progress: Progress) -> Iterator[None]:
    """The job's device for itself, given back by the model server if that has it."""
    if spec["device"] == gpu.NETWORK:
        yield
        return
    progress.phase("Waiting for the device")
    with suppress(StudioError):  # a server that does not answer may have ended; the lock knows
        connection.free_device()
    with gpu.hold(spec["device"], f"the job “{spec['name']}”"):
        yield


def _function(place: str) -> JobFunction:
    """The function at "package.module:name", imported now."""
    module, _, name = place.partition(":")
    return cast(JobFunction, getattr(warm.imported(module), name))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
