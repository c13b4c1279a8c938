"""What a run folder says of its job beside the events, so that the database can be made again from the folders."""

from __future__ import annotations

import dataclasses
from typing import Any

from storage import files, jobs
from storage.errors import StudioError

STATE_FILE = "state.json"
EVERYTHING = 1_000_000


def write(job_id: str) -> bool:
    """Write the job, as the database has it now, into its run folder; False when that cannot be done now.

    Called after every change of its state. Whoever writes last has read last, so that no older state stays.
    """
    try:
        with files.locked("run-state"):
            job = jobs.get(job_id)
            if not job.deleting:  # its folder may be in the trash already
                files.write_json(files.run_folder(job_id) / STATE_FILE, dataclasses.asdict(job))
        return True
    except (StudioError, OSError):
        return False


def read(job_id: str) -> dict[str, Any] | None:
    """The fields of the job as they were last written; None where nothing can be read."""
    try:
        found = files.read_json(files.run_folder(job_id) / STATE_FILE)
    except (StudioError, OSError):
        return None
    return found if isinstance(found, dict) else None


def write_missing() -> None:
    """Write the state of every job whose folder says something else: a crash or a full disk came between."""
    for job in jobs.list_all(limit=EVERYTHING):
        if read(job.id) != files.json_safe(dataclasses.asdict(job)):
            write(job.id)
