"""The runs of the study "Would more examples help?": an adapter's training again, on a quarter and half of its rows."""

from __future__ import annotations

from collections.abc import Mapping

from jobs import gpu
from storage import adapters, jobs
from storage.errors import StudioError
from storage.jobs import Job

KIND = "study"
SHARES = (0.25, 0.5)
NEEDS_BYTES = 5_000_000
_PREFIX = "study "


def key_of(adapter_id: str, share: float) -> str:
    """The request key of one of the trainings, which is what marks it."""
    return f"{_PREFIX}{adapter_id} {share:g}"


def is_study(job: Job) -> bool:
    """Whether a training is a part of a study, and no adapter that anybody asked for."""
    return job.kind == "training" and (job.request_key or "").startswith(_PREFIX)


def runs_of(adapter_id: str) -> list[Job]:
    """The trainings of an adapter's study, the smallest share first."""
    keys = [key_of(adapter_id, share) for share in SHARES]
    found = {job.request_key: job for job in jobs.list_all(kind="training", limit=10_000)}
    return [found[key] for key in keys if key in found]


def measuring_of(adapter_id: str) -> Job | None:
    """The job that measures what the trainings of an adapter's study have brought, the newest of several."""
    measuring = jobs.list_all(kind=KIND, limit=10_000)
    return next((job for job in measuring if job.settings.get("adapter_id") == adapter_id), None)


def after_training(job: Job, adapter_id: str) -> Job | None:
    """Queue the measuring once `job`, which has just made `adapter_id`, is the last training of a study to end."""
    if not is_study(job):
        return None
    return measure((job.request_key or "").split(" ")[1], {job.request_key: adapter_id})


def measure(studied: str, just_made: Mapping[str | None, str] | None = None) -> Job | None:
    """Queue the measuring of an adapter's study, once; None while a training of it is missing.

    `just_made` are adapters by request key of trainings whose end is not written down yet.
    """
    ended = {run.request_key: run.adapter_id for run in runs_of(studied) if run.status == "finished"}
    made = {**ended, **(just_made or {})}
    needed = [made.get(key_of(studied, share)) for share in SHARES]
    try:
        adapter = adapters.get(studied)
    except StudioError:
        return None
    if not all(needed):
        return None
    return jobs.add(
        KIND,
        f"Would more examples help {adapter.name}?",
        gpu.EVALUATION,
        dataset_id=adapter.dataset_id,
        base_model_id=adapter.base_model_id,
        settings={"adapter_id": studied, "adapter_ids": [*needed, studied]},
        request_key=f"{_PREFIX}{studied} measured {' '.join(map(str, needed))}",
        needs_bytes=NEEDS_BYTES,
    )
