"""The public contract: every action as a named endpoint, plain JSON in and out, errors as sentences."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, get_args

import gradio as gr

from jobs import queue, rebuild
from jobs.base_models import catalogue
from jobs.lora import estimate
from jobs.serving import client
from jobs.serving.schema import CompareSettings
from storage import adapters, backups, jobs, metrics, waiting
from storage.errors import StudioError
from studio import dataset_endpoints, evaluation_endpoints, playground_endpoints
from studio.notices import told


def base_models() -> list[dict[str, Any]]:
    """The catalogue and everything on this machine: [{id, name, parameters, licence, available}]."""
    return [
        {
            "id": m.id,
            "name": m.name,
            "parameters": m.parameters,
            "licence": m.licence,
            "available": m.available,
        }
        for m in catalogue.all_models()
    ]


def estimated(
    base_model_id: str, rank: int, target_modules: Any = "auto", dataset_id: str | None = None
) -> dict[str, Any]:
    """What a run would cost: {full_parameters, lora_parameters, reduction, adapter_bytes, memory_bytes, seconds}."""
    return estimate.estimate(base_model_id, rank, target_modules, dataset_id)


def start_job(
    dataset_id: str,
    base_model_id: str,
    rank: int,
    settings: dict[str, Any],
    request_key: str | None = None,
) -> dict[str, str]:
    """Queue a training run: {job_id}; the same key again, when an answer got lost, is the same run."""
    started = queue.submit_training(
        dataset_id, base_model_id, rank, settings or {}, request_key=request_key or None
    )
    return {"job_id": started.id}


def job(job_id: str) -> dict[str, Any]:
    """How a run stands: {status, step, total_steps, loss, held_out_loss, seconds_left, error, adapter_id, …}."""
    return queue.status(job_id)


def metrics_since(job_id: str, since_step: int = -1) -> list[dict[str, Any]]:
    """The numbers of a run after a step: [{step, name, value}]."""
    jobs.get(job_id)
    return [{"step": m.step, "name": m.name, "value": m.value} for m in metrics.since(job_id, since_step)]


def stop_job(job_id: str) -> dict[str, str]:
    """Stop a run and keep the best so far: {status}."""
    return {"status": queue.stop(job_id).status}


def retry_job(job_id: str) -> dict[str, str]:
    """Let a failed or stopped run go on from its last checkpoint: {status}."""
    return {"status": queue.retry(job_id).status}


def delete_job(job_id: str) -> dict[str, bool]:
    """Put a run into the trash, once it has ended; its adapter stays: {deleted}, true also when it was gone."""
    queue.delete(job_id)
    return {"deleted": True}


def move_job(job_id: str, where: str) -> dict[str, int | None]:
    """Move a waiting run "up", "down", "first" or "last" in its queue: {place}, null when it does not wait."""
    if where not in get_args(waiting.Where):
        raise StudioError(f"{where!r} is no place in the queue.", "Say up, down, first or last.")
    queue.move(job_id, where)  # type: ignore[arg-type]
    return {"place": waiting.place(job_id)}


def back_up() -> dict[str, Any]:
    """Copy the database while it is in use: {file, size_bytes}; the file is in the folder `backups`."""
    copy = backups.back_up()
    return {"file": copy.name, "size_bytes": copy.stat().st_size}


def rebuild_database() -> dict[str, Any]:
    """Make the database again from the folders: how many of each kind, and {problems}, what could not be read."""
    return asdict(rebuild.rebuild())


def compare(
    request: gr.Request, adapter_id: str, prompt: str, settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """Answers side by side from one batch: [{side, text, tokens, weights}]; at the kept strength unless told.

    Each client has its own turn at the model, as each page has.
    """
    kept = {"strength": adapters.get(adapter_id).strength} if adapter_id else {}
    asked = CompareSettings.from_json(kept | (settings or {}))
    return client.compare_all(adapter_id, prompt, asked, asker=request.session_hash or "")


FUNCTIONS = {
    "base_models": base_models,
    "estimate": estimated,
    "start_job": start_job,
    "job": job,
    "metrics": metrics_since,
    "stop_job": stop_job,
    "retry_job": retry_job,
    "move_job": move_job,
    "delete_job": delete_job,
    "back_up": back_up,
    "rebuild_database": rebuild_database,
    "compare": compare,
}


def add() -> None:
    """Declare the endpoints inside the page's Blocks; they have no place on the page."""
    # A real file component: its check (see studio/server.py) refuses a file that was never uploaded.
    file, name, options = gr.File(visible=False), gr.Textbox(visible=False), gr.JSON({}, visible=False)
    result = gr.JSON(visible=False)
    for api_name, function, inputs in (
        ("add_dataset", dataset_endpoints.add_dataset, [file, name]),
        ("import_file", dataset_endpoints.add_dataset, [file, name, options]),
        ("inspect_file", dataset_endpoints.inspect_file, [file, options]),
        ("start_prompt_file", playground_endpoints.start_prompt_file, [file, name, options]),
    ):
        gr.Button(visible=False).click(
            told(function), inputs, [result], api_name=api_name, concurrency_limit=2
        )
    for api_name, function in {
        **FUNCTIONS,
        **dataset_endpoints.FUNCTIONS,
        **evaluation_endpoints.FUNCTIONS,
        **playground_endpoints.FUNCTIONS,
    }.items():
        gr.api(told(function), api_name=api_name, concurrency_limit=8)
