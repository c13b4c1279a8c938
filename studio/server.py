"""Build the studio: database, worker, our own routes, and the Gradio page mounted last."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING

from jobs import queue, worker
from storage import config, database, files

if TYPE_CHECKING:
    from fastapi import FastAPI

# Read by Gradio and the hub's library while they are imported: nothing is reported to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

MAX_UPLOAD = "200mb"
WORKER_LOOK_SECONDS = 5


def build() -> FastAPI:
    """Everything behind the splash, ready to answer; called once, in a thread."""
    database.connect()
    _log_to_file()
    files.tidy()
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


def _keep_worker() -> None:
    """Start the worker again whenever it has been killed; the jobs themselves do not notice."""
    while True:
        time.sleep(WORKER_LOOK_SECONDS)
        worker.start_worker()


def _log_to_file() -> None:
    handler = RotatingFileHandler(files.log_path("studio"), maxBytes=5_000_000, backupCount=2)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("lora_tailor").setLevel(logging.INFO)
    logging.getLogger("lora_tailor").info("studio opened on %s", config.current().data_dir)
