"""Our own HTTP routes beside Gradio's: health, local assets, downloads, and the live numbers of a run."""

from __future__ import annotations

from importlib.resources import files as package_files
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response

from jobs import worker
from jobs.base_models import catalogue
from jobs.export import adapter as adapter_export
from storage import database, jobs
from storage.errors import StudioError
from studio import charts
from studio.theme import ASSETS

VERSION = "0.1.0"
PLOTLY_SCRIPT = Path(str(package_files("plotly") / "package_data" / "plotly.min.js"))
YEAR = {"cache-control": "public, max-age=31536000"}
ASSET_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".css": "text/css"}


def health() -> dict[str, object]:
    """What a monitor wants to know; `database` and `worker` are "ok" or say what is wrong."""
    return {
        "status": "ok",
        "version": VERSION,
        "database": _database_state(),
        "worker": "ok" if worker.worker_is_alive() else "stopped",
        "jobs_running": jobs.count("running") + jobs.count("stopping"),
        "jobs_queued": jobs.count("queued"),
    }


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
    try:
        database.describe()
    except StudioError as error:
        return str(error)
    return "ok"


def add(application: FastAPI) -> None:
    """Declare the routes; must come before Gradio is mounted at the root."""

    @application.exception_handler(StudioError)
    async def studio_error(request: Request, error: StudioError) -> Response:
        return JSONResponse({"error": error.as_json()}, status_code=404)

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
