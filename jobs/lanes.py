"""Which waiting job begins next: one on each device at a time, and none without room on the disk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection

from jobs import gpu, recovery, run_state
from storage import files, jobs, waiting
from storage.jobs import Job

# Asking NVIDIA's library takes milliseconds, and the devices of a machine hardly ever change.
DEVICES_SECONDS = 10.0


class Lanes:
    """The devices of this machine and the queue before each of them."""

    def __init__(self, devices: Callable[[], Collection[str]] | None = None) -> None:
        """Begin with the devices that `devices` names whenever it is asked; this machine's by default."""
        self._ask = devices or (lambda: [device.id for device in gpu.devices()])
        self._devices: Collection[str] = ()
        self._asked = -DEVICES_SECONDS

    def next_job(self, under_way: Collection[Job]) -> Job | None:
        """Claim the first job whose device is free and for which there is room; None when there is none."""
        busy = {job.device for job in under_way}
        free_bytes = files.free_bytes()
        self._balance(busy)
        job = jobs.claim(busy, free_bytes)
        if job is not None:
            run_state.write(job.id)
        return job

    def explain(self) -> None:
        """Say of every waiting job whether it waits for room on the disk."""
        free_bytes = files.free_bytes()
        for job in waiting.in_order():
            is_short = job.needs_bytes is not None and job.needs_bytes > free_bytes
            if is_short != (job.paused_for is not None):
                words = recovery.waits_for_room(job) if is_short else None
                jobs.pause(job.id, words)
                run_state.write(job.id)

    def _balance(self, busy: Collection[str]) -> None:
        """Let an idle GPU take the next job of the longest queue before a busy one.

        A job whose device this machine no longer has waits for one that is there.
        """
        queue = waiting.in_order()
        computing = [job for job in queue if job.device not in gpu.WITHOUT_DEVICE]
        if not computing:
            return
        devices = self._present()
        gpus = [device for device in devices if device != "cpu"]
        for job in computing:
            if job.device not in devices:
                self._move(job, next(iter(devices)))
        lengths = Counter(job.device for job in computing if job.device in gpus)
        for idle in gpus:
            if idle in busy or lengths[idle]:
                continue
            crowded = [
                device for device in gpus if lengths[device] and (device in busy or lengths[device] > 1)
            ]
            if crowded:
                longest = max(crowded, key=lambda device: lengths[device])
                mine = [job for job in computing if job.device == longest]
                # The first of them begins on its own device in this very round, if that is free.
                taken = mine[0 if longest in busy else 1]
                self._move(taken, idle)
                computing.remove(taken)
                lengths[longest] -= 1

    @staticmethod
    def _move(job: Job, device: str) -> None:
        if waiting.reassign(job.id, device):
            run_state.write(job.id)

    def _present(self) -> Collection[str]:
        now = time.monotonic()
        if now - self._asked > DEVICES_SECONDS:
            self._devices, self._asked = self._ask(), now
        return self._devices
