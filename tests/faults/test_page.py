"""kill -9 of the real page, app.py with its own worker, while a real training runs."""

from __future__ import annotations

from pathlib import Path

from jobs import worker
from jobs.executors import processes
from storage import jobs
from tests.faults.studio import Studio, check, finished, last_step, outcome, until
from tests.journeys import studio_process
from tests.journeys.tiny_studio import NO_NETWORK


def test_a_training_goes_on_while_the_page_is_dead(tmp_path: Path) -> None:
    data = Studio(tmp_path / "home")
    environment = {**data.environment, **NO_NETWORK}
    page = studio_process.start(tmp_path / "home", environment=environment)
    try:
        job = data.submit(epochs=20.0)
        until(lambda: jobs.get(job.id).step >= 3)
        doing, looking_after = data.job(job), worker._running_worker()
        page.process.kill()
        page.process.wait()
        reached = last_step(job, 1)
        until(lambda: jobs.get(job.id).step >= reached + 10)
        assert data.job(job) == doing and worker._running_worker() == looking_after
        page = studio_process.start(tmp_path / "home", environment=environment)
        finished(job)
        check(job, outcome(job))
        assert (jobs.get(job.id).attempt, jobs.get(job.id).interruptions) == (1, [])
        assert looking_after is not None and processes.is_running(looking_after)
    finally:
        page.stop()
