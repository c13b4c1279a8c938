"""The datasets: each version of each set of examples, and which version of a set is shown."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from storage import database, files
from storage.errors import StudioError
from storage.tables import DatasetRow, JobRow

# In the folder of a family's first version: the id of the version that is shown.
CURRENT_FILE = "current"


@dataclass(frozen=True)
class Dataset:
    """One version of a set of examples; `problems` is what the check found, `sha256` that of the original file.

    `family` is the id of the first version, `parent_id` that of the one before this, `change` the sentence that says
    what is different from it. `unchecked_changes` is the number of changes since all rows were checked.
    """

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
    family: str
    version: int
    parent_id: str | None
    change: str
    is_current: bool
    left_out_rows: int
    summary: dict[str, Any]
    unchecked_changes: int


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a dataset from before there were versions, with what they lack: it is the first and only one."""
    return {
        "family": values.get("id"),
        "version": 1,
        "parent_id": None,
        "change": "",
        "is_current": True,
        "left_out_rows": 0,
        "summary": {},
        "unchecked_changes": 0,
        **values,
    }


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
    family: str | None = None,
    version: int = 1,
    parent_id: str | None = None,
    change: str = "",
    left_out_rows: int = 0,
    summary: dict[str, Any] | None = None,
    unchecked_changes: int = 0,
) -> Dataset:
    """Remember a dataset whose folder has been published; it becomes the current version of its family."""
    with database.session() as session:
        family = id if family is None else family
        _set_current(session, family, None)
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
            family=family,
            version=version,
            parent_id=parent_id,
            change=change,
            is_current=True,
            left_out_rows=left_out_rows,
            summary=summary or {},
            unchecked_changes=unchecked_changes,
        )
        session.add(row)
        session.flush()
        session.refresh(row)
        if family != id:
            _write_current(family, id)
        return row.record(Dataset)


def get(id: str) -> Dataset:
    """One version of a dataset.

    Raises StudioError when there is none with this id.
    """
    with database.reading() as session:
        return _row(session, id).record(Dataset)


def list_all() -> list[Dataset]:
    """All versions of all datasets, newest first."""
    with database.reading() as session:
        rows = session.scalars(select(DatasetRow).order_by(DatasetRow.number.desc()))
        return [row.record(Dataset) for row in rows]


def families() -> list[Dataset]:
    """The current version of each dataset, the one that was changed last first."""
    newest = select(DatasetRow.family, func.max(DatasetRow.number).label("number")).group_by(
        DatasetRow.family
    )
    last = newest.subquery()
    with database.reading() as session:
        rows = session.scalars(
            select(DatasetRow)
            .join(last, last.c.family == DatasetRow.family)
            .where(DatasetRow.is_current)
            .order_by(last.c.number.desc())
        )
        return [row.record(Dataset) for row in rows]


def versions(family: str) -> list[Dataset]:
    """All versions of one family, newest first; none when there is no such family."""
    with database.reading() as session:
        rows = session.scalars(
            select(DatasetRow).where(DatasetRow.family == family).order_by(DatasetRow.version.desc())
        )
        return [row.record(Dataset) for row in rows]


def make_current(id: str) -> Dataset:
    """Let a version be the one of its family that is shown.

    Raises StudioError when there is none with this id.
    """
    with database.session() as session:
        row = _row(session, id)
        _set_current(session, row.family, id)
        _write_current(row.family, id)
        session.refresh(row)
        return row.record(Dataset)


def choose_current(session: Session) -> None:
    """Let each family of a new database have the current version that its folder names, else the highest."""
    newest = select(DatasetRow.family, DatasetRow.id).order_by(DatasetRow.version)
    ids: dict[str, list[str]] = {}
    for family, id in session.execute(newest):
        ids.setdefault(family, []).append(id)
    for family, of_family in ids.items():
        named = read_current(family)
        _set_current(session, family, named if named in of_family else of_family[-1])


def read_current(family: str) -> str | None:
    """The version that the family's folder names as current; None where it names none."""
    try:
        return (files.dataset_folder(family) / CURRENT_FILE).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError, StudioError):  # gone, damaged, or a family that cannot have a folder
        return None


def remove(id: str) -> None:
    """Forget one version; nothing happens when it is already gone.

    Raises StudioError while a job that has not ended needs it.
    """
    with database.session() as session:
        _check_unneeded(session, [id])
        session.execute(delete(DatasetRow).where(DatasetRow.id == id))


def remove_family(family: str) -> None:
    """Forget all versions of a dataset; nothing happens when they are already gone.

    Raises StudioError while a job that has not ended needs one of them.
    """
    with database.session() as session:
        _check_unneeded(session, _ids(session, family))
        session.execute(delete(DatasetRow).where(DatasetRow.family == family))


def check_unneeded(family: str) -> None:
    """Raises StudioError while a job that has not ended needs a version of this dataset."""
    with database.reading() as session:
        _check_unneeded(session, _ids(session, family))


def _ids(session: Session, family: str) -> list[str]:
    return list(session.scalars(select(DatasetRow.id).where(DatasetRow.family == family)))


def _check_unneeded(session: Session, ids: list[str]) -> None:
    waits = JobRow.dataset_id.in_(ids) & JobRow.status.in_(("queued", "running", "stopping"))
    name = session.scalar(select(JobRow.name).where(waits).limit(1))
    if name is not None:
        raise StudioError(
            f"The job “{name}” still needs this dataset.", "Wait until it has finished, or stop it first."
        )


def _row(session: Session, id: str) -> DatasetRow:
    row = session.scalar(select(DatasetRow).where(DatasetRow.id == id))
    if row is None:
        raise StudioError(
            f"There is no dataset {id!r}.", "Choose one from the list, or add your examples again."
        )
    return row


def _set_current(session: Session, family: str, id: str | None) -> None:
    """Let one version be current, or none: the index takes no two, not even for a moment."""
    database.take_turns(session, f"dataset {family}")
    of_family = update(DatasetRow).where(DatasetRow.family == family)
    session.execute(of_family.where(DatasetRow.is_current).values(is_current=False))
    if id is not None:
        session.execute(of_family.where(DatasetRow.id == id).values(is_current=True))


def _write_current(family: str, id: str) -> None:
    """Say it in the family's folder too, for the day on which the database is lost."""
    folder = files.dataset_folder(family)
    if folder.is_dir():
        files.write_text(folder / CURRENT_FILE, f"{id}\n")
