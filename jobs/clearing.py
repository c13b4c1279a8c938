"""Room on the disk: the saved states of runs that have ended, deleted for good when the user says so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from jobs.training.folders import STATES_FOLDER
from storage import checkpoints, files, jobs

ENDED = ("failed", "stopped", "finished")
# A folder of states with this ending is on its way out: nothing goes on from it any more.
DOOMED = ".deleting"
EVERYTHING = 1_000_000

# Bytes by device and inode: the attempts of a run share files.
Sizes = dict[tuple[int, int], int]


def ended_bytes() -> int:
    """What the states of all runs that have ended take on the disk."""
    found: Sizes = {}
    for job_id in _ended():
        for states in _states(job_id):
            found |= _sizes(states)
    return sum(found.values())


def delete_ended() -> int:
    """Delete the states of all runs that have ended, and forget them; returns how many bytes that were.

    They are forgotten first: from that moment on nobody is offered to go on from them. A run that was told to go
    on at the same moment keeps its own.
    """
    deleted: Sizes = {}
    for job_id in _ended():
        folders = list(_states(job_id))
        if folders:
            checkpoints.keep_only(job_id, [])
        for states in folders:
            with suppress(FileNotFoundError):  # its run went to the trash meanwhile
                deleted |= _delete(job_id, states)
    return sum(deleted.values())


def _sizes(states: Path) -> Sizes:
    return {(status.st_dev, status.st_ino): status.st_size for _, status in files.under(states)}


def _ended() -> list[str]:
    return [job.id for status in ENDED for job in jobs.list_all(status=status, limit=EVERYTHING)]


def _states(job_id: str) -> Iterator[Path]:
    for name in (STATES_FOLDER, STATES_FOLDER + DOOMED):
        for states in files.run_folder(job_id).glob(f"attempt-*/{name}"):
            if not states.is_symlink():
                yield states


def _delete(job_id: str, states: Path) -> Sizes:
    """Delete one folder of states, which leaves its place in one step; not if its run goes on after all."""
    if states.suffix != DOOMED:
        doomed = states.rename(states.with_name(states.name + DOOMED))
        goes_on = True
        try:
            goes_on = jobs.get(job_id).status not in ENDED
        finally:
            if goes_on:
                doomed.rename(states)
        if goes_on:
            return {}
        states = doomed
    sizes = _sizes(states)
    shutil.rmtree(states, ignore_errors=True)
    return sizes
