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
