"""The saved states of training runs, from which they can go on."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import delete, select

from storage import database, files, jobs
from storage.tables import CheckpointRow


@dataclass(frozen=True)
class Checkpoint:
    """One saved state; `folder` is relative to the job's run folder."""

    id: str
    job_id: str
    attempt: int
    step: int
    folder: str
    held_out_loss: float | None
    created_at: float


def add(
    job_id: str, attempt: int, step: int, folder: str, held_out_loss: float | None = None
) -> Checkpoint | None:
    """Remember a published checkpoint once; None when that attempt is no longer the current one."""
    values = {
        "id": files.new_id(),
        "job_id": job_id,
        "attempt": attempt,
        "step": step,
        "folder": folder,
        "held_out_loss": held_out_loss,
        "created_at": time.time(),
    }
    with database.session() as session:
        if not jobs.change(session, job_id, attempt, {}):
            return None
        statement = database.insert(session, CheckpointRow).values(values)
        session.execute(statement.on_conflict_do_nothing(index_elements=["job_id", "folder"]))
        same = select(CheckpointRow).where(CheckpointRow.job_id == job_id, CheckpointRow.folder == folder)
        return session.scalars(same).one().record(Checkpoint)


def list_of(job_id: str) -> list[Checkpoint]:
    """A job's checkpoints, the latest step first."""
    query = select(CheckpointRow).where(CheckpointRow.job_id == job_id)
    with database.reading() as session:
        rows = session.scalars(query.order_by(CheckpointRow.step.desc(), CheckpointRow.number.desc()))
        return [row.record(Checkpoint) for row in rows]


def remove(id: str) -> None:
    """Forget a checkpoint; nothing happens when it is already gone."""
    with database.session() as session:
        session.execute(delete(CheckpointRow).where(CheckpointRow.id == id))
