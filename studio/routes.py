"""Our own HTTP routes beside Gradio's: health, local assets, downloads, and the live numbers of a run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib.resources import files as package_files
from pathlib import Path
from typing import TypeVar

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response

from jobs import worker
from jobs.base_models import catalogue
from jobs.export import adapter as adapter_export
from storage import backups, database, jobs, sqlite_file
from storage.errors import StudioError
from studio import charts, playground_files, server
from studio.notices import passes, told
from studio.theme import ASSETS

VERSION = "0.1.0"
# A page that was made by an earlier process has a session that nobody knows any more.
STARTED = time.time()
PLOTLY_SCRIPT = Path(str(package_files("plotly") / "package_data" / "plotly.min.js"))
YEAR = {"cache-control": "public, max-age=31536000"}
Answer = TypeVar("Answer")
ASSET_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".css": "text/css"}


def health() -> dict[str, object]:
    """What a monitor wants to know; it never raises.

    `database` and `worker` are "ok" or say what is wrong, numbers that the database cannot tell are None, `started`
    is when this process began (seconds since 1970), `notice` what the studio has to tell everybody.
    """
    running, queued, database_state = None, None, _in_words(_database_state)
    if database_state == "ok":
        try:
            running, queued = told(_jobs_under_way)(), told(jobs.count)("queued")
        except gr.Error as error:
            database_state = error.message
    worker_state = _in_words(lambda: "ok" if worker.worker_is_alive() else "stopped")
    return {
        "status": "ok" if database_state == worker_state == "ok" else "degraded",
        "version": VERSION,
        "started": STARTED,
        "database": database_state,
        "worker": worker_state,
        "jobs_running": running,
        "jobs_queued": queued,
        "notice": server.notice,
    }


def _in_words(function: Callable[[], Answer]) -> Answer | str:
    """What a function answers, or else the sentence that says why it cannot."""
    try:
        return told(function)()
    except gr.Error as error:
        return error.message


def _jobs_under_way() -> int:
    return jobs.count("running") + jobs.count("stopping")


def starter_state() -> dict[str, object]:
    """Whether the starter model is here, and if not, how far its download is (bytes)."""
    if catalogue.find(catalogue.STARTER_ID).available:
        return {"state": "ready"}
    fetches = [job for job in jobs.list_all(kind="fetch") if job.base_model_id == catalogue.STARTER_ID]
    if not fetches or fetches[0].status in {"failed", "stopped"}:
        why = (fetches and fetches[0].error_message) or "It has not been fetched yet."
        return {"state": "missing", "words": why}
    return {
        "state": "fetching",
        "words": fetches[0].phase or "Waiting",
        "done": fetches[0].phase_done,
        "total": fetches[0].phase_total,
    }


def _database_state() -> str:
    """ "ok", when it can be read and, as far as the file system says, written.

    Raises StudioError with the sentence otherwise.
    """
    database.describe()
    file = sqlite_file.current()
    if file is not None and not all(os.access(path, os.W_OK) for path in (file, file.parent)):
        raise StudioError("The database may not be written.", f"Check the permissions of {file.parent}.")
    return "ok"


def _backup(name: str) -> Path:
    """The copy of the database with this name; only names from the list are ever looked for on the disk."""
    for backup in backups.list_all():
        if backup.path.name == name:
            return backup.path
    raise StudioError(f"There is no backup {name!r}.", "Choose one from the list on the System page.")


def add(application: FastAPI) -> None:
    """Declare the routes; must come before Gradio is mounted at the root."""

    @application.exception_handler(StudioError)
    async def studio_error(request: Request, error: StudioError) -> Response:
        return JSONResponse({"error": error.as_json()}, status_code=503 if passes(error) else 404)

    @application.get("/healthz")
    def healthz() -> dict[str, object]:
        return health()

    @application.get("/starter")
    def starter() -> dict[str, object]:
        return starter_state()

    @application.get("/vendor/plotly.min.js")
    def plotly_script() -> Response:
        return FileResponse(PLOTLY_SCRIPT, media_type="text/javascript", headers=YEAR)

    @application.get("/studio-assets/{name}")
    def asset(name: str) -> Response:
        path = ASSETS / name
        if path.parent != ASSETS or path.suffix not in ASSET_TYPES or not path.is_file():
            return Response(status_code=404)
        return FileResponse(path, media_type=ASSET_TYPES[path.suffix], headers={"cache-control": "no-cache"})

    @application.get("/runs/{job_id}/points")
    def points(job_id: str, after: int = 0, told: int = 0) -> Response:
        return Response(charts.points_json(job_id, after, told), media_type="application/json")

    @application.get("/download/adapter/{adapter_id}")
    async def download_adapter(adapter_id: str) -> Response:
        path = await run_in_threadpool(adapter_export.adapter_zip, adapter_id)
        return FileResponse(path, filename=path.name, media_type="application/zip")

    @application.get("/download/votes/{name}")
    def download_votes(name: str) -> Response:
        return playground_files.votes(name)

    @application.get("/download/prompts/{name}")
    def download_prompts(name: str) -> Response:
        return playground_files.prompts(name)

    @application.get("/download/backup/{name}")
    def download_backup(name: str) -> Response:
        path = _backup(name)
        return FileResponse(path, filename=path.name, media_type="application/vnd.sqlite3")
