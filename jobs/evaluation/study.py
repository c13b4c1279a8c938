"""The study "Would more examples help?": asked for by a person, answered by two trainings and a measurement."""

from __future__ import annotations

from typing import Any

from jobs import queue
from jobs.base_models import catalogue
from jobs.evaluation import study_runs
from jobs.evaluation.learning_curve import FEWEST_ROWS
from jobs.evaluation.study_runs import SHARES
from storage import adapters, datasets, jobs
from storage.adapters import Adapter
from storage.datasets import Dataset
from storage.errors import StudioError
from storage.jobs import Job

FEWEST_TRAIN_ROWS = 24
# What is fitted to the number of examples is fitted anew to the smaller number.
FITTED = ("epochs", "tokens_per_step")
ENDED_BADLY = ("failed", "stopped")


def start(adapter_id: str) -> dict[str, Any]:
    """Queue what is missing of an adapter's study, and say how it stands.

    What has failed or was stopped goes on, what was deleted is made again; what is finished stays.
    Raises: StudioError when its examples are too few or gone, or its base model is missing.
    """
    adapter = adapters.get(adapter_id)
    dataset = datasets.get(adapter.dataset_id)
    _check(adapter, dataset)
    if of(adapter_id)["status"] == "finished":
        return of(adapter_id)
    for lost in filter(_is_lost, _every(adapter_id)):
        queue.delete(lost.id)
    there = {job.request_key: job for job in study_runs.runs_of(adapter_id)}
    for share in SHARES:
        job = there.get(study_runs.key_of(adapter_id, share))
        if job is None:
            _submit(adapter, share)
        elif job.status in ENDED_BADLY:
            queue.retry(job.id)
    measuring = study_runs.measuring_of(adapter_id) or study_runs.measure(adapter_id)
    if measuring is not None:
        queue.retry(measuring.id)
    return of(adapter_id)


def of(adapter_id: str) -> dict[str, Any]:
    """How an adapter's study stands: `status` is none, training, measuring, finished or failed.

    `points` are {"rows", "loss", "low", "high"} and `fit` has {"words", "at_double"}, once it is finished; `jobs`
    are the ids of its jobs.
    """
    every, measuring = _every(adapter_id), study_runs.measuring_of(adapter_id)
    told: dict[str, Any] = {"points": [], "fit": None, "code": None, "jobs": [job.id for job in every]}
    if measuring is not None and measuring.status == "finished":
        return {**told, **measuring.result["study"], "status": "finished"}
    bad = next((job for job in every if job.status in ENDED_BADLY), None)
    if bad is not None:
        return told | {"status": "failed", "sentence": _failed(bad)}
    if measuring is not None:
        return told | {"status": "measuring", "sentence": "Measuring what more examples have brought."}
    # The measuring is queued before the end of the last training is known: without it, somebody has deleted it.
    running = next((job for job in every if job.status != "finished"), None)
    if len(every) == len(SHARES) and running is not None:
        return told | {"status": "training", "sentence": _training(every, running)}
    return told | {"status": "none", "sentence": ""}


def _every(adapter_id: str) -> list[Job]:
    """The trainings of an adapter's study, and the measuring behind them."""
    measuring = study_runs.measuring_of(adapter_id)
    return [*study_runs.runs_of(adapter_id), *([measuring] if measuring is not None else [])]


def _is_lost(job: Job) -> bool:
    """Whether what a training made was deleted, or what a measuring needs: it can come to nothing any more."""
    measures = job.kind == study_runs.KIND
    needed = job.settings["adapter_ids"] if measures else [job.adapter_id]
    there = {adapter.id for adapter in adapters.list_all()}
    return (measures or job.status == "finished") and not there.issuperset(needed)


def _check(adapter: Adapter, dataset: Dataset) -> None:
    if dataset.train_rows < FEWEST_TRAIN_ROWS:
        raise StudioError(
            f"“{dataset.name}” has {dataset.train_rows} examples to learn from, too few to leave some out.",
            f"With {FEWEST_TRAIN_ROWS} or more, a study can tell. With so few, more examples nearly always help.",
        )
    if dataset.held_out_rows < FEWEST_ROWS:
        raise StudioError(
            f"“{dataset.name}” keeps {dataset.held_out_rows} examples aside, too few to tell a difference.",
            f"Add examples until at least {FEWEST_ROWS} are held out.",
        )
    if not catalogue.find(adapter.base_model_id).available:
        raise StudioError(
            f"The base model “{adapter.base_model_id}” is not on this computer.",
            "Fetch it first, on the Model page.",
        )


def _submit(adapter: Adapter, share: float) -> None:
    """The adapter's own training once more, as it was asked for, on a share of its examples."""
    try:
        asked = jobs.get(adapter.job_id).settings
    except StudioError:  # its run was deleted; the adapter remembers what it came to
        asked = {name: value for name, value in adapter.settings.items() if name not in FITTED}
    changed: dict[str, Any] = {
        "train_share": share * float(asked.get("train_share") or 1.0),
        "learning_rate": adapter.settings.get("learning_rate") or asked.get("learning_rate"),
        # Fitted to fewer examples it could cut the held-out ones, and losses would be of other texts.
        "max_tokens": adapter.settings.get("max_tokens") or asked.get("max_tokens"),
        "try_ranks": [],
        "try_learning_rates": [],
        "scorecard": False,
    }
    queue.submit_training(
        adapter.dataset_id,
        adapter.base_model_id,
        adapter.rank,
        {**asked, **changed},
        name=f"{adapter.name} · {share:.0%} of the examples",
        request_key=study_runs.key_of(adapter.id, share),
    )


def _training(runs: list[Job], running: Job) -> str:
    done = sum(job.status == "finished" for job in runs)
    where = f", step {running.step} of {running.total_steps}" if running.total_steps else ""
    return f"Training {done + 1} of {len(runs)}: {running.name}{where}."


def _failed(job: Job) -> str:
    why = job.error_message or "it was stopped"
    return f"“{job.name}” did not come to its end: {why.rstrip('.')}. Start the study again to go on."
