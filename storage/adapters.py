"""The finished adapters and where they came from."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update

from storage import database
from storage.errors import StudioError
from storage.tables import AdapterRow

# 0 is the base model, 1 the adapter as it was trained; beyond this answers fall apart.
STRONGEST = 1.5


@dataclass(frozen=True)
class Adapter:
    """One adapter: what it was trained from, how, and the hashes of both sets of weights.

    `strength` is how much of its change it answers with, where nobody says otherwise.
    """

    id: str
    name: str
    job_id: str
    dataset_id: str
    base_model_id: str
    rank: int
    alpha: float
    target_modules: list[str]
    parameters: int
    size_bytes: int
    weights_sha256: str
    base_weights_sha256: str
    held_out_loss: float | None
    best_step: int | None
    settings: dict[str, Any]
    created_at: float
    strength: float = 1.0


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an adapter from before a strength was kept, with what they lack: it is as trained."""
    return {"strength": 1.0, **values}


def add(
    *,
    id: str,
    name: str,
    job_id: str,
    dataset_id: str,
    base_model_id: str,
    rank: int,
    alpha: float,
    target_modules: list[str],
    parameters: int,
    size_bytes: int,
    weights_sha256: str,
    base_weights_sha256: str,
    held_out_loss: float | None,
    best_step: int | None,
    settings: dict[str, Any],
    created_at: float | None = None,
    strength: float = 1.0,
) -> Adapter:
    """Remember an adapter whose folder has been published; added again, it stays as it is."""
    values = {**locals(), "created_at": time.time() if created_at is None else created_at}
    with database.session() as session:
        statement = database.insert(session, AdapterRow).values(values)
        session.execute(statement.on_conflict_do_nothing(index_elements=["id"]))
        return session.scalars(select(AdapterRow).where(AdapterRow.id == id)).one().record(Adapter)


def get(id: str) -> Adapter:
    """One adapter.

    Raises StudioError when there is none with this id.
    """
    with database.reading() as session:
        row = session.scalar(select(AdapterRow).where(AdapterRow.id == id))
        if row is None:
            raise StudioError(f"There is no adapter {id!r}.", "Choose one from the list, or train one first.")
        return row.record(Adapter)


def list_all(base_model_id: str | None = None) -> list[Adapter]:
    """All adapters, or those of one base model, newest first."""
    query = select(AdapterRow).order_by(AdapterRow.number.desc())
    if base_model_id is not None:
        query = query.where(AdapterRow.base_model_id == base_model_id)
    with database.reading() as session:
        return [row.record(Adapter) for row in session.scalars(query)]


def namesakes(adapter: Adapter) -> list[str]:
    """The ids of the other adapters of the same base model that have the same name."""
    query = select(AdapterRow.id).where(
        AdapterRow.name == adapter.name,
        AdapterRow.base_model_id == adapter.base_model_id,
        AdapterRow.id != adapter.id,
    )
    with database.reading() as session:
        return list(session.scalars(query))


def checked_strength(strength: float) -> float:
    """The strength itself; raises StudioError for one outside of 0 to 1.5."""
    if not (math.isfinite(strength) and 0 <= strength <= STRONGEST):
        raise StudioError(f"The strength is {strength}.", f"Give a number from 0 to {STRONGEST}.")
    return strength


def set_strength(id: str, strength: float) -> Adapter:
    """Keep how strongly an adapter answers; `jobs.adapter_record.keep_strength` writes it into its folder too.

    Raises StudioError for a strength outside of 0 to 1.5, and when there is no such adapter.
    """
    checked_strength(strength)
    with database.session() as session:
        session.execute(update(AdapterRow).where(AdapterRow.id == id).values(strength=strength))
    return get(id)


def remove(id: str) -> None:
    """Forget an adapter with its scorecards and votes; nothing happens when it is already gone."""
    with database.session() as session:
        session.execute(delete(AdapterRow).where(AdapterRow.id == id))
