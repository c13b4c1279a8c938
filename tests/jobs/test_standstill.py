"""Real workers and jobs, brought to a standstill."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import locks, standstill, worker
from jobs.executors import processes
from storage import files, jobs
from storage.errors import StudioError
from storage.jobs import Job
from tests.jobs.saving_jobs import MODULE
from tests.jobs.waiting import at_step, ended, kill, processes_of_home, until


@pytest.fixture
def page(home: Path) -> Iterator[Path]:
    """The test is the page; afterwards nothing that it started is left."""
    worker.hold_page_lock()
    yield home
    worker._page_locks.pop().close()
    with standstill.without_worker():
        for pid in processes_of_home():
            kill(pid)


def start() -> None:
    worker.start_worker(MODULE)
    until(worker.worker_is_alive)


def running(kind: str, step: int, **settings: object) -> Job:
    return at_step(jobs.add(kind, kind, "cpu", rank=8, settings=settings).id, step)


def test_without_a_worker_jobs_go_on_and_none_starts(page: Path) -> None:
    start()
    job = running("count", 3, steps=400, seconds=0.02)
    with standstill.without_worker():
        assert not worker.worker_is_alive()
        worker.start_worker(MODULE)
        events = files.attempt_folder(job.id, 1) / "events.jsonl"
        size = events.stat().st_size
        until(lambda: events.stat().st_size > size)
        time.sleep(1.5)
        assert not worker.worker_is_alive()
    start()
    assert ended(job.id).status == "finished"


def test_jobs_save_and_go_on_with_the_next_worker(page: Path) -> None:
    start()
    job = running("save", 12, steps=40, seconds=0.05)
    assert job.pid
    assert standstill.end_all() == []
    assert processes.handle_of(job.pid) is None and not worker.worker_is_alive()
    result = files.read_json(files.attempt_folder(job.id, 1) / "result.json")
    assert result["status"] == "interrupted" and jobs.get(job.id).attempt == 1
    start()
    after = ended(job.id)
    assert (after.status, after.attempt) == ("finished", 2)


def test_a_job_that_does_not_hear_is_waited_for_no_longer_than_the_grace(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standstill, "GRACE_SECONDS", 1.0)
    start()
    job = running("deaf", 3)
    began = time.monotonic()
    assert [left.id for left in standstill.end_all()] == [job.id]
    assert time.monotonic() - began < 6


def test_a_process_that_only_has_the_number_is_left_alone(page: Path) -> None:
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    jobs.add("count", "count", "cpu")
    job = jobs.claim(set())
    assert job
    real = until(lambda: processes.handle_of(innocent.pid))
    jobs.started(job.id, 1, real.pid, real.started - 1, real.boot_id)
    files.write_json(
        page / "worker.json", {"pid": real.pid, "started": real.started - 1, "boot_id": real.boot_id}
    )
    assert standstill.end_all() == []
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


def test_a_lock_that_nobody_lets_go_of_is_said_in_words(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "GIVE_UP_SECONDS", 0.2)
    (page / "worker.json").write_text("{")
    held = locks.take(page / "worker.lock")
    assert held
    with held, pytest.raises(StudioError, match="does not end"), standstill.without_worker():
        pass
