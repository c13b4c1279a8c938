"""Which devices this machine has, and who holds them; training and model server both ask here.

A job goes before the model server: it says that it wants the device, and the server lets go and stays away.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import psutil
import pynvml

from jobs import locks
from storage import files
from storage.errors import StudioError

POLL_SECONDS = 0.1
# A shorter wait is no news to anybody.
SILENT_SECONDS = 1.0
# The lanes of jobs that need no device; in each of them one at a time as well.
NETWORK = "network"
# What computes for these is the model server, which they ask: scorecards and studies, and sets of prompts, which may
# take a day and must not keep them waiting.
EVALUATION, PROMPTS = ASKING = ("evaluation", "prompts")
WITHOUT_DEVICE = (NETWORK, *ASKING)
MODEL_SERVER = "the model server"


@dataclass(frozen=True)
class Device:
    """A place to compute; `id` as torch writes it."""

    id: str
    name: str
    memory_bytes: int
    free_bytes: int


class Busy(StudioError):
    """Somebody else has the device; when he has finished, the same may be asked again."""

    def __init__(self, who: str | None) -> None:
        self.who = who or "another program"
        super().__init__(
            f"The computer is busy with {self.who}.",
            "Wait until it has finished or stop it, then start again.",
        )


class WaitStopped(Exception):
    """The wait for a device was ended from outside."""


def devices() -> list[Device]:
    """The GPUs that torch could use, numbered as torch does, then the processor."""
    memory = psutil.virtual_memory()
    return [*_gpus(), Device("cpu", "Processor", memory.total, memory.available)]


def default_device() -> str:
    """The first GPU, else the processor."""
    return devices()[0].id


# -- who has it ----------------------------------------------------------------------------------------------


@contextmanager
def hold(device: str, who: str, timeout: float = 60.0) -> Iterator[None]:
    """Keep a device to oneself unless a job wants it; `who` is what others read, `timeout` is in seconds.

    Raises Busy naming the job at once, or whoever else does not let go in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        # First taken, then asked: a job that says later that it wants the device finds whom to send away.
        lock = locks.take(_lock_path(device))
        job = wanted_by(device)
        if lock is not None and job is None:
            break
        if lock is not None:
            lock.close()
        if job is not None or time.monotonic() >= deadline:
            raise Busy(job or holder(device))
        time.sleep(POLL_SECONDS)
    with lock:
        _sign(lock, who)
        yield


@contextmanager
def take(
    device: str,
    who: str,
    free: Callable[[], object],
    should_stop: Callable[[], bool],
    say: Callable[[str], object],
) -> Iterator[None]:
    """A job's own way to a device: say that it is wanted, make the model server `free` it, wait without end.

    `say` is told in words for whom it waits when that takes longer than a second.
    Raises WaitStopped when `should_stop` says so.
    """
    wait = _Wait(device, should_stop, say)
    with wait.for_lock(_wanted_path(device), wanted_by) as wanted:
        _sign(wanted, who)
        leaving = _Leaving(free)
        # On a GPU the server's memory comes back only when its process has ended, after its lock.
        with wait.for_lock(_lock_path(device), holder, leaving.is_over) as lock:
            _sign(lock, who)
            yield


def holder(device: str) -> str | None:
    """Who holds the device now; None when it is free."""
    return _signature(_lock_path(device))


def wanted_by(device: str) -> str | None:
    """The job that has the device, or is the next to have it; None when the model server may have it."""
    return _signature(_wanted_path(device))


def busy_with(device: str) -> str | None:
    """Whoever keeps the model server from the device; None when it may answer."""
    job = wanted_by(device)
    if job is not None:
        return job
    other = holder(device)
    return None if other == MODEL_SERVER else other


class _Wait:
    """One wait for a device, which may go over several locks."""

    def __init__(self, device: str, should_stop: Callable[[], bool], say: Callable[[str], object]) -> None:
        self._device, self._should_stop, self._say = device, should_stop, say
        self._said = ""

    @contextmanager
    def for_lock(
        self, path: Path, who: Callable[[str], str | None], may: Callable[[], bool] = lambda: True
    ) -> Iterator[TextIO]:
        """The lock once it is free and `may` agrees; meanwhile `who` is named."""
        silent_until = time.monotonic() + SILENT_SECONDS
        while True:
            allowed = may()
            lock = locks.take(path) if allowed else None
            if lock is not None:
                break
            if self._should_stop():
                raise WaitStopped
            if time.monotonic() > silent_until:
                self._tell(who(self._device) or (None if allowed else MODEL_SERVER))
            time.sleep(POLL_SECONDS)
        with lock:
            yield lock

    def _tell(self, who: str | None) -> None:
        if who is None:
            return  # let go of a moment ago
        words = f"Waiting for the device: in use by {who}"
        if words != self._said:
            self._said = words
            self._say(words)


class _Leaving:
    """Asks whoever computes to leave, beside the wait: that may take minutes, and a stop is heard at once."""

    def __init__(self, free: Callable[[], object]) -> None:
        self._free = free
        self._problem: Exception | None = None
        self._asking = threading.Thread(target=self._ask, name="free the device", daemon=True)
        self._asking.start()

    def is_over(self) -> bool:
        """Whether the question has been answered, or cannot be."""
        self._asking.join(POLL_SECONDS)
        if self._asking.is_alive():
            return False
        if self._problem is not None:
            raise self._problem
        return True

    def _ask(self) -> None:
        try:
            self._free()
        except StudioError:
            pass  # one that does not answer may have ended; the lock knows
        except Exception as problem:  # noqa: BLE001 (raised where somebody hears it)
            self._problem = problem


def _sign(lock: TextIO, who: str) -> None:
    lock.truncate(0)
    lock.write(who)
    lock.flush()


def _signature(path: Path) -> str | None:
    # Shared, so that two who only look never take each other for a holder.
    lock = locks.take(path, shared=True)
    if lock is None:
        return path.read_text(encoding="utf-8")
    lock.close()
    return None


def _lock_path(device: str) -> Path:
    return files.lock_path(f"device-{device.replace(':', '-')}")


def _wanted_path(device: str) -> Path:
    return files.lock_path(f"device-{device.replace(':', '-')}-wanted")


# -- what there is -------------------------------------------------------------------------------------------


def _gpus() -> list[Device]:
    """Through NVIDIA's own library: torch would take seconds and memory that the page has no use for."""
    if not _torch_can_use_gpus():
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
        uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        seen = visible(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)
        chosen = [handles[one] if isinstance(one, int) else _part(one) for one in seen]
        return [_gpu(number, handle) for number, handle in enumerate(chosen) if handle is not None]
    finally:
        pynvml.nvmlShutdown()


def _gpu(number: int, handle: Any) -> Device:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Device(
        f"cuda:{number}", str(pynvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free)
    )


def _part(uuid: str) -> Any:
    """A part of a GPU (MIG); None where there is none of this id, and torch sees none either."""
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:
        return None


def visible(setting: str | None, uuids: Sequence[str]) -> list[int | str]:
    """Which of the GPUs with these `uuids`, in the order of their bus, CUDA_VISIBLE_DEVICES lets torch see.

    In torch's order. A part of a GPU (MIG) comes as its own id, and CUDA gives a process one of them at most.
    As CUDA reads it (CUDA C++ Programming Guide, "Environment Variables"): indices, or beginnings of ids that
    fit one GPU; the first that fits none ends the list, and one named twice empties it.
    """
    if setting is None:
        return list(range(len(uuids)))
    if setting.startswith("MIG-"):
        return [setting.split(",")[0]]
    chosen: list[int | str] = []
    for entry in setting.split(","):
        if setting.startswith("GPU-"):
            named = entry.startswith("GPU-")
            fitting = [n for n, uuid in enumerate(uuids) if named and uuid.startswith(entry)]
        else:
            digits = re.match(r"\+?(\d+)", entry.strip())
            fitting = [int(digits[1])] if digits and int(digits[1]) < len(uuids) else []
        if len(fitting) != 1:
            break
        if fitting[0] in chosen:
            return []
        chosen.append(fitting[0])
    return chosen


def _torch_can_use_gpus() -> bool:
    """A torch built for processors alone says so in its version; on such a one a GPU is of no use."""
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False
