"""The jobs: one row for each piece of work, changed only by its current attempt.

`queued` → claim → `running` → finish → `finished`, `failed` or `stopped`. request_stop makes `queued` into
`stopped` and `running` into `stopping`; requeue gives a `running` job whose process died back to the queue, and
retry one that has ended without a result. What waits, and in which order, is in `storage.waiting`.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import CursorResult, Select, delete, func, or_, select, text
from sqlalchemy import update as update_rows
from sqlalchemy.orm import Session

from storage import database, files, workers
from storage.errors import StudioError
from storage.tables import CheckpointRow, JobRow

STATUSES = ("queued", "running", "stopping", "stopped", "finished", "failed")
ACTIVE = ("running", "stopping")


@dataclass(frozen=True)
class Job:
    """One job as it was when it was read; the fields from `phase` on are what its process last reported.

    `position` is its place among all jobs of its device, lowest first; `interruptions` say when and why earlier
    attempts ended before their time; `needs_bytes` is the room on the disk that it needs to begin, and a queued
    job with `paused_for` waits for it.
    """

    number: int
    id: str
    kind: str
    name: str
    status: str
    attempt: int
    device: str
    dataset_id: str | None
    base_model_id: str | None
    rank: int | None
    settings: dict[str, Any]
    request_key: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    phase: str
    phase_done: int | None
    phase_total: int | None
    step: int
    total_steps: int
    loss: float | None
    held_out_loss: float | None
    seconds_left: float | None
    tokens_per_second: float | None
    steps_per_second: float | None
    notes: list[str]
    foreseen_seconds: float | None
    foreseen_peak_bytes: int | None
    error_message: str | None
    error_remedy: str | None
    adapter_id: str | None
    result: dict[str, Any]
    pid: int | None
    process_started: float | None
    boot_id: str | None
    events_offset: int
    position: int
    interruptions: list[dict[str, Any]]
    resumed_from: int | None
    paused_for: str | None
    needs_bytes: int | None
    silent_seconds: float | None
    deleting: bool


def add(
    kind: str,
    name: str,
    device: str,
    dataset_id: str | None = None,
    base_model_id: str | None = None,
    rank: int | None = None,
    settings: dict[str, Any] | None = None,
    request_key: str | None = None,
    needs_bytes: int | None = None,
    id: str | None = None,
) -> Job:
    """Put a job in the queue; with a `request_key` that was used before, return the job it made then.

    It is not claimed while the disk has less room than `needs_bytes`. Whoever has filled its run folder before
    gives the `id` of that.
    """
    id = id or files.new_id()
    values: dict[str, Any] = {
        "id": id,
        "kind": kind,
        "name": name,
        "status": "queued",
        "attempt": 0,
        "device": device,
        "dataset_id": dataset_id,
        "base_model_id": base_model_id,
        "rank": rank,
        "settings": settings or {},
        "request_key": request_key,
        "created_at": time.time(),
        "phase": "",
        "step": 0,
        "total_steps": 0,
        "notes": [],
        "result": {},
        "events_offset": 0,
        "position": end_of_queue(),
        "interruptions": [],
        "needs_bytes": needs_bytes,
        "deleting": False,
    }
    with database.session() as session:
        statement = database.insert(session, JobRow).values(values)
        session.execute(statement.on_conflict_do_nothing(index_elements=["request_key"]))
        wanted = JobRow.id == id if request_key is None else JobRow.request_key == request_key
        return session.scalars(select(JobRow).where(wanted)).one().record(Job)


def get(id: str) -> Job:
    """One job.

    Raises StudioError when there is none with this id.
    """
    with database.reading() as session:
        return _row(session, id).record(Job)


def list_all(
    kind: str | Collection[str] | None = None, status: str | None = None, limit: int = 200
) -> list[Job]:
    """Jobs of a kind, or of several, newest first."""
    query = _of_kind(select(JobRow).order_by(JobRow.number.desc()).limit(limit), kind)
    if status is not None:
        query = query.where(JobRow.status == status)
    with database.reading() as session:
        return [row.record(Job) for row in session.scalars(query)]


def under_way() -> list[Job]:
    """The jobs that run or are being stopped, the oldest first."""
    query = select(JobRow).where(JobRow.status.in_(ACTIVE)).order_by(JobRow.number)
    with database.reading() as session:
        return [row.record(Job) for row in session.scalars(query)]


def count(status: str, kind: str | Collection[str] | None = None) -> int:
    """How many jobs have this status, all or those of a kind."""
    query = _of_kind(select(func.count()).select_from(JobRow).where(JobRow.status == status), kind)
    with database.reading() as session:
        return session.scalar(query) or 0


def _of_kind(query: Select[Any], kind: str | Collection[str] | None) -> Select[Any]:
    if kind is None:
        return query
    return query.where(JobRow.kind.in_([kind] if isinstance(kind, str) else kind))


def end_of_queue() -> Any:
    """The position after all others, as an expression."""
    return select(func.coalesce(func.max(JobRow.position), 0) + 1).scalar_subquery()


def claim(device_lanes_busy: Collection[str], free_bytes: int | None = None) -> Job | None:
    """Start a new attempt of the first queued job whose device is free; no two callers get the same one.

    One that waits for more room on the disk than `free_bytes` is passed over.
    """
    query = (
        select(JobRow)
        .where(JobRow.status == "queued", JobRow.device.not_in(device_lanes_busy), workers.fence())
        .order_by(JobRow.position, JobRow.number)
        .limit(1)
        .with_for_update(skip_locked=True)  # PostgreSQL; on SQLite the session already holds the write lock
    )
    if free_bytes is not None:
        query = query.where(or_(JobRow.needs_bytes.is_(None), JobRow.needs_bytes <= free_bytes))
    with database.session() as session:
        row = session.scalar(query)
        if row is None:
            return None
        row.status = "running"
        row.attempt += 1
        row.started_at = row.started_at or time.time()
        row.phase, row.phase_done, row.phase_total = "", None, None
        row.notes, row.foreseen_seconds, row.foreseen_peak_bytes = [], None, None
        row.pid, row.process_started, row.boot_id = None, None, None
        row.resumed_from, row.paused_for, row.silent_seconds = None, None, None
        row.events_offset = 0  # every attempt writes its own file of events
        session.flush()
        return row.record(Job)


def started(id: str, attempt: int, pid: int, process_started: float, boot_id: str) -> bool:
    """Remember which process runs this attempt; a pid alone may be given to another process later."""
    return update(id, attempt, pid=pid, process_started=process_started, boot_id=boot_id)


def update(id: str, attempt: int, **fields: Any) -> bool:
    """Change fields of a job on behalf of one attempt; False when that attempt is not the current one."""
    with database.session() as session:
        return change(session, id, attempt, fields)


def finish(
    id: str,
    attempt: int,
    status: Literal["finished", "failed", "stopped"],
    *,
    adapter_id: str | None = None,
    error: StudioError | None = None,
    result: dict[str, Any] | None = None,
) -> bool:
    """End a job on behalf of one attempt; False when that attempt is no longer the current one."""
    fields = {
        "status": status,
        "finished_at": time.time(),
        "seconds_left": None,
        "silent_seconds": None,
        "paused_for": None,
        "adapter_id": adapter_id,
        "error_message": error.message if error else None,
        "error_remedy": error.remedy if error else None,
        "result": result or {},
    }
    with database.session() as session:
        if not change(session, id, attempt, fields):
            return False
        if status == "finished":  # nothing is left to go on with, and its states are deleted
            session.execute(delete(CheckpointRow).where(CheckpointRow.job_id == id))
        return True


def requeue(
    id: str,
    attempt: int,
    interruption: dict[str, Any] | None = None,
    paused_for: str | None = None,
    needs_bytes: int | None = None,
) -> bool:
    """Give a running job whose process has ended back to the queue; False when stale or being stopped.

    It keeps its place, which is before all that came later. `needs_bytes` is how much room on the disk it now
    waits for, if that is more than before; `paused_for` says so in words.
    """
    fields: dict[str, Any] = {
        "status": "queued",
        "pid": None,
        "seconds_left": None,
        "silent_seconds": None,
        "paused_for": paused_for,
    }
    with database.session() as session:
        row = _row(session, id, lock=True)
        if interruption is not None:
            fields["interruptions"] = [*row.interruptions, interruption]
        if needs_bytes is not None:
            fields["needs_bytes"] = max(needs_bytes, row.needs_bytes or 0)
        return change(session, id, attempt, fields, statuses=("running",))


def pause(id: str, paused_for: str | None) -> bool:
    """Say why a waiting job does not begin, or with None that nothing is in its way; False when it does not wait."""
    statement = update_rows(JobRow).where(JobRow.id == id, JobRow.status == "queued", workers.fence())
    with database.session() as session:
        changed = session.execute(statement.values(paused_for=paused_for))
        return cast("CursorResult[Any]", changed).rowcount == 1


def retry(id: str) -> Job:
    """Queue a failed or stopped job once more, to go on from its last checkpoint; others are left alone."""
    with database.session() as session:
        row = _row(session, id, lock=True)
        if row.status in ("failed", "stopped") and not row.deleting:
            row.status, row.finished_at, row.position = "queued", None, end_of_queue()
            row.error_message, row.error_remedy, row.result = None, None, {}
            # The user has seen them: they no longer count against going on by itself.
            row.interruptions = [{**one, "counted": False} for one in row.interruptions]
        session.flush()
        session.refresh(row)
        return row.record(Job)


def request_stop(id: str) -> Job:
    """Ask a job to stop: a queued one stops at once, a running one begins to, any other is left alone."""
    with database.session() as session:
        row = _row(session, id, lock=True)
        if row.status == "queued":
            row.status, row.finished_at = "stopped", time.time()
        elif row.status == "running":
            row.status = "stopping"
        session.flush()
        return row.record(Job)


def request_delete(id: str) -> Job | None:
    """Mark a job for deletion, and stop it if it has not ended; None when it is already gone.

    A marked job is never claimed again; `remove` forgets it once it has ended.
    """
    with database.session() as session:
        row = session.scalar(select(JobRow).where(JobRow.id == id).with_for_update())
        if row is None:
            return None
        row.deleting = True
        if row.status == "queued":
            row.status, row.finished_at = "stopped", time.time()
        elif row.status == "running":
            row.status = "stopping"
        session.flush()
        return row.record(Job)


def marked_for_deletion() -> list[Job]:
    """The jobs that have ended and are still to be forgotten."""
    query = select(JobRow).where(JobRow.deleting.is_(True), JobRow.status.not_in(ACTIVE))
    with database.reading() as session:
        return [row.record(Job) for row in session.scalars(query)]


def restore(values: dict[str, Any]) -> bool:
    """Put a job back as a `Job` described it, its number included; False when its id or number is taken."""
    with database.session() as session:
        statement = database.insert(session, JobRow).values(values).on_conflict_do_nothing()
        if session.scalar(statement.returning(JobRow.number)) is None:
            return False
        if session.get_bind().dialect.name == "postgresql":  # SQLite counts on from the highest by itself
            session.execute(text("SELECT setval('jobs_number_seq', (SELECT max(number) FROM jobs))"))
        return True


def remove(id: str) -> None:
    """Forget a job with its metrics and checkpoints; nothing happens when it is already gone.

    Raises StudioError while it runs.
    """
    with database.session() as session:
        gone = session.execute(delete(JobRow).where(JobRow.id == id, JobRow.status.not_in(ACTIVE)))
        if not cast("CursorResult[Any]", gone).rowcount and session.scalar(
            select(JobRow.id).where(JobRow.id == id)
        ):
            raise StudioError("This job is still running.", "Stop it first.")


def change(
    session: Session, id: str, attempt: int, fields: dict[str, Any], statuses: Collection[str] = ACTIVE
) -> bool:
    """Change fields within a caller's transaction if `attempt` is the current one and the job is active.

    This is the fence: a process that was given up, and does not know, can change nothing. Nor can a worker
    after which another one has entered.
    """
    fence = (JobRow.id == id, JobRow.attempt == attempt, JobRow.status.in_(statuses), workers.fence())
    # Without fields it still writes, which locks the row: the answer holds until the caller's commit.
    changed = session.execute(update_rows(JobRow).where(*fence).values({"attempt": attempt, **fields}))
    return cast("CursorResult[Any]", changed).rowcount == 1


def _row(session: Session, id: str, lock: bool = False) -> JobRow:
    query = select(JobRow).where(JobRow.id == id)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise StudioError(f"There is no job {id!r}.", "Choose one from the list of runs.")
    return row
