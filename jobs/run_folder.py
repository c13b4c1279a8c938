"""What the worker and a job's process leave for each other in the run folder, beside the events."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from jobs.executors import processes
from jobs.executors.base import Handle
from storage import files

JOB_FILE = "job.json"
LOG_FILE = "log.txt"
STOP_FILE = "stop"
PROCESS_FILE = "process.json"
RESULT_FILE = "result.json"


def request_stop(run_folder: Path) -> None:
    """Ask the job of this folder to end; asking again changes nothing."""
    run_folder.mkdir(parents=True, exist_ok=True)
    (run_folder / STOP_FILE).touch()


def claim(attempt_folder: Path) -> bool:
    """Make the attempt the calling process's own, unless it is another's already.

    A worker that died while it started a job leaves the next one in doubt, so the next one starts it again;
    of the two processes only one goes on.
    """
    own = processes.own_handle()
    draft = attempt_folder / f".{PROCESS_FILE}.{own.pid}"
    files.write_json(draft, asdict(own))
    try:
        os.link(draft, attempt_folder / PROCESS_FILE)  # unlike a rename, it never replaces
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def process_of(attempt_folder: Path) -> Handle | None:
    """The process that does, or did, this attempt."""
    path = attempt_folder / PROCESS_FILE
    return Handle(**json.loads(path.read_bytes())) if path.exists() else None


def result_of(attempt_folder: Path) -> dict[str, Any] | None:
    """What the attempt ended with; None when it ended without a word.

    Raises StudioError when it is damaged.
    """
    path = attempt_folder / RESULT_FILE
    return cast(dict[str, Any], files.read_json(path)) if path.exists() else None
