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
from storage.errors import StudioError

JOB_FILE = "job.json"
LOG_FILE = "log.txt"
STOP_FILE = "stop"
PROCESS_FILE = "process.json"
RESULT_FILE = "result.json"
SYSTEM_FILE = "system.json"
RESERVE_FILE = ".reserve"
# Kept from the start, and given back to the disk before the result is written: also on a full one it then fits.
RESERVE_BYTES = 256_000


def request_stop(run_folder: Path) -> None:
    """Ask the job of this folder to end; asking again changes nothing."""
    run_folder.mkdir(parents=True, exist_ok=True)
    (run_folder / STOP_FILE).touch()


def forget_stop(run_folder: Path) -> None:
    """Let the next attempt run, although an earlier one was asked to end."""
    (run_folder / STOP_FILE).unlink(missing_ok=True)


def reserve(attempt_folder: Path) -> None:
    """Take the room that the attempt's result will need, and note what the system did before the attempt.

    Raises StudioError when the disk is full.
    """
    files.write_bytes(attempt_folder / RESERVE_FILE, bytes(RESERVE_BYTES))
    note_memory_kills(attempt_folder)


def note_memory_kills(attempt_folder: Path) -> None:
    """Note what the system has killed for want of memory so far, for `memory_ran_out`."""
    counter = processes.memory_counter()
    noted = {"memory_counter": str(counter), "memory_kills": processes.memory_kills(counter)}
    files.write_json(attempt_folder / SYSTEM_FILE, noted)


def write_result(attempt_folder: Path, result: dict[str, Any]) -> None:
    """Leave what the attempt ended with, in the room that was kept for it."""
    (attempt_folder / RESERVE_FILE).unlink(missing_ok=True)
    files.write_json(attempt_folder / RESULT_FILE, result)


def memory_ran_out(attempt_folder: Path) -> bool:
    """Whether the system has killed a process of the attempt's group for want of memory since it began."""
    try:
        noted = files.read_json(attempt_folder / SYSTEM_FILE)
        return processes.memory_kills(Path(noted["memory_counter"])) > int(noted["memory_kills"])
    except (StudioError, OSError, KeyError, TypeError):
        return False


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
