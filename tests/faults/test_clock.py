"""The computer's clock is set a day forward, and a day back, while jobs wait and run."""

from __future__ import annotations

import time

import pytest

from storage import jobs
from storage.jobs import Job
from tests.faults import pretence
from tests.faults.studio import Studio, finished, until

DAY = 86_400.0


def test_a_clock_that_jumps_ends_nothing_and_keeps_the_order(
    light: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", time.time)  # put back afterwards
    pretence.shift_clock()
    light.start()
    first_worker = light.worker()
    queue = [light.submit_light("count", steps=80, seconds=0.1)]
    lefts: list[float] = []
    began: list[str] = []

    def look() -> list[Job]:
        now = [jobs.get(job.id) for job in queue]
        assert all(job.status in ("queued", "running", "finished") for job in now), now
        began.extend(job.id for job in now if job.status != "queued" and job.id not in began)
        lefts.extend(job.seconds_left for job in now if job.seconds_left is not None)
        return now

    for step, clock in ((10, DAY), (25, -DAY), (40, DAY)):
        until(lambda step=step: look()[0].step >= step)
        pretence.set_clock(clock)
        queue.append(light.submit_light("count", steps=5, seconds=0.05))
    until(lambda: all(job.status == "finished" for job in look()))
    assert began == [job.id for job in queue]
    assert lefts and min(lefts) >= 0 and max(lefts) < 3600
    assert [finished(job).attempt for job in queue] == [1, 1, 1, 1]
    assert light.worker() == first_worker
    pretence.set_clock(0.0)
