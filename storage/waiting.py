"""The order of the jobs that wait: one queue for each device."""

from __future__ import annotations

from typing import Any, Literal, cast

from sqlalchemy import CursorResult, Select, func, select, update

from storage import database, jobs
from storage.errors import StudioError
from storage.jobs import Job
from storage.tables import JobRow

Where = Literal["up", "down", "first", "last"]


def in_order(device: str | None = None) -> list[Job]:
    """The jobs that wait for a device, or all that wait, the next one first."""
    with database.reading() as session:
        return [row.record(Job) for row in session.scalars(_queue(device))]


def place(job_id: str) -> int | None:
    """A waiting job's place in its device's queue, 1 being the next; None when it does not wait."""
    job = jobs.get(job_id)
    if job.status != "queued":
        return None
    ahead = select(func.count()).where(
        JobRow.status == "queued",
        JobRow.device == job.device,
        (JobRow.position < job.position) | ((JobRow.position == job.position) & (JobRow.number < job.number)),
    )
    with database.reading() as session:
        return 1 + (session.scalar(ahead) or 0)


def move(job_id: str, where: Where) -> Job:
    """Put a waiting job elsewhere in its device's queue; one that no longer waits is left alone.

    Raises StudioError when there is none with this id.
    """
    with database.session() as session:
        database.take_turns(session, "the order of the queue")
        row = session.scalar(select(JobRow).where(JobRow.id == job_id))
        if row is None:
            raise StudioError(f"There is no job {job_id!r}.", "Choose one from the list of runs.")
        # Read anew, since it may have been claimed or moved while this waited for the lock on its row.
        locked = _queue(row.device).with_for_update().execution_options(populate_existing=True)
        queue = list(session.scalars(locked))
        if row in queue:
            # Distinct, also where two processes once took the same position.
            positions: list[int] = []
            for waiting in queue:
                positions.append(max(waiting.position, positions[-1] + 1 if positions else 0))
            at = queue.index(row)
            to = {"up": max(0, at - 1), "down": at + 1, "first": 0, "last": len(queue)}[where]
            queue.insert(to, queue.pop(at))
            for waiting, position in zip(queue, positions, strict=True):
                waiting.position = position
        session.flush()
        session.refresh(row)
        return row.record(Job)


def reassign(job_id: str, device: str) -> bool:
    """Let a waiting job wait for another device; False when it no longer waits."""
    statement = update(JobRow).where(JobRow.id == job_id, JobRow.status == "queued").values(device=device)
    with database.session() as session:
        return cast("CursorResult[Any]", session.execute(statement)).rowcount == 1


def _queue(device: str | None) -> Select[JobRow]:
    query = select(JobRow).where(JobRow.status == "queued").order_by(JobRow.position, JobRow.number)
    return query if device is None else query.where(JobRow.device == device)
