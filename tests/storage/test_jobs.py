"""The queue gives each job once and in order, and only the current attempt can change it."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import checkpoints, jobs, metrics
from storage.errors import StudioError

Child = Callable[..., "subprocess.Popen[str]"]

# Everything a job's process or its worker may do in the name of an attempt.
ACTIONS: dict[str, Callable[[str, int], object]] = {
    "started": lambda id, attempt: jobs.started(id, attempt, 77, 1.0, "boot"),
    "update": lambda id, attempt: jobs.update(id, attempt, step=9),
    "finish": lambda id, attempt: jobs.finish(id, attempt, "finished", adapter_id="bcdf"),
    "requeue": lambda id, attempt: jobs.requeue(id, attempt),
    "take_in": lambda id, attempt: metrics.take_in(id, attempt, [(9, "loss", 1.0)], 99),
    "checkpoint": lambda id, attempt: metrics.take_in(
        id, attempt, [], 99, saved=[{"step": 9, "folder": "attempt-1/states/9", "at": 7.0}]
    ),
}


def test_a_new_job_waits_with_its_settings(home: Path) -> None:
    job = jobs.add("training", "tone", "cpu", "dataset", "starter", 8, {"epochs": 3})
    assert (job.status, job.attempt, job.step, job.settings) == ("queued", 0, 0, {"epochs": 3})
    assert jobs.get(job.id) == job
    assert jobs.count("queued") == 1


def test_an_unknown_job_is_explained(home: Path) -> None:
    for ask in (jobs.get, jobs.request_stop):
        with pytest.raises(StudioError, match="no job 'nonesuch'"):
            ask("nonesuch")


def test_the_same_request_makes_one_job(home: Path) -> None:
    first = jobs.add("training", "tone", "cpu", request_key="click")
    assert jobs.add("training", "other", "cpu", request_key="click") == first
    assert jobs.add("training", "tone", "cpu").id != jobs.add("training", "tone", "cpu").id
    assert jobs.count("queued") == 3


def test_the_same_request_from_several_processes_makes_one_job(home: Path, child: Child) -> None:
    script, soon = "print(jobs.add('training', 'x', 'cpu', request_key='click').id)", time.time() + 2
    children = [child(script, together=soon) for _ in range(3)]
    assert len({process.communicate()[0] for process in children}) == 1
    assert jobs.count("queued") == 1


def test_lists_are_newest_first_and_filtered(home: Path) -> None:
    a, b, c = (jobs.add(kind, kind, "cpu") for kind in ("training", "fetch", "training"))
    assert [job.id for job in jobs.list_all()] == [c.id, b.id, a.id]
    assert [job.id for job in jobs.list_all(("fetch", "training"))] == [c.id, b.id, a.id]
    assert (jobs.count("queued"), jobs.count("queued", "fetch"), jobs.count("queued", ("none",))) == (3, 1, 0)
    assert [job.id for job in jobs.list_all(kind="training", limit=1)] == [c.id]
    jobs.request_stop(a.id)
    assert [job.id for job in jobs.list_all(status="stopped")] == [a.id]


def test_jobs_are_claimed_in_the_order_of_asking_even_when_the_clock_goes_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = jobs.add("training", "first", "cpu")
    monkeypatch.setattr(jobs.time, "time", lambda: first.created_at - 86400)
    jobs.add("training", "second", "cpu")
    claimed = jobs.claim(set())
    assert claimed is not None and claimed.id == first.id
    assert (claimed.status, claimed.attempt) == ("running", 1)


def test_a_busy_device_holds_up_its_own_jobs_only(home: Path) -> None:
    gpu, cpu = jobs.add("training", "a", "cuda:0"), jobs.add("training", "b", "cpu")
    claimed = jobs.claim({"cuda:0"})
    assert claimed is not None and claimed.id == cpu.id
    assert jobs.claim({"cuda:0", "cpu"}) is None
    assert jobs.get(gpu.id).status == "queued"


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS.keys())
def test_a_stale_attempt_changes_nothing(running_job: jobs.Job, action: Callable[[str, int], object]) -> None:
    assert jobs.requeue(running_job.id, 1)
    waiting = jobs.get(running_job.id)
    assert not action(running_job.id, 1)
    assert jobs.get(running_job.id) == waiting
    second = jobs.claim(set())
    assert second is not None and second.attempt == 2
    assert not action(running_job.id, 1)
    assert jobs.get(running_job.id) == second
    assert metrics.since(second.id, 0) == [] and checkpoints.list_of(second.id) == []
    assert action(running_job.id, 2)


@pytest.mark.parametrize("status", ["finished", "failed", "stopped"])
@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS.keys())
def test_an_ended_job_changes_no_more(
    running_job: jobs.Job, action: Callable[[str, int], object], status: str
) -> None:
    assert jobs.finish(running_job.id, 1, status)  # type: ignore[arg-type]
    ended = jobs.get(running_job.id)
    assert ended.status == status and ended.finished_at is not None
    assert not action(running_job.id, 1)
    assert jobs.get(running_job.id) == ended


def test_a_failure_keeps_both_its_sentences(running_job: jobs.Job) -> None:
    error = StudioError("The loss is not a number.", "Lower the learning rate.")
    assert jobs.finish(running_job.id, 1, "failed", error=error, result={"steps": 3})
    job = jobs.get(running_job.id)
    assert (job.error_message, job.error_remedy) == (error.message, error.remedy)
    assert job.result == {"steps": 3}


def test_what_an_attempt_said_of_itself_is_forgotten_by_the_next(running_job: jobs.Job) -> None:
    said = {"notes": ["packed"], "foreseen_seconds": 9.0, "foreseen_peak_bytes": 1 << 40}
    assert jobs.update(running_job.id, 1, **said)
    job = jobs.get(running_job.id)
    assert (job.notes, job.foreseen_seconds, job.foreseen_peak_bytes) == (["packed"], 9.0, 1 << 40)
    jobs.requeue(job.id, 1)
    job = jobs.claim(set())
    assert job is not None
    assert (job.notes, job.foreseen_seconds, job.foreseen_peak_bytes) == ([], None, None)


def test_the_process_of_an_attempt_is_forgotten_by_the_next(running_job: jobs.Job) -> None:
    assert jobs.started(running_job.id, 1, 77, 123.5, "boot")
    assert metrics.take_in(running_job.id, 1, [], 400, step=5)
    job = jobs.get(running_job.id)
    assert (job.pid, job.process_started, job.boot_id, job.events_offset) == (77, 123.5, "boot", 400)
    jobs.requeue(running_job.id, 1)
    again = jobs.claim(set())
    assert again is not None
    assert (again.pid, again.process_started, again.boot_id, again.events_offset) == (None, None, None, 0)
    assert again.step == 5 and again.started_at == running_job.started_at


def test_stopping_a_waiting_job_ends_it(home: Path) -> None:
    job = jobs.request_stop(jobs.add("training", "a", "cpu").id)
    assert job.status == "stopped" and job.finished_at is not None
    assert jobs.claim(set()) is None


def test_stopping_a_running_job_asks_it_and_can_be_repeated(running_job: jobs.Job) -> None:
    assert jobs.request_stop(running_job.id).status == "stopping"
    assert jobs.request_stop(running_job.id).status == "stopping"
    assert jobs.update(running_job.id, 1, step=7)
    assert not jobs.requeue(running_job.id, 1), "what the user stops does not start again"
    assert jobs.finish(running_job.id, 1, "stopped")
    ended = jobs.get(running_job.id)
    assert jobs.request_stop(running_job.id) == ended


def test_a_running_job_cannot_be_removed_an_ended_one_takes_its_metrics_along(running_job: jobs.Job) -> None:
    state = {"step": 1, "folder": "attempt-1/states/1", "at": 7.0}
    metrics.take_in(running_job.id, 1, [(1, "loss", 2.0)], 10, saved=[state])
    with pytest.raises(StudioError, match="still running"):
        jobs.remove(running_job.id)
    jobs.finish(running_job.id, 1, "stopped")
    jobs.remove(running_job.id)
    jobs.remove(running_job.id)
    assert jobs.list_all() == []
    assert metrics.since(running_job.id, 0) == [] and checkpoints.list_of(running_job.id) == []


def test_a_field_that_does_not_exist_is_a_mistake(running_job: jobs.Job) -> None:
    with pytest.raises(Exception, match="nonesuch"):
        jobs.update(running_job.id, 1, nonesuch=1)


def test_a_job_that_waits_for_room_is_passed_over_until_there_is_some(home: Path) -> None:
    first, second = jobs.add("training", "a", "cpu"), jobs.add("training", "b", "cpu")
    jobs.claim(set())
    assert jobs.requeue(first.id, 1, paused_for="The disk is full.", needs_bytes=1000)
    claimed = jobs.claim(set(), free_bytes=999)
    assert claimed and claimed.id == second.id
    assert jobs.claim(set(), free_bytes=999) is None
    claimed = jobs.claim(set(), free_bytes=1000)
    assert claimed and (claimed.id, claimed.attempt, claimed.paused_for) == (first.id, 2, None)


def test_interruptions_add_up_and_a_retry_forgives_them(running_job: jobs.Job) -> None:
    for attempt in (1, 2):
        jobs.requeue(running_job.id, attempt, {"attempt": attempt, "step": 9, "counted": True})
        assert jobs.claim(set())
    assert [one["attempt"] for one in jobs.get(running_job.id).interruptions] == [1, 2]
    jobs.finish(running_job.id, 3, "failed", error=StudioError("It broke.", "Mend it."))
    again = jobs.retry(running_job.id)
    assert (again.status, again.error_message, again.finished_at, again.attempt) == ("queued", None, None, 3)
    assert [one["counted"] for one in again.interruptions] == [False, False]
    assert jobs.retry(running_job.id) == again


@pytest.mark.parametrize("status", ["queued", "running", "stopping", "finished"])
def test_only_what_ended_without_a_result_is_retried(home: Path, status: str) -> None:
    job = jobs.add("training", "tone", "cpu")
    if status != "queued":
        jobs.claim(set())
    if status == "stopping":
        jobs.request_stop(job.id)
    if status == "finished":
        jobs.finish(job.id, 1, "finished")
    before = jobs.get(job.id)
    assert before.status == status and jobs.retry(job.id) == before


def test_deleting_stops_a_job_first_and_asks_nothing_of_one_that_is_gone(home: Path) -> None:
    waits, runs = jobs.add("training", "a", "cuda:0"), jobs.add("training", "b", "cpu")
    jobs.claim({"cuda:0"})
    for _ in range(2):
        assert (marked := jobs.request_delete(waits.id)) and marked.status == "stopped"
        assert (marked := jobs.request_delete(runs.id)) and marked.status == "stopping"
    assert jobs.claim(set()) is None
    assert [job.id for job in jobs.marked_for_deletion()] == [waits.id]
    jobs.finish(runs.id, 1, "stopped")
    assert jobs.retry(runs.id).status == "stopped"
    for job in jobs.marked_for_deletion():
        jobs.remove(job.id)
    assert jobs.list_all() == [] and jobs.request_delete(waits.id) is None


def test_a_restored_job_is_the_one_that_was_described(running_job: jobs.Job) -> None:
    jobs.requeue(running_job.id, 1, {"attempt": 1, "step": 9}, "The disk is full.", 5)
    described = dataclasses.asdict(jobs.get(running_job.id))
    assert not jobs.restore(described)
    jobs.remove(running_job.id)
    assert jobs.restore({**described, "number": 7})
    assert dataclasses.asdict(jobs.get(running_job.id)) == {**described, "number": 7}
    assert jobs.add("training", "next", "cpu").number == 8
