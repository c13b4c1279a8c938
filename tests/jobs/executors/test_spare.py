"""Real processes that wait for a job, get one, or are lost before."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import run_folder, warm
from jobs.executors import local, processes, spare
from jobs.executors.base import Handle
from jobs.executors.local import LocalExecutor
from storage import files
from tests.jobs.small_jobs import MODULE
from tests.jobs.waiting import kill, processes_of_home, until, waits


@pytest.fixture
def executor(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalExecutor]:
    """An executor of the small jobs, on a machine with memory enough; nothing that it started is left."""
    files.make_folders()
    monkeypatch.setattr(local, "SPARE_NEEDS_BYTES", 0)
    executor = LocalExecutor(MODULE)
    yield executor
    executor.close()
    for child in executor._children.values():
        child.kill()
        child.wait()
    assert processes_of_home() == []


def waiting(executor: LocalExecutor) -> int:
    """Have a process wait, ready; its number."""

    def look() -> list[int]:
        executor.prepare()  # as the worker does, again and again
        return processes_of_home(warm.OPTION) if waits() else []

    (pid,) = until(look)
    return pid


def folder_of(kind: str, job_id: str = "job", device: str = "cpu", **settings: object) -> Path:
    """The run folder of a small job, as a worker leaves it."""
    folder = files.run_folder(job_id)
    spec = {"job_id": job_id, "attempt": 1, "kind": kind, "name": "Foxes", "device": device}
    files.write_json(folder / "job.json", {**spec, "settings": settings})
    return folder


def status_of(executor: LocalExecutor, handle: Handle, folder: Path) -> object:
    """How the job has ended, once its process has."""
    until(lambda: not executor.is_alive(handle))
    result = run_folder.result_of(folder / "attempt-1")
    return result and result["status"]


def test_the_waiting_process_becomes_the_jobs_and_writes_to_its_log(executor: LocalExecutor) -> None:
    pid = waiting(executor)
    before = processes.handle_of(pid)
    folder = folder_of("break_down")
    handle = executor.start(folder, 1)
    assert handle == before
    assert status_of(executor, handle, folder) == "failed"
    assert run_folder.process_of(folder / "attempt-1") == handle
    assert "a detail for the log" in (folder / "log.txt").read_text()


def test_a_job_that_was_given_hears_sigterm_and_has_no_input(executor: LocalExecutor) -> None:
    waiting(executor)
    folder = folder_of("count", steps=500, seconds=0.1)
    handle = executor.start(folder, 1)
    until(lambda: (folder / "attempt-1" / "events.jsonl").exists())
    assert os.readlink(f"/proc/{handle.pid}/fd/0") == os.devnull
    assert os.getsid(handle.pid) == handle.pid
    executor.stop(handle)
    assert status_of(executor, handle, folder) == "interrupted"


def test_a_download_leaves_the_waiting_process_to_a_training(executor: LocalExecutor) -> None:
    pid = waiting(executor)
    download = executor.start(folder_of("count", "download", "network"), 1)
    assert download.pid != pid
    assert executor.start(folder_of("count"), 1).pid == pid


def test_a_dead_waiting_process_is_no_loss(executor: LocalExecutor) -> None:
    pid = waiting(executor)
    kill(pid)
    until(lambda: processes.handle_of(pid) is None)
    folder = folder_of("count")
    handle = executor.start(folder, 1)
    assert handle.pid != pid
    assert status_of(executor, handle, folder) == "finished"


def test_a_waiting_process_that_does_not_answer_is_ended(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare, "ANSWER_SECONDS", 0.3)
    pid = waiting(executor)
    os.kill(pid, signal.SIGSTOP)
    folder = folder_of("count")
    handle = executor.start(folder, 1)
    assert handle.pid != pid and processes.handle_of(pid) is None
    assert status_of(executor, handle, folder) == "finished"
    assert run_folder.process_of(folder / "attempt-1") == handle


def test_a_job_may_come_while_the_process_still_imports(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARM_MODULES", "tests.jobs.slow_module")
    executor.prepare()
    (pid,) = processes_of_home(warm.OPTION)
    folder = folder_of("count")
    began = time.monotonic()
    handle = executor.start(folder, 1)
    assert handle.pid == pid
    assert time.monotonic() - began < 1.0  # the worker has other jobs to look after
    assert status_of(executor, handle, folder) == "finished"


def test_a_process_that_never_ends_its_imports_gets_no_job(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARM_MODULES", "tests.jobs.slow_module")
    monkeypatch.setattr(spare, "IMPORT_SECONDS", 0.0)
    executor.prepare()
    (pid,) = processes_of_home(warm.OPTION)
    folder = folder_of("count")
    handle = executor.start(folder, 1)
    assert handle.pid != pid
    assert status_of(executor, handle, folder) == "finished"


def test_a_module_that_cannot_be_imported_is_left_to_the_job(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARM_MODULES", "tests.no_such_module")
    pid = waiting(executor)
    assert "ModuleNotFoundError" in files.log_path(spare.LOG).read_text()
    folder = folder_of("count")
    handle = executor.start(folder, 1)
    assert handle.pid == pid
    assert status_of(executor, handle, folder) == "finished"


def test_one_that_dies_is_not_replaced_at_once(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = waiting(executor)
    executor.prepare()
    assert processes_of_home() == [pid]
    kill(pid)
    until(lambda: processes.handle_of(pid) is None)
    executor.prepare()
    assert processes_of_home() == []
    monkeypatch.setattr(executor, "_no_spare_before", 0.0)
    assert waiting(executor) != pid


def test_none_waits_where_memory_is_short(executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "SPARE_NEEDS_BYTES", 1 << 60)
    executor.prepare()
    assert processes_of_home() == []
