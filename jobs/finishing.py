"""What becomes of a job whose process has ended: its adapter is published, its end is written down."""

from __future__ import annotations

from typing import Any, Literal

from jobs import run_folder
from storage import adapters, files, jobs
from storage.errors import StudioError
from storage.jobs import Job

WEIGHTS_FILE = "adapter_model.safetensors"
SEE_LOG = "Start it again; the last lines of its log are on the run page."
# What a training says about its adapter in result.json; the rest follows from the job and the folder.
MADE_BY_TRAINING = (
    "rank",
    "alpha",
    "target_modules",
    "parameters",
    "base_weights_sha256",
    "held_out_loss",
    "best_step",
    "settings",
)


def finish(job: Job) -> bool:
    """Write down how the job ended, from its result.json; harmless to do again after a crash.

    False when the attempt is no longer the current one.
    """
    adapter: dict[str, Any] | None = None
    try:
        result = run_folder.result_of(files.attempt_folder(job.id, job.attempt))
        if result is None:
            return _interrupted(job)
        if result["status"] == "failed":
            return jobs.finish(job.id, job.attempt, "failed", error=StudioError(**result["error"]))
        if result.get("adapter") is not None:
            adapter = _published(job, result["adapter"])
    except (StudioError, OSError, KeyError, TypeError) as error:
        return jobs.finish(job.id, job.attempt, "failed", error=_unusable(error))
    # Outside: a busy database is no fault of the result, and the worker comes back to it.
    if adapter:
        adapters.add(**adapter)
    return jobs.finish(
        job.id, job.attempt, result["status"], adapter_id=adapter["id"] if adapter else None, result=result
    )


def _interrupted(job: Job) -> bool:
    """The end of a job whose process said nothing: a stop if one was asked for, else a failure."""
    verb = "Stopped" if job.status == "stopping" else "Interrupted"
    where = f" at step {job.step}" if job.total_steps else ""
    error = StudioError(f"{verb}{where}: the job's process ended without a result.", SEE_LOG)
    status: Literal["stopped", "failed"] = "stopped" if job.status == "stopping" else "failed"
    return jobs.finish(job.id, job.attempt, status, error=error)


def _published(job: Job, made: dict[str, Any]) -> dict[str, Any]:
    """The record of this attempt's adapter, once its folder has its final place.

    Each attempt has one id, so that a worker that died after the move, and the next one, mean the same.
    """
    adapter_id = f"{job.id}-{job.attempt}"
    folder = files.adapter_folder(adapter_id)
    if not folder.exists():
        files.publish_folder(files.attempt_folder(job.id, job.attempt) / "adapter", folder)
    return {
        "id": adapter_id,
        "name": f"{job.name} · rank {made['rank']}" if several_ranks(job) else job.name,
        "job_id": job.id,
        "dataset_id": job.dataset_id,
        "base_model_id": job.base_model_id,
        "size_bytes": files.folder_bytes(folder),
        "weights_sha256": files.sha256_of(folder / WEIGHTS_FILE),
        **{name: made[name] for name in MADE_BY_TRAINING},
    }


def several_ranks(job: Job) -> bool:
    """Whether a training tries several ranks, of which its adapter then has one."""
    return len(job.settings.get("try_ranks") or ()) > 1


def _unusable(error: Exception) -> StudioError:
    """The failure of a job that left something that cannot be used."""
    if isinstance(error, StudioError):
        return error
    return StudioError(f"The job's result cannot be used: {type(error).__name__}: {error}.", SEE_LOG)
