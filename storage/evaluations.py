"""The scorecards of adapters."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from storage import adapters, database, files
from storage.tables import EvaluationRow


@dataclass(frozen=True)
class Evaluation:
    """One scorecard as it was shown."""

    id: str
    adapter_id: str
    card: dict[str, Any]
    created_at: float


def add(adapter_id: str, card: dict[str, Any], created_at: float | None = None) -> Evaluation:
    """Remember a scorecard.

    Raises StudioError when the adapter is gone.
    """
    adapters.get(adapter_id)
    now = time.time() if created_at is None else created_at
    row = EvaluationRow(id=files.new_id(), adapter_id=adapter_id, card=card, created_at=now)
    with database.session() as session:
        session.add(row)
        session.flush()
        session.refresh(row)
        return row.record(Evaluation)


def latest(adapter_id: str) -> Evaluation | None:
    """The newest scorecard of an adapter."""
    query = select(EvaluationRow).where(EvaluationRow.adapter_id == adapter_id)
    with database.reading() as session:
        row = session.scalar(query.order_by(EvaluationRow.number.desc()).limit(1))
        return row.record(Evaluation) if row else None
