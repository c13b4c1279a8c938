"""How much memory of each GPU is in use, as NVIDIA's own library says; all GPUs, whatever a process may see."""

from __future__ import annotations

import threading
import time

import pynvml

SAMPLE_SECONDS = 0.02


def used_bytes() -> list[int]:
    """For each GPU of the machine, in the order of the bus; [] where there is none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
    return [int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in handles]


def names() -> list[str]:
    """The GPUs' names."""
    used_bytes()
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return []
    return [str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(n))) for n in range(count)]


class Samples:
    """(time, used bytes of each GPU) fifty times a second while the context lasts."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, list[int]]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> Samples:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _take(self) -> None:
        while not self._end.wait(SAMPLE_SECONDS):
            self.taken.append((time.time(), used_bytes()))

    def between(self, begin: float, end: float, gpu: int = 0) -> list[int]:
        """One GPU's samples between two times."""
        return [used[gpu] for at, used in self.taken if begin <= at <= end and gpu < len(used)]
