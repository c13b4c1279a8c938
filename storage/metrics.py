"""The values that jobs measure, step by step."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from storage import checkpoints, database, jobs
from storage.tables import MetricRow


@dataclass(frozen=True)
class Metric:
    """One value of one step; None where it was not a finite number."""

    step: int
    name: str
    value: float | None


def take_in(
    job_id: str,
    attempt: int,
    metrics: Iterable[tuple[int, str, float | None]],
    events_offset: int,
    saved: Sequence[Mapping[str, Any]] = (),
    kept: Collection[str] | None = None,
    **job_fields: Any,
) -> bool:
    """Take in what was read from an attempt's events up to byte `events_offset`, all or nothing.

    `saved` are checkpoints ("step", "folder", "at"), `kept` the folders that are left; see `checkpoints.take_in`.

    Taken in twice, it is there once. A step that was measured again, after a resume, has its newest value.
    False, and nothing is changed, when that attempt is no longer the current one.
    """
    # As a dictionary, since one statement must not touch the same step and name twice.
    newest = {(step, name): value for step, name, value in metrics}
    rows = [
        {"job_id": job_id, "step": step, "name": name, "value": value}
        for (step, name), value in newest.items()
    ]
    with database.session() as session:
        if not jobs.change(session, job_id, attempt, {"events_offset": events_offset, **job_fields}):
            return False
        if rows:
            statement = database.insert(session, MetricRow)
            statement = statement.on_conflict_do_update(
                index_elements=["job_id", "step", "name"], set_={"value": statement.excluded.value}
            )
            session.execute(statement, rows)
        checkpoints.take_in(session, job_id, attempt, saved, kept)
        return True


def since(job_id: str, step: int, names: Collection[str] | None = None) -> list[Metric]:
    """The values of all later steps than `step`, in the order of the steps."""
    query = select(MetricRow).where(MetricRow.job_id == job_id, MetricRow.step > step)
    if names is not None:
        query = query.where(MetricRow.name.in_(names))
    with database.reading() as session:
        rows = session.scalars(query.order_by(MetricRow.step, MetricRow.number))
        return [row.record(Metric) for row in rows]


def all_of(job_id: str, name: str) -> list[Metric]:
    """All values of one name, in the order of the steps."""
    query = select(MetricRow).where(MetricRow.job_id == job_id, MetricRow.name == name)
    with database.reading() as session:
        return [row.record(Metric) for row in session.scalars(query.order_by(MetricRow.step))]


def after(
    job_id: str, cursor: int, limit: int = 500, names: Collection[str] | None = None
) -> tuple[list[Metric], int]:
    """The values, all or those of some names, that were taken in after `cursor` (0 at first), and the next cursor."""
    # Columns, not rows as objects: whoever opens a long run's page asks for tens of thousands.
    query = select(MetricRow.number, MetricRow.step, MetricRow.name, MetricRow.value)
    query = query.where(MetricRow.job_id == job_id, MetricRow.number > cursor)
    if names is not None:
        query = query.where(MetricRow.name.in_(names))
    with database.reading() as session:
        rows = session.execute(query.order_by(MetricRow.number).limit(limit)).all()
        return [Metric(step, name, value) for _, step, name, value in rows], rows[-1][0] if rows else cursor
