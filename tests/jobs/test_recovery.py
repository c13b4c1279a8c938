"""Jobs whose processes died go on by themselves, as long as that is of use, and say what happened."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import gpu, queue, recovery, run_folder, run_state, worker
from jobs.executors import processes
from jobs.executors.local import LocalExecutor
from storage import files, jobs, metrics
from storage.jobs import Job
from tests.jobs.small_jobs import MODULE
from tests.jobs.waiting import at_step, ended, until


@pytest.fixture
def page(home: Path) -> Iterator[Path]:
    """The test is the page, with a worker; afterwards nothing that it started is left."""
    worker.hold_page_lock()
    worker.start_worker(MODULE)
    yield home
    worker._page_locks.pop().close()
    for status in ("queued", "running"):
        for job in jobs.list_all(status=status):
            queue.stop(job.id)
    until(lambda: not worker.worker_is_alive(), 90)


def submit(kind: str, **settings: object) -> Job:
    return jobs.add(kind, kind, "cpu", dataset_id="d", base_model_id="b", rank=8, settings=settings)


def test_a_killed_job_goes_on_by_itself_and_says_where_it_was_interrupted(page: Path) -> None:
    job = ended(submit("die", steps=9, deaths=[4]).id)
    assert (job.status, job.attempt, job.step) == ("finished", 2, 9)
    assert recovery.sentences(job) == ["Interrupted at step 4; started again (attempt 2)."]
    assert [metric.step for metric in metrics.all_of(job.id, "loss")] == list(range(1, 10))


def test_a_job_that_comes_no_further_is_not_started_for_ever(page: Path) -> None:
    job = ended(submit("die", steps=9, deaths=[4, 4, 4]).id)
    assert (job.status, job.attempt) == ("failed", 2)
    assert job.error_message and job.error_message.startswith("Interrupted at step 4 again, without")


def test_a_job_that_kills_its_process_again_and_again_is_started_three_times(page: Path) -> None:
    job = ended(submit("die", steps=9, deaths=[1, 2, 3, 4, 5]).id)
    assert (job.status, job.attempt, len(job.interruptions)) == ("failed", 4, 3)
    assert job.error_message and "for the 4th time" in job.error_message
    again = queue.retry(job.id)
    assert again.status == "queued"
    # A fifth death counts anew, since somebody has looked at it.
    assert (ended(job.id).status, jobs.get(job.id).attempt) == ("finished", 6)


@pytest.mark.parametrize("kind", ["refuse", "break_down", "forget"])
def test_a_failure_of_its_own_is_never_repeated(page: Path, kind: str) -> None:
    job = ended(submit(kind).id)
    assert (job.status, job.attempt, job.interruptions) == ("failed", 1, [])


def test_what_the_system_asks_to_end_goes_on_afterwards(page: Path) -> None:
    job = submit("count", steps=30, seconds=0.1)
    running = at_step(job.id, 3)
    assert running.pid and running.pid > 1
    os.kill(running.pid, signal.SIGTERM)
    job = ended(job.id)
    assert (job.status, job.attempt) == ("finished", 2)
    (sentence,) = recovery.sentences(job)
    assert sentence.startswith("Stopped safely at step ") and sentence.endswith("started again (attempt 2).")
    assert job.interruptions[0]["counted"] is False


def test_a_full_disk_pauses_and_room_lets_it_go_on(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submit("fill_up")
    job = until(lambda: (now := jobs.get(job.id)).paused_for and now)
    assert (job.status, job.needs_bytes) == ("queued", 123_000_000)
    assert "needs 123.0 MB" in job.paused_for and "last checkpoint kept" in job.paused_for
    (page / "roomy").touch()
    assert ended(job.id).status == "finished"


def test_a_waiting_job_says_that_it_waits_for_room_and_begins_when_there_is_some(page: Path) -> None:
    job = jobs.add("count", "count", "cpu", needs_bytes=10**15)
    paused = until(lambda: (now := jobs.get(job.id)).paused_for and now)
    assert "needs 1" in paused.paused_for and "It begins when there is room." in paused.paused_for
    until(lambda: run_state.read(job.id) == files.json_safe(dataclasses.asdict(paused)))
    other = submit("count", steps=2)
    assert ended(other.id).status == "finished" and jobs.get(job.id).attempt == 0


def test_a_silent_job_is_said_to_hang_and_stop_ends_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SILENT_SECONDS", 0.0)
    in_process = worker.Worker(LocalExecutor(MODULE))
    job = submit("hang")

    def silent() -> bool:
        assert in_process.look_after_all()
        now = jobs.get(job.id)
        return now.step == 1 and now.silent_seconds is not None

    until(silent)
    queue.stop(job.id)
    until(lambda: in_process.look_after_all() and jobs.get(job.id).status == "stopped")
    assert jobs.get(job.id).silent_seconds is None


def test_want_of_memory_ends_a_job_for_good(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = claimed(submit("count"))
    run_folder.reserve(files.attempt_folder(job.id, 1))
    monkeypatch.setattr(processes, "memory_kills", lambda counter: 10**6)
    in_process = worker.Worker(LocalExecutor(MODULE))
    jobs.started(job.id, 1, 2**22 + 1, 1.0, processes.boot_id())
    in_process.look_after_all()
    job = jobs.get(job.id)
    assert job.status == "failed" and job.error_message and "out of memory" in job.error_message


def test_a_restart_of_the_computer_is_named(home: Path) -> None:
    job = claimed(submit("count"))
    jobs.update(job.id, 1, step=120, total_steps=200)
    jobs.started(job.id, 1, os.getpid(), 1.0, "an earlier boot")
    in_process = worker.Worker(LocalExecutor(MODULE))
    in_process.look_after_all()
    job = until(
        lambda: in_process.look_after_all() and (now := jobs.get(job.id)).status == "finished" and now
    )
    assert recovery.sentences(job) == [
        "Interrupted at step 120 by a restart of the computer; started again (attempt 2)."
    ]


def test_a_deleted_job_ends_first_and_its_folder_lies_in_the_trash(page: Path) -> None:
    runs, waits = submit("count", steps=500, seconds=0.1), submit("count")
    run_state.write(waits.id)
    at_step(runs.id, 1)
    for _ in range(2):
        queue.delete(waits.id)
        queue.delete(runs.id)
    until(lambda: not jobs.list_all())
    assert not files.run_folder(runs.id).exists() and not files.run_folder(waits.id).exists()
    names = {path.name for path in (page / "trash").rglob("*")}
    assert any(runs.id in name for name in names) and any(waits.id in name for name in names)


def test_a_stopped_job_goes_on_when_it_is_retried_however_often(page: Path) -> None:
    job = submit("count", steps=60, seconds=0.05)
    at_step(job.id, 2)
    queue.stop(job.id)
    assert ended(job.id).status == "stopped"
    assert {queue.retry(job.id).status for _ in range(5)} <= {"queued", "running"}
    job = ended(job.id)
    assert (job.status, job.attempt) == ("finished", 2)


def test_the_folder_tells_of_every_change(page: Path) -> None:
    job = queue.stop(submit("count").id)
    job = ended(submit("die", steps=9, deaths=[4]).id)
    for told in jobs.list_all():
        assert until(lambda told=told: run_state.read(told.id) == files.json_safe(dataclasses.asdict(told)))
    assert run_state.read(job.id)["interruptions"][0]["step"] == 4  # type: ignore[index]


def claimed(job: Job) -> Job:
    found = jobs.claim(set())
    assert found and found.id == job.id
    return found


def interrupted(why: str, step: int = 120, **more: Any) -> dict[str, Any]:
    return {"attempt": 1, "step": step, "from": None, "why": why, "counted": True, **more}


@pytest.mark.parametrize(
    ("interruptions", "now", "sentences"),
    [
        (
            [interrupted("")],
            {"attempt": 2, "resumed_from": 100},
            ["Interrupted at step 120; resumed from 100 (attempt 2)."],
        ),
        (
            [interrupted("")],
            {"attempt": 1, "status": "queued"},
            ["Interrupted at step 120; it goes on by itself."],
        ),
        (
            [interrupted("")],
            {"attempt": 2, "phase": ""},
            ["Interrupted at step 120; starting again (attempt 2)."],
        ),
        (
            [interrupted(""), {**interrupted(recovery.ASKED, 150), "attempt": 2, "from": 100}],
            {"attempt": 3, "resumed_from": 150},
            [
                "Interrupted at step 120; resumed from 100 (attempt 2).",
                "Stopped safely at step 150; resumed from 150 (attempt 3).",
            ],
        ),
        (
            [interrupted(recovery.FULL)],
            {"attempt": 2, "resumed_from": 120},
            ["Paused by a full disk at step 120; resumed from 120 (attempt 2)."],
        ),
        ([], {"attempt": 2, "resumed_from": 100}, ["Resumed from step 100 (attempt 2)."]),
        ([], {"attempt": 1}, []),
    ],
)
def test_what_happened_in_words(
    home: Path, interruptions: list[dict[str, Any]], now: dict[str, Any], sentences: list[str]
) -> None:
    fields = {"status": "running", "phase": "Training", "total_steps": 200, **now}
    job = dataclasses.replace(submit("count"), interruptions=interruptions, **fields)
    assert recovery.sentences(job) == sentences


@pytest.mark.parametrize(
    ("before", "now", "goes_on"),
    [
        ([], {"step": 0}, True),
        ([{"step": 5}], {"step": 6}, True),
        ([{"step": 5}], {"step": 5}, False),
        ([{"step": 5, "saved": 2}], {"step": 4, "saved": 3}, True),
        ([{"step": 0, "done": 10}], {"step": 0, "done": 11}, True),
        ([{"step": 1}, {"step": 2}, {"step": 3}], {"step": 9}, False),
        ([{"step": 1, "counted": False}] * 9, {"step": 1}, True),
    ],
)
def test_what_goes_on_by_itself(
    home: Path, before: list[dict[str, Any]], now: dict[str, Any], goes_on: bool
) -> None:
    usual = {"step": 0, "done": 0, "saved": 0, "counted": True}
    job = dataclasses.replace(submit("count"), interruptions=[{**usual, **one} for one in before])
    assert (recovery.refusal(job, {**usual, **now}) is None) is goes_on


@pytest.mark.parametrize("lane", gpu.ASKING)
def test_a_job_that_waits_for_the_model_server_is_not_given_up_for_getting_no_further(
    home: Path, lane: str
) -> None:
    waits = dataclasses.replace(submit("count"), device=lane, phase_done=3)
    killed = recovery.interruption(waits, recovery.KILLED)
    assert (
        killed["counted"]
        and recovery.refusal(dataclasses.replace(waits, interruptions=[killed]), killed) is None
    )
    thrice = dataclasses.replace(waits, interruptions=[killed] * 3)
    assert recovery.refusal(thrice, killed) is not None, "what is killed again and again still ends"
    assert recovery.interruption(waits, recovery.RESTARTED)["counted"] is False
    assert recovery.interruption(submit("count"), recovery.RESTARTED)["counted"] is True
