"""Checkpoints are remembered once each, latest first."""

from __future__ import annotations

from storage import checkpoints, jobs


def test_the_latest_step_is_first(running_job: jobs.Job) -> None:
    for step in (10, 30, 20):
        checkpoints.add(running_job.id, 1, step, f"attempt-1/checkpoints/{step}", held_out_loss=1 / step)
    assert [checkpoint.step for checkpoint in checkpoints.list_of(running_job.id)] == [30, 20, 10]


def test_the_same_folder_is_remembered_once(running_job: jobs.Job) -> None:
    first = checkpoints.add(running_job.id, 1, 10, "attempt-1/checkpoints/10")
    assert first is not None
    assert checkpoints.add(running_job.id, 1, 10, "attempt-1/checkpoints/10") == first
    assert checkpoints.list_of(running_job.id) == [first]


def test_a_removed_one_is_gone_and_stays_so(running_job: jobs.Job) -> None:
    checkpoint = checkpoints.add(running_job.id, 1, 10, "attempt-1/checkpoints/10")
    assert checkpoint is not None
    checkpoints.remove(checkpoint.id)
    checkpoints.remove(checkpoint.id)
    assert checkpoints.list_of(running_job.id) == []
