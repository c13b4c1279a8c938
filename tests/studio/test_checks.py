from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from storage.errors import StudioError
from studio import checks


class SlowScorecard:
    """Stands in for the model: reports half, then waits until it is let go or stopped."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(
        self, adapter_id: str, report: Any, rows: int, *, force: bool, should_stop: Callable[[], bool]
    ) -> None:
        self.calls += 1
        report("Answering held-out rows", 0, 40)
        report("Answering held-out rows", 20, 40)
        self.begun.set()
        while not self.go.wait(0.01):
            if should_stop():
                raise StudioError("Answering was stopped.")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowScorecard:
    stand_in = SlowScorecard()
    monkeypatch.setattr(checks, "scorecard", stand_in)
    return stand_in


def test_two_tabs_share_one_check(slow: SlowScorecard) -> None:
    first = checks.start("shared")
    assert slow.begun.wait(5)
    assert checks.start("shared") is first
    assert "20 of 40, about" in first.sentence()
    slow.go.set()
    first.join(5)
    assert slow.calls == 1
    assert first.problem is None


def test_a_stopped_check_ends_without_a_complaint(slow: SlowScorecard) -> None:
    check = checks.start("stopped")
    assert slow.begun.wait(5)
    checks.stop("stopped")
    check.join(5)
    assert not check.is_alive()
    assert check.problem is None
    assert slow.calls == 1


def test_a_failed_check_says_why_and_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*values: Any, **named: Any) -> None:
        raise StudioError("The computer is busy.", "Try again later.")

    monkeypatch.setattr(checks, "scorecard", busy)
    check = checks.start("busy")
    check.join(5)
    assert check.problem == "The computer is busy. Try again later."
    assert checks.start("busy") is not check


def test_a_check_that_waits_says_why_and_keeps_what_it_has_counted() -> None:
    check = checks.Check("waits")
    check._report("Answering held-out rows", 0, 40)
    check._report("Answering held-out rows", 20, 40)
    check.counted_from = (0, time.monotonic() - 10)
    assert check.sentence().endswith("20 of 40, about 10 seconds left.")
    check._report("The computer is busy. It goes on by itself.", None, None)
    assert check.sentence() == "The computer is busy. It goes on by itself."
    assert (check.done, check.total) == (20, 40)
    check._report("Answering held-out rows", 20, 40)
    assert check.sentence() == "Answering held-out rows: 20 of 40."
    # The wait was no measure of the time left: 4 rows have taken two seconds since.
    check.counted_from = (20, time.monotonic() - 2)
    check._report("Answering held-out rows", 24, 40)
    assert check.sentence().endswith("24 of 40, about 8 seconds left.")


def test_an_unexpected_error_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*values: Any, **named: Any) -> None:
        raise KeyError("secret detail")

    monkeypatch.setattr(checks, "scorecard", broken)
    check = checks.start("broken")
    check.join(5)
    assert check.problem is not None
    assert "secret detail" not in check.problem
