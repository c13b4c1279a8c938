"""How a worker, a job's process and a further attempt begin."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from jobs import worker
from jobs.executors.local import LocalExecutor
from storage import jobs, metrics


class Child:
    """A process that has been started and does nothing yet."""

    started = 0
    ended = threading.Event()

    def __init__(self, *_: Any, **__: Any) -> None:
        Child.started += 1

    def poll(self) -> int | None:
        return 0 if self.ended.is_set() else None

    def wait(self) -> int:
        self.ended.wait()
        return 0


def test_a_worker_that_is_being_started_is_not_started_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", Child)
    monkeypatch.setattr(worker, "_started", [])  # other tests start workers of other data folders
    for _ in range(5):  # on a busy computer it still imports when the page looks again
        worker.start_worker()
    assert Child.started == 1
    Child.ended.set()
    worker.start_worker()
    assert Child.started == 2


def test_a_job_has_a_session_of_its_own(home: Path) -> None:
    handle = LocalExecutor("platform").start(
        home, 1
    )  # any module; its remains have their session until they are reaped
    assert os.getsid(handle.pid) == handle.pid != os.getsid(0)


def test_a_further_attempts_events_are_read_from_their_beginning(home: Path) -> None:
    job = jobs.add("training", "tone", "cpu")
    jobs.claim(set())
    assert metrics.take_in(job.id, 1, [(1, "loss", 2.0)], 500) and jobs.get(job.id).events_offset == 500
    jobs.requeue(job.id, 1)
    again = jobs.claim(set())
    assert again is not None and (again.attempt, again.events_offset) == (2, 0)
