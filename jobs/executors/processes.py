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
    started = _start_ticks(pid) if sys.platform == "linux" else _creation_time(pid)
    return None if started is None else Handle(pid, started, boot_id())


def boot_id() -> str:
    """What tells one run of this computer from the next; empty where a creation time says that as well."""
    if sys.platform != "linux":
        return ""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def memory_counter() -> Path:
    """Where the system counts the processes that it killed for want of memory, of this process's own group if it can.

    The whole computer's count would blame a job's end on a browser that was killed while the job ran.
    """
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        groups = []
    # Version 2: "0::/path"; version 1: "4:memory:/path" (cgroups(7)). In a container the path may lead elsewhere.
    for kinds, path in (group.split(":", 2)[1:] for group in groups):
        for counter in (
            Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control") if kinds == "memory" else None,
            Path(f"/sys/fs/cgroup{path}/memory.events") if kinds == "" else None,
        ):
            if counter is not None and counter.exists():
                return counter
    return Path("/proc/vmstat")


def memory_kills(counter: Path) -> int:
    """How many processes the system has killed for want of memory, by `memory_counter`; 0 where it does not say."""
    try:
        counts = counter.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in counts if line.startswith("oom_kill ")), 0)


def own_handle() -> Handle:
    """The identity of the calling process."""
    handle = handle_of(os.getpid())
    assert handle is not None
    return handle


def is_running(handle: Handle) -> bool:
    """Whether exactly this process still runs."""
    return handle_of(handle.pid) == handle


def has_left(handle: Handle) -> bool:
    """Whether nothing of this process is at work any more, its other threads included."""
    if is_running(handle):
        return False
    try:
        status = Path(f"/proc/{handle.pid}/stat").read_text()
        threads = len(os.listdir(f"/proc/{handle.pid}/task"))
    except OSError:
        return True
    same = float(status.rpartition(")")[2].split()[19]) == handle.started
    return not same or threads < 2


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
