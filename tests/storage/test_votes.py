"""Votes of blind comparisons, kept with what was seen and counted contest by contest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage import adapters, votes
from storage.errors import StudioError
from tests.storage.test_adapters import add as add_adapter


def vote(id: str, **changed: Any) -> votes.Vote:
    """Give a plausible vote."""
    values: dict[str, Any] = {
        "adapter_id": "bcdf",
        "contest": "base|adapted",
        "held_out_row": 7,
        "first": "base",
        "second": "adapted",
        "shown_left": "second",
        "winner": "second",
        "details": {"prompt": "Hello", "answers": ["Hi", "Dear friend"]},
    }
    return votes.add(id=id, **{**values, **changed})


def test_a_vote_reads_back_as_it_was_given(home: Path) -> None:
    add_adapter("bcdf")
    given = vote("v1", details={"temperature": 0.7, "seeds": [1, 2]})
    assert votes.list_of("bcdf") == [given]
    assert given.details == {"temperature": 0.7, "seeds": [1, 2]}


def test_only_the_first_vote_on_a_pair_counts(home: Path) -> None:
    add_adapter("bcdf")
    first = vote("v1")
    assert vote("v1", winner="tie") == first
    assert votes.counts("bcdf", "base|adapted") == votes.Counts(0, 1, 0)


def test_every_contest_is_counted_by_itself(home: Path) -> None:
    add_adapter("bcdf")
    add_adapter("ghjk")
    for id, winner in enumerate(("first", "second", "second", "tie")):
        vote(f"v{id}", winner=winner, held_out_row=10 + id if winner != "tie" else None)
    vote("other", contest="base|base")
    vote("others", adapter_id="ghjk")
    counted = votes.counts("bcdf", "base|adapted")
    assert counted == votes.Counts(1, 2, 1) and counted.total == 4
    assert votes.counts("bcdf", "few_shot|adapted").total == 0
    assert votes.rows_asked("bcdf", "base|adapted") == [10, 11, 12]
    assert votes.count_others("bcdf", "base|adapted", "base", "adapted") == 1
    assert votes.count_others("bcdf", "base|base", "base", "adapted") == 4
    assert votes.count_others("bcdf", "base|adapted", "adapted", "base") == 0
    assert [one.id for one in votes.list_of("bcdf", "base|adapted", offset=1, limit=2)] == ["v1", "v2"]
    assert len(votes.list_of("bcdf")) == 5


def test_a_vote_is_for_a_side_or_a_tie_and_needs_its_adapter(home: Path) -> None:
    with pytest.raises(StudioError, match="no adapter"):
        vote("v1")
    add_adapter("bcdf")
    for wrong in ({"winner": "adapted"}, {"shown_left": "tie"}):
        with pytest.raises(StudioError, match="vote is for"):
            vote("v1", **wrong)


def test_votes_go_with_their_adapter(home: Path) -> None:
    add_adapter("bcdf")
    vote("v1")
    adapters.remove("bcdf")
    assert votes.list_of("bcdf") == [] and votes.counts("bcdf", "base|adapted").total == 0
