"""The imported datasets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists, select

from storage import database
from storage.errors import StudioError
from storage.tables import DatasetRow, JobRow


@dataclass(frozen=True)
class Dataset:
    """One set of examples; `problems` is what the check found, `sha256` that of the original file."""

    id: str
    name: str
    source_name: str
    format: str
    columns: list[str]
    rows: int
    train_rows: int
    held_out_rows: int
    problems: list[dict[str, Any]]
    sha256: str
    created_at: float


def add(
    *,
    id: str,
    name: str,
    source_name: str,
    format: str,
    columns: list[str],
    rows: int,
    train_rows: int,
    held_out_rows: int,
    problems: list[dict[str, Any]],
    sha256: str,
    created_at: float | None = None,
) -> Dataset:
    """Remember a dataset whose folder has been published."""
    with database.session() as session:
        row = DatasetRow(
            id=id,
            name=name,
            source_name=source_name,
            format=format,
            columns=columns,
            rows=rows,
            train_rows=train_rows,
            held_out_rows=held_out_rows,
            problems=problems,
            sha256=sha256,
            created_at=time.time() if created_at is None else created_at,
        )
        session.add(row)
        session.flush()
        session.refresh(row)
        return row.record(Dataset)


def get(id: str) -> Dataset:
    """One dataset.

    Raises StudioError when there is none with this id.
    """
    with database.reading() as session:
        row = session.scalar(select(DatasetRow).where(DatasetRow.id == id))
        if row is None:
            raise StudioError(
                f"There is no dataset {id!r}.", "Choose one from the list, or add your examples again."
            )
        return row.record(Dataset)


def list_all() -> list[Dataset]:
    """All datasets, newest first."""
    with database.reading() as session:
        rows = session.scalars(select(DatasetRow).order_by(DatasetRow.number.desc()))
        return [row.record(Dataset) for row in rows]


def remove(id: str) -> None:
    """Forget a dataset; nothing happens when it is already gone.

    Raises StudioError while a job that has not ended needs it.
    """
    with database.session() as session:
        if session.scalar(
            select(
                exists().where(JobRow.dataset_id == id, JobRow.status.in_(("queued", "running", "stopping")))
            )
        ):
            raise StudioError(
                "A job still needs this dataset.", "Wait until it has finished, or stop it first."
            )
        session.execute(delete(DatasetRow).where(DatasetRow.id == id))
