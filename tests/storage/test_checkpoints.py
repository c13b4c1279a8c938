"""Checkpoints are remembered once each, latest first, and forgotten when their folders are gone."""

from __future__ import annotations

from storage import checkpoints, jobs, metrics


def saved(*steps: int) -> list[dict[str, object]]:
    return [{"step": step, "folder": f"attempt-1/states/{step}", "at": 7.0} for step in steps]


def steps_of(job: jobs.Job) -> list[int]:
    return [checkpoint.step for checkpoint in checkpoints.list_of(job.id)]


def test_the_latest_step_is_first_and_each_is_there_once(running_job: jobs.Job) -> None:
    for _ in range(2):
        assert metrics.take_in(running_job.id, 1, [], 1, saved=saved(10, 30, 20))
    assert steps_of(running_job) == [30, 20, 10]


def test_pruned_folders_are_forgotten_with_the_event_that_says_so(running_job: jobs.Job) -> None:
    metrics.take_in(running_job.id, 1, [], 1, saved=saved(10, 20))
    kept = ["attempt-1/states/20", "attempt-1/states/30"]
    metrics.take_in(running_job.id, 1, [], 2, saved=saved(30), kept=kept)
    assert steps_of(running_job) == [30, 20]


def test_a_stale_attempt_adds_and_prunes_nothing(running_job: jobs.Job) -> None:
    metrics.take_in(running_job.id, 1, [], 1, saved=saved(10))
    assert jobs.requeue(running_job.id, 1) and jobs.claim(set())
    assert not metrics.take_in(running_job.id, 1, [], 2, saved=saved(20), kept=[])
    assert steps_of(running_job) == [10]


def test_a_finished_job_has_none_left_and_a_stopped_one_keeps_them(running_job: jobs.Job) -> None:
    metrics.take_in(running_job.id, 1, [], 1, saved=saved(10))
    jobs.finish(running_job.id, 1, "stopped")
    assert steps_of(running_job) == [10]
    jobs.retry(running_job.id)
    jobs.claim(set())
    jobs.finish(running_job.id, 2, "finished")
    assert steps_of(running_job) == []


def test_forgotten_ones_stay_forgotten(running_job: jobs.Job) -> None:
    metrics.take_in(running_job.id, 1, [], 1, saved=saved(10))
    for _ in range(2):
        checkpoints.keep_only(running_job.id, [])
    assert steps_of(running_job) == []
