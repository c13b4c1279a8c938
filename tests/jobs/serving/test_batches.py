"""Many results that are interrupted again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobs.serving.batches import finished
from jobs.serving.connection import ServerGone
from jobs.serving.waiting import GaveWay, Waiting
from storage.errors import StudioError

pytestmark = pytest.mark.usefixtures("home")


class Server:
    """Gives ten times each place, and ends as it is told to: how many results come before that, and with what."""

    def __init__(self, *ends: tuple[int, Exception | None]) -> None:
        self.ends = list(ends)
        self.asked: list[list[int]] = []

    def __call__(self, places: list[int]) -> Iterator[dict[int, int] | Waiting]:
        self.asked.append(places)
        come, problem = self.ends.pop(0) if self.ends else (len(places), None)
        for count in range(1, come + 1):
            # As the model server does: all that is finished so far, each time.
            yield {place: place * 10 for place in places[:count]}
        if problem is not None:
            raise problem


def all_of(
    server: Server, count: int, at_once: int = 100, **how: Any
) -> tuple[list[int], list[int], list[str]]:
    """The results, which came one by one, and what was told meanwhile."""
    each: list[int] = []
    told: list[str] = []
    results = finished(
        count,
        at_once,
        server,
        how.get("should_stop", lambda: False),
        told.append,
        lambda place, _: each.append(place),
    )
    return results, each, told


def test_results_are_in_order_and_come_each_once():
    server = Server()
    assert all_of(server, 5, at_once=2) == ([0, 10, 20, 30, 40], [0, 1, 2, 3, 4], [])
    assert server.asked == [[0, 1], [2, 3], [4]]


def test_only_the_rest_is_asked_for_again():
    server = Server((2, GaveWay()), (1, GaveWay()))
    results, each, told = all_of(server, 5)
    assert (results, each) == ([0, 10, 20, 30, 40], [0, 1, 2, 3, 4])
    assert server.asked == [[0, 1, 2, 3, 4], [2, 3, 4], [3, 4]]
    sentence = "A question comes first. It goes on by itself."
    assert told == [sentence, "", sentence, ""]


def test_with_people_asking_all_the_time_fewer_at_once_come_through():
    server = Server((0, GaveWay()), (0, GaveWay()), (0, GaveWay()))
    results, _, _ = all_of(server, 8)
    assert results == [0, 10, 20, 30, 40, 50, 60, 70]
    assert [len(places) for places in server.asked] == [8, 4, 2, 1, 2, 4, 1]


def test_a_server_may_end_as_often_as_it_brings_something():
    server = Server(*[(1, ServerGone("It ended."))] * 4)
    results, each, told = all_of(server, 6)
    assert (results, each) == ([0, 10, 20, 30, 40, 50], [0, 1, 2, 3, 4, 5])
    assert "The model server has ended; it is started again. It goes on by itself." in told


def test_a_server_that_ends_and_brings_nothing_is_given_up():
    with pytest.raises(ServerGone, match="It ended"):
        all_of(Server((2, None), (0, ServerGone("It ended.")), (0, ServerGone("It ended."))), 4, at_once=2)


def test_what_is_wrong_with_the_question_is_raised_and_a_stop_is_heard():
    with pytest.raises(StudioError, match="too long"):
        all_of(Server((1, StudioError("The prompt is too long."))), 3)
    with pytest.raises(StudioError, match="stopped"):
        all_of(Server(), 3, should_stop=lambda: True)
