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
from storage.errors import StudioError
from storage.jobs import Job
from studio import layout, tables, words
from studio.charts import OPEN
from studio.notices import shown, told
from studio.routes import VERSION
from studio.tabs import upkeep

PATH = "/system"
PACKAGES = ("gradio", "torch", "transformers", "peft", "datasets", "sqlalchemy", "plotly", "tokenizers")
# Below this not even a small training with its checkpoints is sure to fit.
LITTLE_SPACE_BYTES = 1_000_000_000
TICK_SECONDS = 1
QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}


def answer(models: list[BaseModel] | None = None) -> str:
    """Whether the studio can work, and what is missing if not; `models` are those on this machine."""
    if models is None:
        models = [model for model in catalogue.all_models() if model.available]
    free = files.free_bytes()
    try:
        database.describe()
    except StudioError as error:
        return f'<span class="wrong">The database needs attention.</span> {html.escape(str(error))}'
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
    return tables.table("Devices", ["Device", "Memory", "Free", "Used by"], rows)


def _holder(device_id: str) -> str:
    return html.escape(gpu.holder(device_id) or "nobody now")


def models_here() -> str:
    """The base models on this machine with the place they take."""
    rows = [
        [
            html.escape(model.name),
            words.count(model.parameters) if model.parameters else tables.NOTHING,
            words.size(files.folder_bytes(model.folder)),
            html.escape(model.licence or tables.NOTHING),
        ]
        for model in catalogue.all_models()
        if model.available and model.folder is not None
    ]
    if not rows:
        return '<p class="quiet">None yet.</p>'
    headings = ["Model", "Parameters", "Size", "Licence"]
    return tables.table("Base models", headings, rows)


def software() -> str:
    """Versions, as the installed packages record them: importing them would load torch into the page."""
    rows = [("LoRA Tailor", VERSION), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            rows.append((name, "not installed"))
    pairs = [(html.escape(name), html.escape(number)) for name, number in rows]
    return tables.facts(pairs)


def worker_here() -> str:
    """Who does the work, whether it runs, and where everything is kept."""
    process = files.read_json(files.root() / "worker.json")["pid"] if worker.worker_is_alive() else None
    waiting = jobs.count("queued")
    rows = [
        ("Worker", "not running" if process is None else f"running, process {process}"),
        ("Jobs", f"{jobs.count('running') + jobs.count('stopping')} under way, {waiting} waiting"),
        ("Data folder", f"<code>{html.escape(str(files.root()))}</code>"),
    ]
    return tables.facts(rows)


def starter() -> tuple[Any, ...]:
    """The starter model's state: [words, fetch button, timer]."""
    if catalogue.find(catalogue.STARTER_ID).available:
        return "", gr.update(visible=False), gr.update(active=False)
    try:
        job = newest_fetch(jobs.list_all(kind="fetch"))
    except StudioError as error:
        return tables.problem(str(error)), gr.update(visible=False), gr.update(active=False)
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


def everything() -> tuple[Any, ...]:
    """The parts of the page: [answer, hardware, models, worker, versions, and those of upkeep]."""
    try:
        said = told(answer)()
    except gr.Error as error:
        said = html.escape(error.message)
    return (
        layout.answered(PATH, said),
        upkeep.part("This computer", hardware),
        upkeep.part("Base models", models_here),
        upkeep.part("Worker", worker_here),
        upkeep.part("Versions", software),
        *upkeep.everything(),
    )


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
        kept = upkeep.build()
        work = gr.HTML(elem_id="worker", elem_classes="card")
        versions = gr.HTML(elem_id="versions", elem_classes="card")
    parts = [said, machine, models, work, versions, *kept.shown]
    page.load(shown(everything), None, parts, concurrency_limit=None, api_visibility="private")
    kept.rebuilt.success(shown(everything), None, parts, **QUIET)
    page.load(shown(starter), None, [state, fetch, timer], **QUIET)
    timer.tick(shown(starter), None, [state, fetch, timer], **QUIET)
    fetch.click(shown(fetch_starter), None, [state, fetch, timer], **QUIET)
