"""Processes that are told apart from later ones with the same number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.executors import processes
from jobs.executors.base import Handle
from jobs.executors.local import LocalExecutor
from storage.errors import StudioError
from tests.jobs.waiting import until


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)


def test_a_process_is_known_by_more_than_its_number() -> None:
    own = processes.own_handle()
    assert own.pid == os.getpid() and processes.is_running(own)
    assert not processes.is_running(replace(own, started=own.started + 1))
    assert not processes.is_running(replace(own, boot_id="another boot"))


def test_the_remains_of_a_process_do_not_run() -> None:
    child = sleeper()
    handle = processes.handle_of(child.pid)
    assert handle and processes.is_running(handle)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie: ended, and nobody asked how
    assert not processes.is_running(handle)
    child.wait()


@pytest.mark.parametrize("pid", [-1, 0, 1])
def test_the_first_processes_are_nobodys_job(pid: int) -> None:
    assert processes.handle_of(pid) is None


def test_a_number_given_out_again_is_never_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    # Signals are only noted: without the safeguard, a group number of 1 would mean every process there is.
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda group, number: sent.append((group, number)))
    child = sleeper()
    real = processes.handle_of(child.pid)
    assert real
    executor = LocalExecutor()
    for stranger in (
        replace(real, started=real.started - 1),
        Handle(1, 0.0, real.boot_id),
        Handle(0, 0.0, ""),
    ):
        executor.stop(stranger, force=True)
    assert sent == []
    executor.stop(real)
    executor.stop(real, force=True)
    assert sent == [(child.pid, signal.SIGTERM), (child.pid, signal.SIGKILL)]
    child.kill()
    child.wait()


def test_a_job_has_its_own_session_and_writes_to_the_log(tmp_path: Path) -> None:
    executor = LocalExecutor("platform")  # any module that prints
    handle = executor.start(tmp_path, 1)
    until(lambda: not executor.is_alive(handle))
    assert (tmp_path / "log.txt").read_text()


def test_a_process_that_cannot_be_started_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="could not be started"):
        LocalExecutor().start(tmp_path / "missing", 1)


def test_the_threads_of_a_job_sleep_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert processes.computing_environment()["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")  # whoever says otherwise knows the machine
    assert processes.computing_environment()["OMP_WAIT_POLICY"] == "ACTIVE"


def test_a_process_has_left_when_its_last_thread_has() -> None:
    script = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(3,)).start(); "
    script += "print(flush=True); ctypes.CDLL(None).syscall(60, 0)"  # exit(2) of the main thread alone
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    handle = processes.handle_of(child.pid)
    child.stdout.readline()
    assert handle
    until(lambda: not processes.is_running(handle))
    assert not processes.has_left(handle)
    until(lambda: processes.has_left(handle), 10)
    child.kill()
    child.wait()
    assert processes.has_left(handle) and not processes.has_left(processes.own_handle())
