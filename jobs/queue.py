"""What may be asked of the queue; checked before it waits, so that it does not fail an hour later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs import gpu, run_folder
from jobs.base_models import catalogue
from jobs.base_models.catalogue import BaseModel
from jobs.lora import targets
from jobs.lora.targets import Matrix
from jobs.training import settings as training_settings
from jobs.training import warm_start
from jobs.training.settings import TrainingSettings
from storage import adapters, datasets, files, jobs
from storage.errors import StudioError
from storage.jobs import Job

# What a training writes beside a download: checkpoints, the adapter, its log.
TRAINING_BYTES = 200_000_000
OPEN = ("queued", "running", "stopping")


def submit_training(
    dataset_id: str,
    base_model_id: str,
    rank: object,
    settings: dict[str, Any],
    name: str | None = None,
    request_key: str | None = None,
) -> Job:
    """Queue a training; the same `request_key` again returns the job that it made the first time.

    Raises StudioError for whatever would make the training fail and can be known now.
    """
    dataset = datasets.get(dataset_id)
    if dataset.train_rows < 1:
        raise StudioError(
            f"The dataset “{dataset.name}” has no examples to learn from.",
            "Add examples to it, then start again.",
        )
    model = catalogue.find(base_model_id)
    checked = training_settings.from_json(settings)
    checked_rank = training_settings.check_ranks(checked, rank, model.shape)
    if checked.precision == "nf4" and gpu.default_device() == "cpu":
        raise StudioError(
            "The number format nf4 needs an NVIDIA GPU, and there is none here.",
            'Set precision to "auto".',
        )
    ranks = checked.try_ranks or (checked_rank,)
    _check_modules(model, ranks, checked)
    _check_disk(model)
    return jobs.add(
        "training",
        name or f"{dataset.name} · {model.name} · {_in_words(ranks)}",
        gpu.default_device(),
        dataset_id=dataset_id,
        base_model_id=base_model_id,
        rank=ranks[0] if len(ranks) == 1 else checked_rank,
        settings=checked.as_json(),
        request_key=request_key,
    )


def submit_fetch(base_model_id: str) -> Job:
    """Queue the download of a base model, or return the one that is under way.

    Raises StudioError for an unknown model.
    """
    model = catalogue.find(base_model_id)
    earlier = _fetches_of(base_model_id)
    for job in earlier:
        if job.status in OPEN:
            return job
    # The number makes two clicks at the same moment one job, and a new try after a failure a new one.
    key = f"fetch {base_model_id} {len(earlier)}"
    return jobs.add("fetch", f"Fetch {model.name}", gpu.NETWORK, base_model_id=base_model_id, request_key=key)


def fetch_starter_once() -> None:
    """Queue the download of the starter model on the first start; after that it is the user's choice."""
    if not catalogue.find(catalogue.STARTER_ID).available and not _fetches_of(catalogue.STARTER_ID):
        submit_fetch(catalogue.STARTER_ID)


def stop(job_id: str) -> Job:
    """Ask a job to stop; a training keeps what it has learned. Asking again changes nothing."""
    job = jobs.request_stop(job_id)
    if job.status == "stopping":
        run_folder.request_stop(files.run_folder(job_id))
    return job


def status(job_id: str) -> dict[str, Any]:
    """How a job stands, as the endpoint /job answers; numbers that are not finite are None."""
    job = jobs.get(job_id)
    error = None
    if job.error_message is not None:
        error = {"message": job.error_message, "remedy": job.error_remedy or ""}
    shown: dict[str, Any] = files.json_safe(
        {
            "job_id": job.id,
            "kind": job.kind,
            "name": job.name,
            "status": job.status,
            "device": job.device,
            "phase": job.phase,
            "phase_done": job.phase_done,
            "phase_total": job.phase_total,
            "step": job.step,
            "total_steps": job.total_steps,
            "loss": job.loss,
            "held_out_loss": job.held_out_loss,
            "seconds_left": job.seconds_left,
            "tokens_per_second": job.tokens_per_second,
            "steps_per_second": job.steps_per_second,
            "notes": job.notes,
            "foreseen_seconds": job.foreseen_seconds,
            "foreseen_peak_bytes": job.foreseen_peak_bytes,
            **{name: job.result.get(name) for name in ("rehearsal", "trials", "best_trial")},
            "error": error,
            "adapter_id": job.adapter_id,
        }
    )
    return shown


def _fetches_of(base_model_id: str) -> list[Job]:
    return [job for job in jobs.list_all(kind="fetch", limit=10_000) if job.base_model_id == base_model_id]


def _in_words(ranks: Sequence[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _check_modules(model: BaseModel, ranks: Sequence[int], settings: TrainingSettings) -> None:
    """The modules, their own ranks and the adapter to start from, as far as the model's files or shape tell."""
    matrices = catalogue.matrices_of(model)
    if settings.start_from is not None:
        _check_start(settings.start_from, model, matrices, ranks, settings)
    elif matrices:
        names = (
            settings.target_modules
            if isinstance(settings.target_modules, str)
            else list(settings.target_modules)
        )
        chosen = targets.choose(matrices, names, settings.layers)
        targets.ranks(chosen, ranks[0], settings.rank_pattern)


def _check_start(
    adapter_id: str,
    model: BaseModel,
    matrices: Sequence[Matrix],
    ranks: Sequence[int],
    settings: TrainingSettings,
) -> None:
    adapter = adapters.get(adapter_id)
    if adapter.base_model_id != model.id:
        raise StudioError(
            f"The adapter “{adapter.name}” was made for the base model {adapter.base_model_id}, not {model.id}.",
            "Choose the base model it was made for, or start a fresh adapter.",
        )
    if matrices:
        earlier = warm_start.read_adapter(files.adapter_folder(adapter_id), matrices)
        warm_start.check_fits(earlier, matrices, ranks, settings)


def _check_disk(model: BaseModel) -> None:
    needed = TRAINING_BYTES + (0 if model.available else model.size_bytes or 0)
    if files.free_bytes() < needed:
        raise files.full_disk(needed)
