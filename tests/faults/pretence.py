"""What a process is made to believe, or kept from doing, while a test lasts; each is about the calling process."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

from jobs.executors import processes
from storage import config, files
from tests.faults import points

CLOCK_FILE, MEMORY_FILE, SIGNALS_FILE, POISON_FILE = "clock", "memory kills", "signals", "poison"


def record_signals() -> None:
    """Write down every signal that this process sends; none of them reaches a process up to number 1."""
    real_kill, real_killpg = os.kill, os.killpg

    def note(how: str, pid: int, sent: int) -> bool:
        with (points.folder() / SIGNALS_FILE).open("a") as file:
            file.write(f"{how} {pid} {int(sent)}\n")
        return pid > 1

    def kill(pid: int, sent: int) -> None:
        if note("kill", pid, sent):
            real_kill(pid, sent)

    def killpg(pid: int, sent: int) -> None:
        if note("killpg", pid, sent):
            real_killpg(pid, sent)

    os.kill, os.killpg = kill, killpg


def signalled() -> set[int]:
    """The numbers of all processes and groups that were signalled."""
    file = points.folder() / SIGNALS_FILE
    return {int(line.split()[1]) for line in file.read_text().splitlines()} if file.exists() else set()


def shift_clock() -> None:
    """Let this process's clock, but not its monotonic one, go by `set_clock`."""
    real_time = time.time
    time.time = lambda: real_time() + _number(CLOCK_FILE)


def set_clock(seconds: float) -> None:
    """Set the clock of all processes that go by it so many seconds forward."""
    files.write_text(points.folder() / CLOCK_FILE, str(seconds))


def count_memory_kills() -> None:
    """Let this process believe in `pretend_memory_kills`."""
    real_count = processes.memory_kills
    processes.memory_kills = lambda counter: real_count(counter) + int(_number(MEMORY_FILE))


def pretend_memory_kills(count: int) -> None:
    """Let it look as if the system had killed so many processes more for want of memory."""
    files.write_text(points.folder() / MEMORY_FILE, str(count))


@contextlib.contextmanager
def poisoned() -> Iterator[None]:
    """Let every loss be no number in the trainings that begin meanwhile."""
    file = points.folder() / POISON_FILE
    file.touch()
    yield
    file.unlink()


def poison(engine: Any) -> None:
    """Do that to a kind of engine, if it is asked for."""
    if (points.folder() / POISON_FILE).exists():
        real_learn = engine.learn
        engine.learn = lambda *arguments: real_learn(*arguments) * float("nan")


def _number(name: str) -> float:
    if config._current is None:  # a job's process that does not know its data folder yet
        return 0.0
    try:
        return float((files.root() / points.FOLDER / name).read_text())
    except FileNotFoundError:
        return 0.0
