"""A question outlasts the job that has the device: real jobs' processes against the real model server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs import gpu
from jobs.executors.local import PROJECT_ROOT
from jobs.generation.engine import Engine
from jobs.serving import address, client, connection, resident, waiting
from jobs.serving.connection import ServerGone
from jobs.serving.resident import Resident
from jobs.serving.schema import CompareSettings, GenerationRequest, SideRequest
from jobs.serving.turns import Question
from jobs.serving.waiting import Waiting
from storage import config, jobs
from storage.errors import StudioError
from tests.jobs.device_user import DeviceUser, using
from tests.jobs.serving.parts import ADAPTERS, end_server
from tests.jobs.waiting import until

PROMPT = "Row 3?"
LONG = CompareSettings(sides=("base", "adapted", ADAPTERS[1]), max_new_tokens=2000)
SHORT = CompareSettings(max_new_tokens=8)
HAIKU = "the job “Haiku”"

pytestmark = pytest.mark.usefixtures("base_model_id")


@pytest.fixture(autouse=True)
def no_job_stays() -> Iterator[None]:
    """The data folder is one for all these tests."""
    yield
    for job in jobs.list_all():
        jobs.finish(job.id, job.attempt, "stopped")
        jobs.request_stop(job.id)


def asked(settings: CompareSettings = SHORT) -> Any:
    return waiting.patiently(lambda: client.compare(ADAPTERS[0], PROMPT, settings))


def texts(snapshot: Any) -> list[str]:
    return [answer["text"] for answer in snapshot]


def test_a_question_waits_in_words_and_the_answer_comes_by_itself():
    end_server()
    job = jobs.add("training", "Haiku", "cpu")
    jobs.claim(set())
    jobs.update(job.id, 1, seconds_left=250.0)
    with using(HAIKU) as user, closing(asked()) as items:
        words = "The computer is busy with the job “Haiku”, about 4 minutes left. "
        assert next(items) == Waiting(words + "Your answer comes by itself when it has finished.")
        assert waiting.busy("cpu") == words.strip()
        assert next(items) == next(items)
        # While a job computes, no model server takes memory beside it.
        assert address.read() is None
        jobs.finish(job.id, 1, "finished")
        user.let_go()
        *_, finished = items
    assert all(answer["done"] for answer in finished)
    assert waiting.busy("cpu") is None


def test_a_job_that_comes_in_the_middle_of_an_answer_has_the_device_and_the_answer_comes_whole():
    *_, undisturbed = asked(LONG)
    items = asked(LONG)
    assert not isinstance(next(items), Waiting)
    with using(HAIKU) as user:
        held_up = next(item for item in items if isinstance(item, Waiting))
        assert held_up.words.startswith("The computer is busy with the job “Haiku”. Your answer comes")
        assert client.status()["base_model_id"] is None
        user.let_go()
        *_, finished = items
    assert texts(finished) == texts(undisturbed)
    assert "stopped" not in {answer["finish_reason"] for answer in finished}


def short_question(base_model_id: str) -> Question:
    """One that the model in this process is asked."""
    messages = [{"role": "user", "content": PROMPT}]
    request = SideRequest(side="base", label="Base", messages=messages)
    return Question(GenerationRequest(base_model_id, [request], max_new_tokens=8, temperature=0.0, seed=0))


def test_a_model_that_is_given_up_while_it_is_loaded_writes_nothing(base_model_id, monkeypatch):
    connection.free_device()
    question = short_question(base_model_id)

    def loaded(folder: Path, device: str) -> Engine:
        question.given_up = True
        question.stop.set()
        return Engine(folder, device)

    monkeypatch.setattr(resident, "Engine", loaded)
    server = Resident("cpu")
    with pytest.raises(gpu.Busy, match="busy with a job"):
        server.answer(question)
    assert question.latest is None
    server.free()
    assert gpu.holder("cpu") is None


def test_a_loaded_model_answers_nobody_while_a_job_wants_the_device(base_model_id):
    connection.free_device()
    server = Resident("cpu")
    server.answer(short_question(base_model_id))
    user = DeviceUser(HAIKU)
    try:
        assert user.says().startswith("Waiting")
        question = short_question(base_model_id)
        with pytest.raises(gpu.Busy, match="busy with the job “Haiku”"):
            server.answer(question)
        assert question.latest is None
    finally:
        user.kill()
        server.free()


def test_a_job_that_comes_while_the_model_is_loaded_has_the_device_and_the_answer_comes_after():
    connection.free_device()
    server = psutil.Process(client.ensure_running().process.pid)
    seen: list[Any] = []
    asking = threading.Thread(target=lambda: seen.extend(asked(LONG)))
    asking.start()
    # As long as it stands still here, it loads.
    until(lambda: gpu.holder("cpu") == gpu.MODEL_SERVER)
    server.suspend()
    user = DeviceUser(HAIKU)
    try:
        assert user.says() == "Waiting for the device: in use by the model server"
        server.resume()
        user.gets_it()
        held_up = until(lambda: next((item for item in seen if isinstance(item, Waiting)), None))
        assert "busy with the job “Haiku”" in held_up.words
    finally:
        user.kill()
        asking.join(60)
    assert all(answer["done"] for answer in seen[-1])


def test_a_loaded_model_server_gives_way_and_stays_away_while_jobs_follow_each_other():
    client.compare_all(ADAPTERS[0], PROMPT, SHORT)
    with using("the job “One”") as first:
        second = DeviceUser("the job “Two”")
        try:
            assert second.says().startswith("Waiting")
            first.let_go()
            second.gets_it()
            with pytest.raises(gpu.Busy, match="busy with the job “Two”"):
                list(client.compare(ADAPTERS[0], PROMPT, SHORT))
        finally:
            second.kill()
    assert client.compare_all(ADAPTERS[0], PROMPT, SHORT)


def test_jobs_that_wait_for_the_same_device_are_counted_and_the_gap_between_two_is_left_to_them(monkeypatch):
    for name in ("Haiku", "Next", "Last"):
        jobs.add("training", name, "cpu")
    jobs.add("training", "Elsewhere", "cuda:7")
    jobs.claim(set())
    with using(HAIKU) as user, closing(asked()) as items:
        said = next(items)
        assert said.words == (
            "The computer is busy with the job “Haiku”; 2 more wait. "
            "Your answer comes by itself when they have finished."
        )
        user.let_go()
        assert gpu.busy_with("cpu") is None
        assert next(items) == said
        # The next one never comes: it was no promise.
        monkeypatch.setattr(waiting, "GAP_SECONDS", 0.5)
        *_, finished = items
    assert all(answer["done"] for answer in finished)


def test_a_question_with_a_fault_is_refused_at_once_and_not_after_the_job():
    with using(HAIKU), pytest.raises(StudioError, match="prompt is empty"):
        next(waiting.patiently(lambda: client.compare(ADAPTERS[0], " ", SHORT)))


def test_a_programs_question_waits_and_after_its_limit_says_who_is_busy(monkeypatch):
    with using(HAIKU) as user:
        monkeypatch.setattr(client, "MOST_WAITING_SECONDS", 1.5)
        begun = time.monotonic()
        with pytest.raises(gpu.Busy, match="busy with the job “Haiku”"):
            client.compare_all(ADAPTERS[0], PROMPT, SHORT)
        assert time.monotonic() - begun > 1.5
        monkeypatch.setattr(client, "MOST_WAITING_SECONDS", 60.0)
        threading.Timer(1.0, user.let_go).start()
        assert all(answer["done"] for answer in client.compare_all(ADAPTERS[0], PROMPT, SHORT))


def test_many_answers_wait_in_the_same_words_and_can_be_stopped(base_model_id):
    request = SideRequest(side="base", label="1", messages=[{"role": "user", "content": "Row 1?"}])
    told: list[str] = []
    stopped = threading.Event()
    with using(HAIKU) as user:
        begun = time.monotonic()
        threading.Timer(1.5, stopped.set).start()
        with pytest.raises(StudioError, match="stopped"):
            client.answers(base_model_id, [request], SHORT, stopped.is_set, told.append)
        assert time.monotonic() - begun < 4.0
        threading.Timer(1.0, user.let_go).start()
        assert client.answers(base_model_id, [request], SHORT, waits=told.append)[0]["done"]
    busy = "The computer is busy with the job “Haiku”. It goes on by itself when it has finished."
    assert told == [busy, busy, ""]


def test_a_server_that_is_killed_in_the_middle_is_started_again_once():
    items = asked(LONG)
    next(items)
    first = address.read()
    assert first is not None
    psutil.Process(first.process.pid).kill()
    said = next(item for item in items if isinstance(item, Waiting))
    assert said.words == "The model server has ended; it is started again. Your answer comes by itself."
    assert not isinstance(next(items), Waiting)
    second = address.read()
    assert second is not None and second.process != first.process
    psutil.Process(second.process.pid).kill()
    with pytest.raises(ServerGone, match="did not answer to the end"):
        list(items)


def test_a_page_that_is_killed_leaves_no_answer_and_no_server_behind():
    end_server()
    folder = str(config.current().data_dir)
    code = (
        "import sys\nfrom pathlib import Path\nfrom jobs.serving import client\n"
        "from jobs.serving.schema import CompareSettings\nfrom storage import config, database\n"
        "config.use(config.from_environment(data_dir=Path(sys.argv[1])))\ndatabase.connect()\n"
        "settings = CompareSettings(max_new_tokens=460)\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "while True:\n    for _ in client.compare(sys.argv[2], 'Row 3?', settings): print('.', flush=True)\n"
    )
    page = subprocess.Popen(
        [sys.executable, "-c", code, folder, ADAPTERS[0]],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert page.stdin is not None and page.stdout is not None
    assert page.stdout.readline() == b"ready\n"
    command = [sys.executable, "-m", "jobs.serving.server", "--data-dir", folder, "--idle-seconds", "4"]
    server = subprocess.Popen(command, cwd=PROJECT_ROOT)
    until(address.read)
    page.stdin.write(b"ask\n")
    page.stdin.flush()
    assert page.stdout.readline() == b".\n"
    os.kill(page.pid, signal.SIGKILL)
    page.wait()
    assert server.wait(60) == 0
    assert address.read() is None
