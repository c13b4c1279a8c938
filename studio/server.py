"""Build the studio: database, worker, our own routes, and the Gradio page mounted last."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING

from jobs import queue, rebuild, standstill, worker
from jobs.datasets import publishing
from jobs.rebuild import Counts
from storage import config, database, files, trash
from storage.errors import StudioError

if TYPE_CHECKING:
    from fastapi import FastAPI

# Read by Gradio and the hub's library while they are imported: nothing is reported to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

MAX_UPLOAD = "4gb"
# Those used longest ago are forgotten; a tab that sleeps so long begins at the top of its page again.
MOST_SESSIONS = 200
WORKER_LOOK_SECONDS = 5
# What everybody who opens the page has to know; GET /healthz tells it.
notice: str | None = None


def build(rebuild_database: bool = False) -> FastAPI:
    """Everything behind the splash, ready to answer; called in a thread, once more when there was an error.

    A database that is gone is made again from the folders, another one only when asked for.
    Raises StudioError, of which DamagedDatabase can be helped with `rebuild_database`.
    """
    rebuilt = rebuild.rebuild() if rebuild_database else rebuild.rebuild_lost()
    database.connect()
    _log_to_file()
    if rebuilt:
        _tell(rebuilt)
    trash.tidy()
    publishing.tidy()
    # Uploads wait in the data folder, as nothing may be written anywhere else.
    os.environ["GRADIO_TEMP_DIR"] = str(files.root() / "tmp")
    worker.hold_page_lock()
    worker.start_worker()
    threading.Thread(target=_keep_worker, daemon=True).start()
    queue.fetch_starter_once()
    return _application()


def _application() -> FastAPI:
    from studio.quick_gradio import gradio as gr  # isort: skip  # before anything else imports Gradio
    from fastapi import FastAPI

    from studio import page, routes, theme

    blocks = page.build()
    # Mounting never says so, and Gradio then takes any path of this machine for an uploaded file.
    blocks.has_launched = True
    # It is switched off below; Gradio says so all the same, on the terminal of everybody who starts the studio.
    warnings.filterwarnings("ignore", message="SSR mode", category=UserWarning)
    # Gradio keeps a copy of the whole page's description for every session, and each call of an endpoint is one.
    blocks.state_session_capacity = MOST_SESSIONS
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    routes.add(application)
    return gr.mount_gradio_app(
        application,
        blocks,
        path="/",
        theme=theme.theme(),
        css=theme.css(),
        head=theme.head(),
        footer_links=[],
        run_history=False,
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        favicon_path=str(theme.ASSETS / "favicon.svg"),
    )


def end_jobs() -> None:
    """Let every running job save and end, because the computer, or the container, goes down with this process."""
    log = logging.getLogger("lora_tailor")
    try:
        for job in standstill.end_all():
            log.warning("the job “%s” did not end in time", job.name)
    except StudioError as error:
        log.warning("the jobs were not asked to end: %s", error)


def _tell(rebuilt: Counts) -> None:
    """Keep what became of the database for the page, and all of it in the log."""
    global notice
    notice = rebuilt.sentence()
    logging.getLogger("lora_tailor").warning(notice)
    for problem in rebuilt.problems:
        logging.getLogger("lora_tailor").warning("not rebuilt: %s", problem)
    if rebuilt.problems:
        notice += f" Which ones stands in {files.log_path('studio')}."


def _keep_worker() -> None:
    """Start the worker again whenever it has been killed; the jobs themselves do not notice."""
    while True:
        time.sleep(WORKER_LOOK_SECONDS)
        try:
            worker.start_worker()
        except (OSError, StudioError) as error:  # no memory or no room for now: the next look may find some
            logging.getLogger("lora_tailor").warning("the worker could not be started: %s", error)


def _log_to_file() -> None:
    handler = RotatingFileHandler(files.log_path("studio"), maxBytes=5_000_000, backupCount=2)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("lora_tailor").setLevel(logging.INFO)
    logging.getLogger("lora_tailor").info("studio opened on %s", config.current().data_dir)
