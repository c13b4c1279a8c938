"""Many ask the real model server at once: people in turn, background work behind them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import psutil
import pytest

from jobs.serving import address, client, waiting
from jobs.serving.client import Snapshots
from jobs.serving.schema import CompareSettings, SideRequest
from jobs.serving.waiting import GaveWay, Waiting
from storage.errors import StudioError
from tests.jobs.device_user import DeviceUser
from tests.jobs.serving.parts import ADAPTERS
from tests.jobs.waiting import until

PROMPT = "Row 3?"
SHORT = CompareSettings(sides=("base", "adapted"), max_new_tokens=4)
MIDDLING = CompareSettings(max_new_tokens=300)

pytestmark = pytest.mark.usefixtures("base_model_id")


def requests(count: int) -> list[SideRequest]:
    return [
        SideRequest("adapted", str(n), [{"role": "user", "content": f"Row {n}?"}], {ADAPTERS[0]: 1.0})
        for n in range(count)
    ]


def ask(asker: str = "", settings: CompareSettings = SHORT) -> list[Any]:
    """All that one person is told, with his answers at the end."""
    return list(waiting.patiently(lambda: client.compare(ADAPTERS[0], PROMPT, settings, asker)))


def words_of(items: list[Any]) -> list[str]:
    """What was said while waiting, each sentence once."""
    return list(dict.fromkeys(item.words for item in items if isinstance(item, Waiting)))


def texts(answers: Any) -> list[str]:
    return [answer["text"] for answer in answers]


@contextmanager
def a_long_answer(base_model_id: str, background: bool = False, asker: str = "") -> Iterator[Snapshots]:
    """A question that is being answered, for as long as that is wanted."""
    client.compare_all(ADAPTERS[0], PROMPT, SHORT)
    rows = [replace(request, max_new_tokens=50_000) for request in requests(2)]
    with closing(client.stream(base_model_id, rows, MIDDLING, background, asker)) as snapshots:
        next(snapshots)
        yield snapshots


@contextmanager
def in_background(base_model_id: str, count: int = 40, **how: Any) -> Iterator[Future[Any]]:
    """A batch of the background that has begun to be answered."""
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(client.answers, base_model_id, requests(count), MIDDLING, **how)
        until(lambda: client.status()["generating"])
        yield batch


def test_who_waits_is_told_how_many_come_before(base_model_id):
    with ThreadPoolExecutor(2) as pool:
        with a_long_answer(base_model_id):
            second = pool.submit(ask)
            until(lambda: client.status()["waiting"] == 1)
            third = pool.submit(ask)
            until(lambda: client.status()["waiting"] == 2)
            time.sleep(0.5)
        one, two = second.result(60), third.result(60)
    before_one = "1 question comes before yours. Your answer comes by itself."
    assert words_of(one) == [before_one, "It is your turn: your answer comes now."]
    assert words_of(two)[0] == "2 questions come before yours. Your answer comes by itself."
    assert texts(one[-1]) == texts(two[-1])


def test_twenty_people_at_once_are_all_answered_and_told_their_place(base_model_id):
    alone = client.compare_all(ADAPTERS[0], PROMPT, SHORT)
    with ThreadPoolExecutor(20) as pool:
        with a_long_answer(base_model_id):
            asked = [pool.submit(ask, f"user {n}") for n in range(20)]
            until(lambda: client.status()["waiting"] == 20)
            time.sleep(0.5)
        everybody = [one.result(120) for one in asked]
    assert all(texts(items[-1]) == texts(alone) for items in everybody)
    assert sorted(int(words_of(items)[0].split()[0]) for items in everybody) == list(range(1, 21))
    assert client.status()["waiting"] == 0


def test_who_asks_ten_times_at_once_does_not_hold_up_the_others(base_model_id):
    ended: list[str] = []

    def asks(asker: str) -> None:
        ask(asker, CompareSettings(max_new_tokens=200))
        ended.append(asker)

    with ThreadPoolExecutor(12) as pool, a_long_answer(base_model_id):
        for _ in range(10):
            pool.submit(asks, "much")
        until(lambda: client.status()["waiting"] == 10)
        for asker in ("ann", "ben"):
            pool.submit(asks, asker)
        until(lambda: client.status()["waiting"] == 12)
    # One of the ten, then the two; answers that end close together are told in any order.
    assert {"ann", "ben"} <= set(ended[:5])


def test_who_stops_waiting_is_waited_for_by_nobody(base_model_id):
    with a_long_answer(base_model_id):
        waits = client.compare(ADAPTERS[0], PROMPT, SHORT)
        assert next(waits) == Waiting("1 question comes before yours. Your answer comes by itself.")
        waits.close()
        until(lambda: client.status()["waiting"] == 0)


def test_a_persons_question_comes_before_the_background_which_loses_nothing(base_model_id):
    undisturbed = client.answers(base_model_id, requests(40), MIDDLING)
    told: list[str] = []
    each: list[int] = []
    with in_background(base_model_id, waits=told.append, each=lambda place, _: each.append(place)) as batch:
        for _ in range(3):
            begun = time.monotonic()
            answered = ask()[-1]
            assert not batch.done() and time.monotonic() - begun < 10
            assert all(answer["done"] for answer in answered)
        answers = batch.result(120)
    assert texts(answers) == texts(undisturbed)
    assert sorted(each) == list(range(40))
    assert "stopped" not in {answer["finish_reason"] for answer in answers}
    assert told[0] == "A question comes first. It goes on by itself." and told[-1] == ""


def test_the_background_alone_is_told_that_it_gave_way(base_model_id):
    with a_long_answer(base_model_id, background=True) as batch:
        client.compare_all(ADAPTERS[0], PROMPT, SHORT)
        with pytest.raises(GaveWay):
            list(batch)


def test_the_background_goes_on_after_jobs_and_killed_servers(base_model_id):
    undisturbed = client.answers(base_model_id, requests(40), MIDDLING)
    each: list[int] = []
    job = DeviceUser("the job “Haiku”", begins=False)
    with in_background(base_model_id, each=lambda place, _: each.append(place)) as batch:
        job.begin()
        job.gets_it()
        until(lambda: client.status()["base_model_id"] is None)
        job.kill()
        until(lambda: client.status()["generating"])
        psutil.Process(address.read().process.pid).kill()
        assert texts(batch.result(120)) == texts(undisturbed)
    assert sorted(each) == list(range(40))


def test_the_background_can_be_stopped_while_people_ask(base_model_id):
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as pool, a_long_answer(base_model_id):
        batch = pool.submit(client.answers, base_model_id, requests(2), MIDDLING, stopped.is_set)
        until(lambda: client.status()["waiting"] == 1)
        stopped.set()
        with pytest.raises(StudioError, match="stopped"):
            batch.result(10)
