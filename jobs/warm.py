"""What makes a job's process quick: imports without garbage collection, done before there is a job to do.

The waiting process is `python -m jobs.run_job --wait DATA_FOLDER`; the worker's end of the conversation is
`jobs.executors.spare`. On the socket that is its standard input it says READY when all imports are done, gets
one line of JSON that names a run folder and an attempt, says TAKEN, and is that job's process from then on.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from jobs import run_folder

OPTION = "--wait"
READY = b"ready\n"
TAKEN = b"taken\n"


def imported(module: str) -> ModuleType:
    """The module, imported a quarter faster, and with nothing of it looked through for garbage ever again.

    The libraries of a training leave a million objects that stay to the end: without this, garbage
    collection takes 1.2 of 5 seconds of their import, and 0.3 of a second whenever a model is made.
    """
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def wait_for_job(modules: Sequence[str]) -> tuple[Path, int] | None:
    """Import the modules, then wait; the run folder and the attempt to do, or None when the worker is gone.

    A job that comes during the imports is taken after the current one. The process holds no GPU memory, since
    nothing here asks torch for a device. With the modules of a training it holds about 0.5 GB of memory, 0.4
    of them its own, and one thread. The output goes to the run's log from the moment the job is there.
    """
    with socket.socket(fileno=os.dup(0)) as worker:
        for module in modules:
            _try_import(module)
            if select.select([worker], [], [], 0)[0]:
                break
        else:
            print("Everything is imported; waiting for a job.", flush=True)
            _say(worker, READY)
        line = _line(worker)
        if not line.endswith(b"\n"):
            return None
        job = json.loads(line)
        folder = Path(job["run_folder"])
        _write_to(folder / run_folder.LOG_FILE)
        _say(worker, TAKEN)
        return folder, int(job["attempt"])


def _say(worker: socket.socket, word: bytes) -> None:
    """A worker that no longer listens may have given its job all the same, so that alone ends nothing."""
    with suppress(ConnectionError):
        worker.sendall(word)


def _line(worker: socket.socket) -> bytes:
    """The worker's one line; less when the worker has ended."""
    with suppress(ConnectionError), worker.makefile("rb") as words:
        return words.readline()
    return b""


def _try_import(module: str) -> None:
    """What fails here fails again in the job, where it is reported."""
    try:
        imported(module)
    except Exception:  # noqa: BLE001 (an edge: logged)
        traceback.print_exc()


def _write_to(log: Path) -> None:
    """Make the file this process's output, and nothing its input, as if it had been started so."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
