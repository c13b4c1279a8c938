"""The votes of blind comparisons: which of two answers was better, given before anybody knew whose they were."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from storage import adapters, database
from storage.errors import StudioError
from storage.tables import VoteRow

FIRST, SECOND, TIE = "first", "second", "tie"


@dataclass(frozen=True)
class Vote:
    """One vote.

    Attributes:
        contest: what was compared, as `jobs.evaluation.blind` names it; only votes of one contest are counted together.
        first, second: the names of the two sides.
        shown_left: which of them stood on the left, "first" or "second".
        winner: "first", "second" or "tie".
        details: the prompt, both answers, and what is needed to ask for them again.
    """

    id: str
    adapter_id: str
    contest: str
    held_out_row: int | None
    first: str
    second: str
    shown_left: str
    winner: str
    details: dict[str, Any]
    created_at: float


@dataclass(frozen=True)
class Counts:
    """How the votes of one contest stand."""

    first: int
    second: int
    ties: int

    @property
    def total(self) -> int:
        """All votes, ties among them."""
        return self.first + self.second + self.ties


def add(
    *,
    id: str,
    adapter_id: str,
    contest: str,
    held_out_row: int | None,
    first: str,
    second: str,
    shown_left: str,
    winner: str,
    details: dict[str, Any],
    created_at: float | None = None,
) -> Vote:
    """Remember a vote; the first one on a pair of answers counts, a second one with its id changes nothing.

    Raises StudioError when the adapter is gone, or the vote is for neither side and no tie.
    """
    if winner not in (FIRST, SECOND, TIE) or shown_left not in (FIRST, SECOND):
        raise StudioError(f"The vote is for {winner!r}.", "Vote for “first”, “second” or “tie”.")
    adapters.get(adapter_id)
    values = {**locals(), "created_at": time.time() if created_at is None else created_at}
    with database.session() as session:
        statement = database.insert(session, VoteRow).values(values)
        session.execute(statement.on_conflict_do_nothing(index_elements=["id"]))
        return session.scalars(select(VoteRow).where(VoteRow.id == id)).one().record(Vote)


def counts(adapter_id: str, contest: str) -> Counts:
    """How one contest stands."""
    query = select(VoteRow.winner, func.count()).where(
        VoteRow.adapter_id == adapter_id, VoteRow.contest == contest
    )
    with database.reading() as session:
        found: dict[str, int] = dict(session.execute(query.group_by(VoteRow.winner)).tuples().all())
    return Counts(found.get(FIRST, 0), found.get(SECOND, 0), found.get(TIE, 0))


def count_others(adapter_id: str, contest: str, first: str, second: str) -> int:
    """How many votes on the same two sides belong to other contests, and are not counted with this one."""
    query = select(func.count()).where(
        VoteRow.adapter_id == adapter_id,
        VoteRow.contest != contest,
        VoteRow.first == first,
        VoteRow.second == second,
    )
    with database.reading() as session:
        return session.scalar(query) or 0


def list_of(adapter_id: str, contest: str | None = None, offset: int = 0, limit: int = 100_000) -> list[Vote]:
    """The votes on an adapter, or those of one of its contests, in the order in which they were given."""
    query = select(VoteRow).where(VoteRow.adapter_id == adapter_id).order_by(VoteRow.number)
    if contest is not None:
        query = query.where(VoteRow.contest == contest)
    with database.reading() as session:
        return [row.record(Vote) for row in session.scalars(query.offset(offset).limit(limit))]


def rows_asked(adapter_id: str, contest: str) -> Sequence[int]:
    """The held-out rows of a contest's votes, in order; a row comes as often as it was voted on."""
    query = select(VoteRow.held_out_row).where(
        VoteRow.adapter_id == adapter_id, VoteRow.contest == contest, VoteRow.held_out_row.is_not(None)
    )
    with database.reading() as session:
        return [row for row in session.scalars(query.order_by(VoteRow.number)) if row is not None]
