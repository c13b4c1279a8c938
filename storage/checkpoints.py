"""The saved states of training runs, from which they can go on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage import database, files
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


def take_in(
    session: Session,
    job_id: str,
    attempt: int,
    saved: Sequence[Mapping[str, Any]],
    kept: Collection[str] | None,
) -> None:
    """Remember published states ("step", "folder", "at" in seconds since 1970), each once, in a caller's transaction.

    With `kept`, the job's other folders are forgotten: they have been pruned.
    """
    for state in saved:
        values = {
            "id": files.new_id(),
            "job_id": job_id,
            "attempt": attempt,
            "step": state["step"],
            "folder": state["folder"],
            "held_out_loss": None,
            "created_at": state["at"],
        }
        statement = database.insert(session, CheckpointRow).values(values)
        session.execute(statement.on_conflict_do_nothing(index_elements=["job_id", "folder"]))
    if kept is not None:
        pruned = CheckpointRow.folder.not_in(list(kept))
        session.execute(delete(CheckpointRow).where(CheckpointRow.job_id == job_id, pruned))


def list_of(job_id: str) -> list[Checkpoint]:
    """A job's checkpoints, the latest step first."""
    query = select(CheckpointRow).where(CheckpointRow.job_id == job_id)
    with database.reading() as session:
        rows = session.scalars(query.order_by(CheckpointRow.step.desc(), CheckpointRow.number.desc()))
        return [row.record(Checkpoint) for row in rows]


def keep_only(job_id: str, folders: Collection[str]) -> None:
    """Forget a job's checkpoints but those in `folders`: nothing can go on from the others any more."""
    with database.session() as session:
        gone = CheckpointRow.folder.not_in(list(folders))
        session.execute(delete(CheckpointRow).where(CheckpointRow.job_id == job_id, gone))
