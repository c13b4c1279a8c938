"""States of ended runs are deleted for good; those of runs that wait, train or go on again are not."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from jobs import clearing, queue
from storage import checkpoints, files, jobs, metrics

STATE_BYTES = 1000


def run(name: str = "tone") -> str:
    """A run under way with one saved state of STATE_BYTES."""
    jobs.add("training", name, name)
    job = jobs.claim(set())
    assert job is not None and job.name == name
    save(job.id, 1, 100)
    return job.id


def save(job_id: str, attempt: int, step: int) -> Path:
    folder = files.attempt_folder(job_id, attempt) / "states" / f"step-{step:08d}-000000"
    folder.mkdir(parents=True)
    (folder / "state.safetensors").write_bytes(b"x" * STATE_BYTES)
    saved = [{"step": step, "folder": str(folder.relative_to(files.run_folder(job_id))), "at": 1.0}]
    assert metrics.take_in(job_id, attempt, [], step, saved=saved, step=step)
    return folder


def states(job_id: str) -> list[Path]:
    return list(files.run_folder(job_id).rglob("state.safetensors"))


@pytest.mark.parametrize("status", ["failed", "stopped", "finished"])
def test_states_of_an_ended_run_are_deleted_and_forgotten(home: Path, status: Any) -> None:
    job_id = run()
    (files.run_folder(job_id) / "log.txt").write_text("kept")
    jobs.finish(job_id, 1, status)
    assert clearing.ended_bytes() == STATE_BYTES
    assert clearing.delete_ended() == STATE_BYTES
    assert states(job_id) == [] and checkpoints.list_of(job_id) == []
    assert (files.run_folder(job_id) / "log.txt").is_file()
    assert clearing.delete_ended() == clearing.ended_bytes() == 0


def test_states_of_runs_that_wait_or_train_are_kept(home: Path) -> None:
    waiting, running, stopping = run("waiting"), run("running"), run("stopping")
    jobs.requeue(waiting, 1, paused_for="The disk is full.")
    jobs.request_stop(stopping)
    assert clearing.ended_bytes() == clearing.delete_ended() == 0
    for job_id in (waiting, running, stopping):
        assert len(states(job_id)) == len(checkpoints.list_of(job_id)) == 1


def test_a_file_that_attempts_share_counts_once(home: Path) -> None:
    job_id = run()
    jobs.requeue(job_id, 1)
    assert jobs.claim(set()) is not None
    second = files.attempt_folder(job_id, 2) / "states" / "step-00000100-000000"
    second.mkdir(parents=True)
    os.link(states(job_id)[0], second / "state.safetensors")
    jobs.finish(job_id, 2, "stopped")
    assert clearing.ended_bytes() == STATE_BYTES
    assert clearing.delete_ended() == STATE_BYTES
    assert states(job_id) == []


def test_a_run_that_goes_on_at_that_moment_keeps_its_states(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = run()
    jobs.finish(job_id, 1, "stopped")
    keep_only = checkpoints.keep_only

    def forget_while_it_goes_on(id: str, folders: Collection[str]) -> None:
        keep_only(id, folders)
        queue.retry(id)

    monkeypatch.setattr(checkpoints, "keep_only", forget_while_it_goes_on)
    assert clearing.delete_ended() == 0
    assert [path.parent.parent.name for path in states(job_id)] == ["states"]


def test_what_a_crash_left_half_deleted_goes_with_the_next_time(home: Path) -> None:
    job_id = run()
    jobs.finish(job_id, 1, "stopped")
    folder = files.attempt_folder(job_id, 1) / "states"
    folder.rename(folder.with_name("states.deleting"))
    assert clearing.ended_bytes() == STATE_BYTES
    assert clearing.delete_ended() == STATE_BYTES
    assert states(job_id) == []


def test_a_link_is_never_followed(home: Path, tmp_path: Path) -> None:
    job_id = run()
    jobs.finish(job_id, 1, "stopped")
    elsewhere = tmp_path / "elsewhere"
    (files.attempt_folder(job_id, 1) / "states").rename(elsewhere)
    (files.attempt_folder(job_id, 1) / "states").symlink_to(elsewhere)
    assert clearing.ended_bytes() == clearing.delete_ended() == 0
    assert (files.attempt_folder(job_id, 1) / "states").is_symlink()
    assert list(elsewhere.rglob("state.safetensors"))
