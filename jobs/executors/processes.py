"""Who a process is: a number alone is not enough, because numbers are given out again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

from jobs.executors.base import Handle

ENDED_STATES = {"Z", "X", "x"}  # zombie or dead, proc_pid_stat(5)


def computing_environment() -> dict[str, str]:
    """The caller's environment for a process that computes, with OpenMP threads that sleep while they wait.

    By default they spin. As soon as anything else uses the cores too, they spin away the time of the very
    thread they wait for: 12 instead of 360 tokens/s in training with one other busy process on two cores.
    """
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}


def handle_of(pid: int) -> Handle | None:
    """The identity of the process that has this number now; None if there is none, or only its remains."""
    if pid <= 1:
        return None
    if sys.platform == "linux":
        started = _start_ticks(pid)
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    else:
        started = _creation_time(pid)
        boot_id = ""  # a creation time says the boot as well
    return None if started is None else Handle(pid, started, boot_id)


def own_handle() -> Handle:
    """The identity of the calling process."""
    handle = handle_of(os.getpid())
    assert handle is not None
    return handle


def is_running(handle: Handle) -> bool:
    """Whether exactly this process still runs."""
    return handle_of(handle.pid) == handle


def _start_ticks(pid: int) -> float | None:
    """Clock ticks from boot to the start of the process: unlike a date, no clock change can move it."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in brackets and may itself hold spaces and brackets; field 3 (state) follows it.
    fields = status.rpartition(")")[2].split()
    return None if fields[0] in ENDED_STATES else float(fields[19])


def _creation_time(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None
