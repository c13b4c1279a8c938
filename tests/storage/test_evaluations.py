"""The newest scorecard is the one that counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import evaluations
from storage.errors import StudioError
from tests.storage.test_adapters import add


def test_the_latest_scorecard_wins(home: Path) -> None:
    add("bcdf")
    assert evaluations.latest("bcdf") is None
    evaluations.add("bcdf", {"verdict": "unclear"})
    newest = evaluations.add("bcdf", {"verdict": "better", "score": float("nan")})
    assert evaluations.latest("bcdf") == newest
    assert newest.card == {"verdict": "better", "score": None}


def test_a_scorecard_needs_its_adapter(home: Path) -> None:
    with pytest.raises(StudioError, match="no adapter"):
        evaluations.add("nonesuch", {})


def test_the_latest_of_each_dataset_is_found(home: Path) -> None:
    add("bcdf")
    own = evaluations.add("bcdf", {"dataset_id": "d1"})
    other = evaluations.add("bcdf", {"dataset_id": "d2"})
    assert evaluations.latest("bcdf", "d1") == own
    assert evaluations.latest("bcdf", "d2") == evaluations.latest("bcdf") == other
    assert evaluations.latest("bcdf", "d3") is None


def test_added_twice_under_one_id_it_stays_as_it_is(home: Path) -> None:
    add("bcdf")
    first = evaluations.add("bcdf", {"verdict": "better"}, id="job-1")
    assert evaluations.add("bcdf", {"verdict": "worse"}, id="job-1") == first == evaluations.latest("bcdf")


def test_a_scorecard_that_is_counted_again_keeps_its_place(home: Path) -> None:
    add("bcdf")
    first = evaluations.add("bcdf", {"verdict": "better"})
    newest = evaluations.add("bcdf", {"verdict": "worse"})
    again = evaluations.replace(first.id, {"verdict": "unclear"})
    assert (again.id, again.card, again.created_at) == (first.id, {"verdict": "unclear"}, first.created_at)
    assert evaluations.latest("bcdf") == newest
    with pytest.raises(StudioError, match="gone"):
        evaluations.replace("nosuchid", {})
