"""Which devices this machine has, and who holds them; training and model server both ask here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import psutil
import pynvml

from jobs import locks
from storage import files
from storage.errors import StudioError

POLL_SECONDS = 0.1
# The lane of jobs that need no device; one at a time as well.
NETWORK = "network"


@dataclass(frozen=True)
class Device:
    """A place to compute; `id` as torch writes it."""

    id: str
    name: str
    memory_bytes: int
    free_bytes: int


def devices() -> list[Device]:
    """The GPUs that torch could use, in the order of their bus, then the processor."""
    memory = psutil.virtual_memory()
    return [*_gpus(), Device("cpu", "Processor", memory.total, memory.available)]


def default_device() -> str:
    """The first GPU, else the processor."""
    return devices()[0].id


@contextmanager
def hold(device: str, who: str, timeout: float = 60.0) -> Iterator[None]:
    """Keep a device to oneself; `who` is what others read, `timeout` is in seconds.

    Raises StudioError naming the holder when it is not let go in time.
    """
    path = files.lock_path(_lock_name(device))
    deadline = time.monotonic() + timeout
    while (lock := locks.take(path)) is None:
        if time.monotonic() >= deadline:
            raise StudioError(
                f"The device {device} is in use by {holder(device) or 'another program'}.",
                "Wait until it has finished or stop it, then start again.",
            )
        time.sleep(POLL_SECONDS)
    with lock:
        lock.truncate(0)
        lock.write(who)
        lock.flush()
        yield


def holder(device: str) -> str | None:
    """Who holds the device now; None when it is free."""
    path = files.lock_path(_lock_name(device))
    # Shared, so that two who only look never take each other for a holder.
    lock = locks.take(path, shared=True)
    if lock is None:
        return path.read_text(encoding="utf-8")
    lock.close()
    return None


def _lock_name(device: str) -> str:
    return f"device-{device.replace(':', '-')}"


def _gpus() -> list[Device]:
    """Through NVIDIA's own library: torch would take seconds and memory that the page has no use for."""
    if not _torch_can_use_gpus():
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int) -> Device:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Device(f"cuda:{index}", str(pynvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free))


def _torch_can_use_gpus() -> bool:
    """A torch built for processors alone says so in its version; on such a one a GPU is of no use."""
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False
