"""What may be asked of the queue; checked before it waits, so that it does not fail an hour later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs import finishing, gpu, recovery, run_folder, run_state
from jobs.base_models import catalogue
from jobs.base_models.catalogue import BaseModel
from jobs.evaluation import submission
from jobs.lora import savings, targets
from jobs.lora.targets import Matrix
from jobs.training import folders, warm_start
from jobs.training import settings as training_settings
from jobs.training.settings import TrainingSettings
from storage import adapters, checkpoints, datasets, files, jobs, waiting
from storage.errors import StudioError
from storage.jobs import Job
from storage.waiting import Where

# What a training writes whatever its adapter's size: events, its log, compiled kernels.
RUN_BYTES = 50_000_000
# A checkpoint holds for each trained value itself, two moments of the optimiser, its gradient and the best so far.
CHECKPOINT_VALUES = 5
# Two are kept while a third is written.
CHECKPOINTS = 3
# Where nothing is known of the model's matrices before it is fetched.
UNKNOWN_BYTES = 200_000_000
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
    needed_bytes = disk_bytes(model, ranks, checked)
    _check_disk(needed_bytes)
    return _kept(
        jobs.add(
            "training",
            name or f"{dataset.name} · {model.name} · {_in_words(ranks)}",
            _least_busy_device(),
            dataset_id=dataset_id,
            base_model_id=base_model_id,
            rank=ranks[0] if len(ranks) == 1 else checked_rank,
            settings=checked.as_json(),
            request_key=request_key,
            needs_bytes=needed_bytes,
        )
    )


def disk_bytes(model: BaseModel, ranks: Sequence[int], settings: TrainingSettings) -> int:
    """The room on the disk that a training needs to its end: checkpoints, adapter, log, and the model if missing."""
    download = 0 if model.available else model.size_bytes or 0
    matrices = catalogue.matrices_of(model)
    if settings.start_from is not None:
        values = adapters.get(settings.start_from).parameters * len(ranks)
    elif matrices:
        chosen = targets.choose(matrices, settings.target_modules, settings.layers)
        counted = (savings.counts_of(chosen, r, settings.rank_pattern, settings.use_dora) for r in ranks)
        values = sum(map(sum, counted))
    else:
        return UNKNOWN_BYTES + download
    values *= max(1, len(settings.try_learning_rates))
    looks = 2 * values * folders.MOST_LOOKS
    return RUN_BYTES + 4 * values * (CHECKPOINTS * CHECKPOINT_VALUES + 2) + looks + download


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
    return _kept(
        jobs.add(
            "fetch",
            f"Fetch {model.name}",
            gpu.NETWORK,
            base_model_id=base_model_id,
            request_key=key,
            needs_bytes=model.size_bytes,
        )
    )


def submit_scorecard(
    adapter_id: str,
    dataset_id: str | None = None,
    settings: dict[str, Any] | None = None,
    request_key: str | None = None,
) -> Job:
    """Queue a scorecard of an adapter, or return the one that is under way.

    Raises StudioError for whatever would make it fail and can be known now.
    """
    return _kept(submission.submit(adapter_id, dataset_id, settings, request_key))


def fetch_starter_once() -> None:
    """Queue the download of the starter model on the first start; after that it is the user's choice."""
    if not catalogue.find(catalogue.STARTER_ID).available and not _fetches_of(catalogue.STARTER_ID):
        submit_fetch(catalogue.STARTER_ID)


def stop(job_id: str) -> Job:
    """Ask a job to stop; a training keeps what it has learned. Asking again changes nothing."""
    job = jobs.request_stop(job_id)
    if job.status == "stopping":
        run_folder.request_stop(files.run_folder(job_id))
    return _kept(job)


def retry(job_id: str) -> Job:
    """Let a failed or stopped job go on from its last checkpoint; any other is left alone.

    Raises StudioError when there is no such job.
    """
    return _kept(jobs.retry(job_id))


def move(job_id: str, where: Where) -> Job:
    """Put a waiting job elsewhere in its device's queue; one that no longer waits is left alone.

    Raises StudioError when there is no such job.
    """
    moved = waiting.move(job_id, where)
    for job in waiting.in_order(moved.device):
        run_state.write(job.id)
    return moved


def delete(job_id: str) -> None:
    """Forget a job and put its run folder into the trash, once it has ended; its adapter stays.

    Nothing happens when it is already gone.
    """
    job = jobs.request_delete(job_id)
    if job is None:
        return
    if job.status in jobs.ACTIVE:
        run_folder.request_stop(files.run_folder(job_id))
    else:
        finishing.forget(job)


def _kept(job: Job) -> Job:
    """The job, once its run folder tells of it too: from then on no loss of the database can take it away."""
    run_state.write(job.id)
    return job


def status(job_id: str) -> dict[str, Any]:
    """How a job stands, as the endpoint /job answers; numbers that are not finite are None."""
    job = jobs.get(job_id)
    saved = checkpoints.list_of(job.id)
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
            "attempt": job.attempt,
            "interruptions": recovery.sentences(job),
            "resumed_from": job.resumed_from,
            "paused_for": job.paused_for,
            "silent_seconds": job.silent_seconds,
            "place": waiting.place(job.id),
            "checkpoint_step": saved[0].step if saved else None,
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


def _check_disk(needed_bytes: int) -> None:
    if files.free_bytes() < needed_bytes:
        raise files.full_disk(needed_bytes)


def _least_busy_device() -> str:
    """The GPU with the fewest jobs that have not ended, the first of several; without one the processor."""
    devices = [device.id for device in gpu.devices()]
    gpus = [device for device in devices if device != "cpu"]
    if len(gpus) < 2:
        return devices[0]
    open_jobs = [job.device for status in OPEN for job in jobs.list_all(status=status, limit=100_000)]
    return min(gpus, key=open_jobs.count)
