"""Jobs wait in one queue for each device, in an order that people can change."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import jobs, waiting
from storage.errors import StudioError


def queue(*names: str, device: str = "cpu") -> dict[str, str]:
    return {name: jobs.add("training", name, device).id for name in names}


def order(device: str | None = None) -> list[str]:
    return [job.name for job in waiting.in_order(device)]


@pytest.mark.parametrize(
    ("name", "where", "expected"),
    [
        ("c", "up", "acbd"),
        ("b", "down", "acbd"),
        ("d", "first", "dabc"),
        ("a", "last", "bcda"),
        ("a", "up", "abcd"),
        ("d", "down", "abcd"),
        ("a", "first", "abcd"),
    ],
)
def test_a_waiting_job_moves(home: Path, name: str, where: waiting.Where, expected: str) -> None:
    ids = queue(*"abcd")
    waiting.move(ids[name], where)
    assert order("cpu") == list(expected)
    claimed = [jobs.claim(set()) for _ in range(4)]
    assert [job.name for job in claimed if job] == list(expected)


def test_moving_in_one_queue_leaves_the_others_alone(home: Path) -> None:
    first = queue("a", "b")
    queue("x", "y", device="cuda:0")
    waiting.move(first["b"], "first")
    assert (order("cpu"), order("cuda:0")) == (["b", "a"], ["x", "y"])


def test_a_place_counts_those_ahead_on_the_same_device(home: Path) -> None:
    ids = queue("a", "b", "c") | queue("x", device="cuda:0")
    assert [waiting.place(ids[name]) for name in "abcx"] == [1, 2, 3, 1]
    jobs.claim({"cuda:0"})
    assert [waiting.place(ids[name]) for name in "abc"] == [None, 1, 2]


def test_a_job_that_no_longer_waits_is_not_moved(home: Path) -> None:
    ids = queue("a", "b")
    jobs.claim(set())
    assert waiting.move(ids["a"], "last").status == "running"
    assert order() == ["b"]
    with pytest.raises(StudioError, match="no job 'nonesuch'"):
        waiting.move("nonesuch", "up")


def test_only_a_waiting_job_changes_its_device(home: Path) -> None:
    ids = queue("a", "b")
    jobs.claim(set())
    assert not waiting.reassign(ids["a"], "cuda:1")
    assert waiting.reassign(ids["b"], "cuda:1")
    assert jobs.get(ids["b"]).device == "cuda:1"


def test_a_job_given_back_keeps_its_place_and_a_retried_one_goes_to_the_end(home: Path) -> None:
    ids = queue("a", "b")
    jobs.claim(set())
    jobs.requeue(ids["a"], 1)
    assert order() == ["a", "b"]
    jobs.claim(set())
    jobs.finish(ids["a"], 2, "failed")
    jobs.retry(ids["a"])
    assert order() == ["b", "a"]
