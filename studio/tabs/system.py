"""System: the machine, the disk, the models, the versions, and whether everything runs."""

from __future__ import annotations

import html
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import gradio as gr

from jobs import gpu, queue, worker
from jobs.base_models import catalogue
from jobs.base_models.catalogue import BaseModel
from storage import database, files, jobs
from storage.jobs import Job
from studio import layout, tables, words
from studio.charts import OPEN
from studio.notices import shown
from studio.routes import VERSION

PATH = "/system"
FOLDERS = {
    "datasets": "Datasets",
    "models": "Base models",
    "runs": "Runs",
    "adapters": "Adapters",
    "logs": "Logs",
}
PACKAGES = ("gradio", "torch", "transformers", "peft", "datasets", "sqlalchemy", "plotly", "tokenizers")
# Below this not even a small training with its checkpoints is sure to fit.
LITTLE_SPACE_BYTES = 1_000_000_000
TICK_SECONDS = 1
QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}


def answer(models: list[BaseModel]) -> str:
    """Whether the studio can work, and what is missing if not."""
    free = files.free_bytes()
    if not worker.worker_is_alive():
        return (
            '<span class="wrong">The worker is not running.</span> '
            "Nothing trains until the studio is opened again."
        )
    if free < LITTLE_SPACE_BYTES:
        return f'<span class="wrong">The disk is nearly full:</span> {words.size(free)} free.'
    if not models:
        return f"{layout.strong('There is no base model yet.')} Fetch the starter model below."
    here = f"{words.many(len(models), 'base model')} here, {words.size(free)} of disk free."
    return f"{layout.strong('All is ready.')} {here}"


def hardware() -> str:
    """The devices, their memory, and who uses them."""
    rows = [
        [
            html.escape(device.name),
            words.size(device.memory_bytes),
            words.size(device.free_bytes),
            _holder(device.id),
        ]
        for device in gpu.devices()
    ]
    return f"<h2>This computer</h2>{tables.table('Devices', ['Device', 'Memory', 'Free', 'Used by'], rows)}"


def _holder(device_id: str) -> str:
    return html.escape(gpu.holder(device_id) or "nobody now")


def disk() -> str:
    """What the data folder's parts take, and what is left."""
    sizes = {label: files.folder_bytes(files.root() / name) for name, label in FOLDERS.items()}
    rows = [[label, words.hover(words.size(used), f"{used:,} bytes")] for label, used in sizes.items()]
    rows.append(["<b>Free</b>", f"<b>{words.size(files.free_bytes())}</b>"])
    return f"<h2>Disk</h2>{tables.table('Disk', ['What', 'Size'], rows)}"


def models_here(models: list[BaseModel]) -> str:
    """The base models on this machine with the place they take."""
    rows = [
        [
            html.escape(model.name),
            words.count(model.parameters) if model.parameters else tables.NOTHING,
            words.size(files.folder_bytes(model.folder)),
            html.escape(model.licence or tables.NOTHING),
        ]
        for model in models
        if model.folder is not None
    ]
    if not rows:
        return '<h2>Base models</h2><p class="quiet">None yet.</p>'
    headings = ["Model", "Parameters", "Size", "Licence"]
    return f"<h2>Base models</h2>{tables.table('Base models', headings, rows)}"


def software() -> str:
    """Versions, as the installed packages record them: importing them would load torch into the page."""
    rows = [("LoRA Tailor", VERSION), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            rows.append((name, "not installed"))
    pairs = [(html.escape(name), html.escape(number)) for name, number in rows]
    return f"<h2>Versions</h2>{tables.facts(pairs)}"


def places() -> str:
    """Where everything is kept, and what state it is in."""
    about = database.describe()
    kind = "PostgreSQL"
    if about["sqlite_version"]:
        kind = f"SQLite {about['sqlite_version']}, journal {about['journal_mode']}"
    state = "running" if worker.worker_is_alive() else "not running"
    waiting = jobs.count("queued")
    rows = [
        ("Data folder", f"<code>{html.escape(str(files.root()))}</code>"),
        ("Database", f"<code>{html.escape(str(about['url']))}</code>"),
        ("Kept in", f"{html.escape(kind)}, schema {html.escape(str(about['schema']))}"),
        ("Worker", f"{state}, {waiting} {'job' if waiting == 1 else 'jobs'} waiting"),
    ]
    return f"<h2>Places</h2>{tables.facts(rows)}"


def starter() -> tuple[Any, ...]:
    """The starter model's state: [words, fetch button, timer]."""
    if catalogue.find(catalogue.STARTER_ID).available:
        return "", gr.update(visible=False), gr.update(active=False)
    job = newest_fetch(jobs.list_all(kind="fetch"))
    if job is None:
        return _note("The starter model is not here yet."), gr.update(visible=True), gr.update(active=False)
    is_open = job.status in OPEN
    return fetching(job), gr.update(visible=not is_open), gr.update(active=is_open)


def newest_fetch(found: list[Job]) -> Job | None:
    """The last fetch of the starter model; `found` is newest first."""
    return next((job for job in found if job.base_model_id == catalogue.STARTER_ID), None)


def fetching(job: Job) -> str:
    """How far a fetch is, as a bar and a sentence; or why it ended."""
    if job.status == "failed":
        return tables.problem(
            f"The starter model could not be fetched. {job.error_message} {job.error_remedy or ''}".strip()
        )
    if job.status not in OPEN:
        return _note("The starter model is not here.")
    if job.status == "queued":
        return _note("Fetching the starter model: waiting for its turn.")
    if not job.phase_total:
        return _note(f"{job.phase or 'Starting'}…")
    done = job.phase_done or 0
    amount = f"{job.phase}: {words.size(done)} of {words.size(job.phase_total)}"
    return tables.meter("Fetching the starter model", done / job.phase_total) + _note(amount)


def _note(text: str) -> str:
    return f'<p class="quiet">{html.escape(text)}</p>'


def fetch_starter() -> tuple[Any, ...]:
    """Queue the download of the starter model."""
    queue.submit_fetch(catalogue.STARTER_ID)
    return starter()


def everything() -> tuple[str, ...]:
    """The parts of the page: [answer, hardware, models, disk, places, versions]."""
    models = [model for model in catalogue.all_models() if model.available]
    said = layout.answered(PATH, answer(models))
    return said, hardware(), models_here(models), disk(), places(), software()


def build(page: gr.Blocks) -> None:
    """Lay the page out; the timer runs only while the starter model is being fetched."""
    layout.bar(PATH)
    said = layout.question(PATH)
    timer = gr.Timer(TICK_SECONDS, active=False)
    with gr.Column(elem_classes="room"):
        machine = gr.HTML(elem_id="hardware", elem_classes="card")
        with gr.Column(elem_classes="card"):
            models = gr.HTML(elem_id="models-here")
            state = gr.HTML(elem_id="starter-state")
            fetch = gr.Button(
                "Fetch the starter model", variant="primary", visible=False, elem_id="fetch-starter"
            )
        used = gr.HTML(elem_id="disk", elem_classes="card")
        where = gr.HTML(elem_id="places", elem_classes="card")
        versions = gr.HTML(elem_id="versions", elem_classes="card")
    parts = [said, machine, models, used, where, versions]
    page.load(shown(everything), None, parts, concurrency_limit=None, api_visibility="private")
    page.load(shown(starter), None, [state, fetch, timer], **QUIET)
    timer.tick(shown(starter), None, [state, fetch, timer], **QUIET)
    fetch.click(shown(fetch_starter), None, [state, fetch, timer], **QUIET)
