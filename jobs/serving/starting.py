"""The model server of this data folder, started where it does not run; imports no torch, so the page may."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx

from jobs import locks
from jobs.executors import processes
from jobs.serving import address
from jobs.serving.address import Address
from jobs.serving.connection import ServerGone, connection
from jobs.serving.schema import ALREADY_RUNNING
from storage import config, files

# Importing torch takes 3 seconds, and many times that on a busy computer with a slow disk.
START_SECONDS = 120.0
PROJECT_ROOT = Path(__file__).resolve().parents[2]


def ensure_running() -> Address:
    """The address of this data folder's model server, started now where none runs.

    Raises: ServerGone when it does not come up.
    """
    found = _running()
    if found is not None:
        return found
    start_lock = locks.take(files.lock_path("model-server-start"), wait=True)
    assert start_lock is not None
    with start_lock:
        deadline = time.monotonic() + START_SECONDS
        starting: subprocess.Popen[bytes] | None = None
        while time.monotonic() < deadline:
            found = _running()
            if found is not None:
                return found
            # One that is just ending still has the server's own lock: try again until it is gone.
            if starting is None or starting.poll() == ALREADY_RUNNING:
                starting = _start()
            elif starting.poll() is not None:
                break
            time.sleep(0.1)
    raise ServerGone("The model server did not start.", f"The reason is in {files.log_path('server')}.")


def _start() -> subprocess.Popen[bytes]:
    """Start the server in a session of its own, so that it outlives the page; its words go to a file."""
    log = files.log_path("server")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "jobs.serving.server", "--data-dir", str(config.current().data_dir)]
    with open(log, "ab") as words:
        return subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=processes.computing_environment(),
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _running() -> Address | None:
    """The server of this data folder, if one runs and answers."""
    server = address.read()
    if server is not None:
        with suppress(httpx.TransportError), connection(server, 5.0) as opened:
            return server if opened.get("/status").is_success else None
    return None
