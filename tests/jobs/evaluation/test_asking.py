"""What a job asks: everything once, kept as it comes and taken up again. The model server answers from a thread."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from jobs.base_models import catalogue
from jobs.evaluation import asking
from jobs.evaluation.asking import Asking, Stopped
from jobs.executors import processes
from jobs.progress import Progress
from jobs.serving import address
from jobs.serving.address import Address
from jobs.serving.resident import Resident
from jobs.serving.schema import SideRequest
from jobs.serving.server import ModelServer, build
from jobs.serving.turns import Question
from storage import config, database, lines
from storage.errors import StudioError

LIMIT = 4


class Told(Progress):
    """Remembers what it was told last; stops once it was told of so many answers."""

    stop_at: int | None = None
    last: tuple[str, int | None, int | None] = ("", None, None)

    def phase(self, words: str, done: int | None = None, total: int | None = None) -> None:
        self.last = words, done, total

    def should_stop(self) -> bool:
        return self.stop_at is not None and (self.last[1] or 0) >= self.stop_at


class Counting(Resident):
    """Remembers how many questions came at a time."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.asked: list[int] = []

    def answer(self, question: Question) -> None:
        request: Any = question.request
        self.asked.append(len(getattr(request, "requests", None) or request.continuations))
        super().answer(question)


@dataclass(frozen=True)
class Base:
    """The tiny model with a server of its own, and a place for run folders."""

    id: str
    server: Counting
    folder: Path

    def asking(self, run: str = "run", attempt: int = 1, weights: str = "3f9a", **how: Any) -> Asking:
        (self.folder / run / f"attempt-{attempt}").mkdir(parents=True, exist_ok=True)
        return Asking(self.id, weights, self.folder / run, attempt, how.pop("progress", Progress()), **how)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[tuple[str, Counting]]:
    config.use(config.from_environment(data_dir=tmp_path_factory.mktemp("asking") / "home"))
    database.connect()
    base_model_id, resident = catalogue.add_custom(str(tiny_model)).id, Counting()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        own = Address(processes.own_handle(), listening.getsockname()[1], "token")
        app = build(ModelServer(resident), own, asyncio.Event())
        web = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=web.run, kwargs={"sockets": [listening]})
        thread.start()
        address.write(own)
        yield base_model_id, resident
        address.remove()
        web.should_exit = True
        thread.join(20)
    resident.free()
    database.close()


@pytest.fixture
def base(served: tuple[str, Counting], tmp_path: Path) -> Base:
    served[1].asked.clear()
    return Base(*served, tmp_path)


def request(text: str, label: str = "Base model", **how: Any) -> SideRequest:
    return SideRequest("base", label, [{"role": "user", "content": text}], **how)


def questions(count: int) -> list[SideRequest]:
    return [request(f"What is {number}?") for number in range(count)]


def kept(folder: Path) -> list[str]:
    return [line["key"] for file in sorted(folder.glob("attempt-*/*.jsonl")) for line in lines.read(file)]


def test_what_was_answered_is_never_asked_again(base: Base) -> None:
    told = Told()
    twice = [request("Who?", "One"), request("Why is that so?"), request("Who?", "Other")]
    first = base.asking(progress=told)
    first.expect(3)
    answers = first.answers("Asking", twice, LIMIT)
    assert [answer["label"] for answer in answers] == ["One", "Base model", "Other"]
    read = [answer["prompt_tokens"] for answer in answers]
    assert read[0] == read[2] < read[1] and answers[0]["text"] == answers[2]["text"]
    assert all(answer["tokens"] <= LIMIT and answer["done"] for answer in answers)
    assert base.server.asked == [2] and told.last == ("Asking", 2, 3)
    assert base.asking(attempt=2).answers("Asking", twice, LIMIT) == answers
    for attempt in (1, 2):
        other = base.asking("other", attempt, earlier=[base.folder / "run"])
        assert other.answers("Asking", twice, LIMIT) == answers
    assert base.server.asked == [2]
    assert len(kept(base.folder / "other")) == 2, "a run needs no other one's folder"
    asking.forget(base.folder / "run")
    asking.forget(base.folder / "run")
    assert asking.kept_in(base.folder / "run") == {}


def test_what_is_asked_otherwise_is_another_question(base: Base) -> None:
    base.asking().answers("Asking", [request("Who?")], LIMIT)
    base.asking().answers("Asking", [request("Who?")], LIMIT + 1)
    base.asking(weights="c21e").answers("Asking", [request("Who?")], LIMIT)
    base.asking().answers("Asking", [request("Who?", schema={"const": "a"})], LIMIT)
    assert base.server.asked == [1] * 4
    base.asking().answers("Asking", [request("Who?", max_new_tokens=LIMIT)], 100)
    assert base.server.asked == [1] * 4, "the same limit, from the question itself"


def test_likelihoods_are_kept_too(base: Base) -> None:
    asked = [
        {"adapters": {}, "messages": request("Who?").messages, "answer": answer}
        for answer in ("a", "fox", "a")
    ]
    told = Told()
    found = base.asking(progress=told).likelihoods("Measuring", asked)
    assert told.last == ("Measuring", 2, 2), "also where nobody has said how many there will be"
    assert found[0] == found[2] and found[1]["tokens"] > found[0]["tokens"]
    assert base.asking(attempt=2).likelihoods("Measuring", asked) == found
    assert base.server.asked == [2]


def test_a_stop_is_heard_and_what_had_come_stays(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_BATCH", 2)
    told = Told()
    told.stop_at = 0
    with pytest.raises(Stopped):
        base.asking(progress=told).answers("Asking", questions(6), LIMIT)
    assert base.server.asked == [], "no model is loaded for nobody"
    told.stop_at = 2
    with pytest.raises(Stopped):
        base.asking(progress=told).answers("Asking", questions(6), LIMIT)
    assert len(kept(base.folder / "run")) == 2
    base.asking(attempt=2).answers("Asking", questions(6), LIMIT)
    assert len(kept(base.folder / "run")) == len(set(kept(base.folder / "run"))) == 6


def test_what_is_wrong_with_a_question_is_said(base: Base) -> None:
    with pytest.raises(StudioError, match="this model reads at most 512") as said:
        base.asking().answers("Asking", [request("x " * 600)], LIMIT)
    assert not isinstance(said.value, Stopped)


def test_batches_grow_while_they_are_quick_and_a_small_rest_does_not_shrink_them(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("FIRST_BATCH", 2), ("SMALLEST_BATCH", 1), ("LARGEST_BATCH", 6)):
        monkeypatch.setattr(asking, name, size)
    asks = base.asking()
    asks.answers("Asking", questions(7), LIMIT)
    asks.answers("Asking", questions(15), LIMIT)
    assert base.server.asked == [2, 4, 1, 6, 2]
    monkeypatch.setattr(asking, "BATCH_SECONDS", 1e-6)
    asks.answers("Asking", questions(24), LIMIT)
    assert base.server.asked[5:] == [6, 3]
