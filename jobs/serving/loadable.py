"""Where the weights lie that a side names: an adapter's folder, or a look saved of its run."""

from __future__ import annotations

from pathlib import Path

from jobs.adapter_record import RECORD_FILE
from jobs.training import folders
from storage import files
from storage.errors import StudioError


def folder_of(name: str) -> Path:
    """The PEFT folder of "<adapter id>" or "<adapter id>@<step>".

    Raises: StudioError when that adapter or that look is not there.
    """
    adapter_id, _, step = name.partition("@")
    if step:
        return look_of(run_of(adapter_id), adapter_id, int(step))
    folder = files.adapter_folder(adapter_id)
    if not folder.is_dir():
        raise StudioError(
            f"The files of the adapter {adapter_id!r} are gone.", "Train it again, or choose another one."
        )
    return folder


def run_of(adapter_id: str) -> str:
    """The id of the job that made an adapter, by its folder: no database is at hand in the model server."""
    try:
        return str(files.read_json(files.adapter_folder(adapter_id) / RECORD_FILE)["job_id"])
    except (OSError, StudioError, KeyError, TypeError):
        # As adapters are named that have no record: the job, and its attempt.
        return adapter_id.rpartition("-")[0]


def look_of(job_id: str, adapter_id: str, step: int) -> Path:
    """The folder of what an adapter was after `step` steps.

    Raises: StudioError naming the steps of which there is one.
    """
    there = dict(folders.looks(files.run_folder(job_id))) if job_id else {}
    if step not in there:
        steps = ", ".join(f"{one:,}" for one in there)
        raise StudioError(
            f"The adapter {adapter_id!r} has no saved look after step {step:,}.",
            f"There are looks after step {steps}." if steps else "Its run has saved none.",
        )
    return there[step]
