"""A disk that fills up under a training, for real: a small one is mounted for it."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from jobs import finishing, run_state, worker
from storage import files, jobs, trash
from storage.errors import DiskFull
from tests.faults import disk, recorded
from tests.faults.studio import finished, outcome


def test_a_full_disk_pauses_a_training_that_goes_on_by_itself_with_room(tmp_path: Path) -> None:
    with disk.small_studio(tmp_path) as studio:
        said = disk.actions(studio)
        assert all(disk.SENTENCE.fullmatch(words) for words in said.values()), said
        whole = outcome(finished(studio.submit()))
        words, told_after = disk.full_at(studio, "checkpoint file", whole)
        assert disk.PAUSED.fullmatch(words) and told_after.startswith("Paused by a full disk at step ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no file that is always full")
def test_a_worker_that_cannot_even_log_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    log = open("/dev/full", "w", buffering=1)  # noqa: SIM115  # closing it fails as well
    monkeypatch.setattr(sys, "stdout", log)
    worker.Worker(recorded.Inline()).say_once("the disk is full")
    with suppress(OSError):
        log.close()


def test_a_run_that_cannot_be_moved_to_the_trash_is_not_forgotten(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.request_stop(jobs.add("training", "tone", "cpu").id)
    run_state.write(job.id)

    def no_room(path: Path) -> None:
        raise DiskFull("The disk is full: 0 bytes free.")

    with monkeypatch.context() as full, pytest.raises(DiskFull):
        full.setattr(trash, "to_trash", no_room)
        finishing.forget(job)
    assert jobs.get(job.id).status == "stopped" and files.run_folder(job.id).exists()
    finishing.forget(job)
    assert [item.origin.name for item in trash.items()] == [job.id] and not jobs.list_all()
