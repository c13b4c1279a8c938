"""A studio of real processes for the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.studio import Studio


@pytest.fixture
def light(tmp_path: Path) -> Iterator[Studio]:
    """A studio whose jobs import nothing large and whose worker soon loses patience; a test starts it."""
    it = Studio(
        tmp_path / "home",
        with_model=False,
        WARM=0,
        BEAT_SECONDS=0.1,
        STALLED_SECONDS=2.0,
        SILENT_SECONDS=1.0,
        TERM_AFTER_SECONDS=0.3,
        KILL_AFTER_SECONDS=1.0,
    )
    yield it
    assert not it.close(), "processes without a page and without work"
