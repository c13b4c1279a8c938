"""Which worker is the newest: one that was given up, and wakes again, can change nothing."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import ColumnElement, delete, select, true

from storage import database
from storage.tables import WorkerRow

_generation: int | None = None


def enter(pid: int, process_started: float, boot_id: str) -> int:
    """Make the calling process the worker from now on and return its generation, higher than any before."""
    global _generation
    with database.session() as session:
        database.take_turns(session, "workers")  # or two that enter at once would not see each other's row
        row = WorkerRow(pid=pid, process_started=process_started, boot_id=boot_id, started_at=time.time())
        session.add(row)
        session.flush()
        session.execute(delete(WorkerRow).where(WorkerRow.number < row.number))
        generation = row.number
    _generation = generation
    return generation


def leave() -> None:
    """Make the calling process an ordinary one again, whose writes no newer worker refuses."""
    global _generation
    _generation = None


def is_current() -> bool:
    """Whether the calling process is the newest worker, or none at all."""
    with database.reading() as session:
        return bool(session.scalar(select(_newest())))


def fence() -> ColumnElement[Any]:
    """The condition that no newer worker has entered; always true in a process that is no worker.

    On PostgreSQL none enters either until the caller's transaction has ended: `enter` waits for the row.
    """
    return _newest(lock=True)


def _newest(lock: bool = False) -> ColumnElement[Any]:
    if _generation is None:
        return true()
    row = select(WorkerRow.number).where(WorkerRow.number == _generation)
    return (row.with_for_update(read=True) if lock else row).exists()
