from __future__ import annotations

from pathlib import Path

from storage import jobs
from studio.tabs import runs


def add_runs(count: int) -> None:
    for number in range(count):
        jobs.request_stop(jobs.add("training", f"run number {number}", "cpu").id)


def test_an_empty_list_teaches_what_to_do(home: Path) -> None:
    answer, content, *_ = runs.show(0)
    assert "No adapter yet" in answer
    assert 'href="/"' in content


def test_runs_come_fifty_a_page_newest_first(home: Path) -> None:
    add_runs(51)
    _, first, newer, older, _, number = runs.show(0)
    assert (first.count("<tr>"), number) == (51, 0)
    assert "run number 50<" in first
    assert (newer["interactive"], older["interactive"]) == (False, True)
    _, second, newer, older, _, number = runs.show(1)
    assert (second.count("<tr>"), number) == (2, 1)
    assert (newer["interactive"], older["interactive"]) == (True, False)


def test_a_page_behind_the_last_shows_the_last(home: Path) -> None:
    add_runs(3)
    assert runs.show(9)[-1] == 0


def test_the_timer_runs_only_while_something_is_open(home: Path) -> None:
    add_runs(1)
    assert runs.show(0)[4]["active"] is False
    jobs.add("training", "waiting", "cpu")
    assert runs.show(0)[4]["active"] is True


def test_what_is_made_by_itself_is_no_run_and_is_told_beside_them(home: Path) -> None:
    add_runs(1)
    jobs.add("scorecard", "Scorecard of tone", "evaluation")
    answer, content, *_, timer, _ = runs.show(0)
    assert "Scorecard of tone" not in content and content.count("<tr>") == 2
    assert "nothing is running." in answer and "waiting" not in answer
    assert timer["active"] is True
    assert jobs.claim(set())
    assert "nothing is running. 1 adapter is being checked." in runs.show(0)[0]
