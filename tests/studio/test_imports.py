from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from storage.errors import StudioError
from studio import imports
from studio.imports import Report


class Slow:
    """Work that reports half and waits until it is let go or cancelled."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, report: Report, should_stop: Callable[[], bool]) -> str:
        report("Reading the rows", 0, 400)
        report("Reading the rows", 200, 400)
        self.begun.set()
        while not self.go.wait(0.01):
            if should_stop():
                raise StudioError("Cancelled.")
        return "done"


def test_a_reload_finds_what_is_under_way() -> None:
    slow = Slow()
    work = imports.start("import", slow, "Looking at it")
    assert slow.begun.wait(5)
    assert imports.of(work.id) is work and imports.under_way("import") is work
    assert work.sentence().startswith("Reading the rows: 50 %")
    slow.go.set()
    work.join(5)
    assert (work.result, work.problem) == ("done", None)
    assert imports.under_way("import") is not work


def test_what_is_cancelled_ends_without_a_complaint_and_without_a_result() -> None:
    slow = Slow()
    work = imports.start("change", slow, "Fixing", "d1")
    assert slow.begun.wait(5)
    imports.stop(work.id)
    work.join(5)
    assert (work.is_alive(), work.result, work.problem) == (False, None, None)


def test_a_problem_is_kept_in_words_until_it_has_been_read() -> None:
    def broken(*_: Any) -> None:
        raise StudioError("mails.csv is empty.", "Add a file with at least two examples.")

    work = imports.start("import", broken, "Looking")
    work.join(5)
    assert imports.of(work.id) is work
    assert work.problem == "mails.csv is empty. Add a file with at least two examples."
    imports.forget(work.id)
    assert imports.of(work.id) is None


def test_what_nobody_foresaw_is_a_sentence_too() -> None:
    def broken(*_: Any) -> None:
        raise KeyError("secret detail")

    work = imports.start("import", broken, "Looking")
    work.join(5)
    assert work.problem and "secret detail" not in work.problem


def test_one_dataset_is_counted_once_at_a_time() -> None:
    slow = Slow()
    first = imports.count_once(slow, "Counting", "d1 starter")
    assert imports.count_once(slow, "Counting", "d1 starter") is first
    other = Slow()
    assert imports.count_once(other, "Counting", "d2 starter") is not first
    slow.go.set()
    other.go.set()
    first.join(5)
    assert imports.count_once(slow, "Counting", "d1 starter") is not first


def test_the_time_left_is_told_once_it_can_be_known() -> None:
    work = imports.Work("import", lambda report, stop: None, "Looking")
    work._report("Reading the rows", 0, 1000)
    work._report("Reading the rows", 500, 1000)
    assert work.sentence() == "Reading the rows: 50 %."
    work.counted_from = ("Reading the rows", 0, time.monotonic() - 10)
    assert work.sentence() == "Reading the rows: 50 %, about 10 seconds left."
    work._report("Checking", None, None)
    assert work.sentence() == "Checking."


def test_much_ended_work_is_forgotten_but_none_that_runs() -> None:
    slow = Slow()
    running = imports.start("import", slow, "Looking")
    for _ in range(imports.MOST_REMEMBERED + 10):
        imports.start("import", lambda report, stop: None, "Looking").join(5)
    assert imports.of(running.id) is running
    assert len(imports._works) <= imports.MOST_REMEMBERED + 2
    slow.go.set()
    running.join(5)
