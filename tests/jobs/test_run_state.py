"""Run folders tell of their jobs, whatever came between."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest

from jobs import queue, run_state
from storage import files, jobs
from storage.errors import DiskFull


def told(job_id: str) -> dict[str, object] | None:
    return run_state.read(job_id)


def row(job_id: str) -> dict[str, object]:
    found: dict[str, object] = files.json_safe(dataclasses.asdict(jobs.get(job_id)))
    return found


def test_what_is_asked_of_the_queue_is_in_the_folder_when_the_answer_comes(home: Path) -> None:
    first, second = (jobs.add("training", name, "cpu") for name in "ab")
    queue.move(second.id, "first")
    assert told(first.id) == row(first.id) and told(second.id) == row(second.id)
    queue.stop(first.id)
    assert told(first.id) == row(first.id) and row(first.id)["status"] == "stopped"
    queue.retry(first.id)
    assert told(first.id) == row(first.id) and row(first.id)["status"] == "queued"


def test_a_full_disk_loses_no_change_and_the_next_worker_makes_it_good(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.add("training", "a", "cpu")
    run_state.write(job.id)

    def full(*_values: object, **_named: object) -> None:
        raise DiskFull("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", full)
        assert queue.stop(job.id).status == "stopped"
    assert told(job.id) != row(job.id)
    run_state.write_missing()
    assert told(job.id) == row(job.id)


def test_the_newest_state_stays_however_many_write(home: Path) -> None:
    job = jobs.add("training", "a", "cpu")
    jobs.claim(set())

    def change(first: int) -> None:
        for step in range(first, first + 20):
            jobs.update(job.id, 1, step=step)
            run_state.write(job.id)

    threads = [threading.Thread(target=change, args=(100 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told(job.id) == row(job.id)


def test_a_folder_without_a_readable_state_tells_nothing(home: Path) -> None:
    assert told("nonesuch") is None
    (files.run_folder("torn")).mkdir()
    (files.run_folder("torn") / run_state.STATE_FILE).write_text('{"id": "to')
    assert told("torn") is None


def test_a_job_that_is_being_deleted_gets_no_new_folder(home: Path) -> None:
    job = jobs.add("training", "a", "cpu")
    jobs.claim(set())
    jobs.request_delete(job.id)
    run_state.write(job.id)
    assert not files.run_folder(job.id).exists()
