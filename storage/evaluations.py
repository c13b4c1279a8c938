"""The scorecards of adapters."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from storage import adapters, database, files
from storage.errors import StudioError
from storage.tables import EvaluationRow


@dataclass(frozen=True)
class Evaluation:
    """One scorecard as it was shown."""

    id: str
    adapter_id: str
    card: dict[str, Any]
    created_at: float


def add(
    adapter_id: str, card: dict[str, Any], created_at: float | None = None, id: str | None = None
) -> Evaluation:
    """Remember a scorecard; one whose `id` is known already stays as it is.

    Raises StudioError when the adapter is gone.
    """
    adapters.get(adapter_id)
    values = {
        "id": files.new_id() if id is None else id,
        "adapter_id": adapter_id,
        "card": card,
        "created_at": time.time() if created_at is None else created_at,
    }
    with database.session() as session:
        statement = database.insert(session, EvaluationRow).values(values)
        session.execute(statement.on_conflict_do_nothing(index_elements=["id"]))
        found = session.scalars(select(EvaluationRow).where(EvaluationRow.id == values["id"]))
        return found.one().record(Evaluation)


def replace(id: str, card: dict[str, Any]) -> Evaluation:
    """Let a scorecard say something else, as when other rules count.

    Raises StudioError when there is none with this id.
    """
    with database.session() as session:
        session.execute(update(EvaluationRow).where(EvaluationRow.id == id).values(card=card))
        row = session.scalar(select(EvaluationRow).where(EvaluationRow.id == id))
        if row is None:
            raise StudioError("This scorecard is gone.", "Check again.")
        return row.record(Evaluation)


def latest(adapter_id: str, dataset_id: str | None = None) -> Evaluation | None:
    """The newest scorecard of an adapter, or the newest one on a dataset."""
    query = select(EvaluationRow).where(EvaluationRow.adapter_id == adapter_id)
    if dataset_id is not None:
        query = query.where(EvaluationRow.card["dataset_id"].as_string() == dataset_id)
    with database.reading() as session:
        row = session.scalar(query.order_by(EvaluationRow.number.desc()).limit(1))
        return row.record(Evaluation) if row else None
