"""Which ends of a job are taken up again without being asked, and which never."""

from __future__ import annotations

import os
import signal
import time

import pytest

from storage import jobs
from storage.jobs import Job
from tests.faults import kinds, memory, points, pretence
from tests.faults.studio import Studio, until

PATIENCE = 1.5


def killed_at(studio: Studio, job: Job, attempt: int, step: int) -> None:
    """kill -9 of a job's attempt once it has come to a step."""
    until(lambda: jobs.get(job.id).attempt == attempt and jobs.get(job.id).step >= step)
    until(lambda: jobs.get(job.id).pid is not None)
    doing = studio.job(job)
    assert doing is not None
    os.kill(doing.pid, signal.SIGKILL)
    until(lambda: jobs.get(job.id).attempt > attempt or jobs.get(job.id).status == "failed")


def failed_for_good(job: Job) -> Job:
    """The job once it has failed, after time enough to start again if anybody meant to."""
    until(lambda: jobs.get(job.id).finished_at is not None)
    time.sleep(PATIENCE)
    job = jobs.get(job.id)
    assert job.status == "failed"
    return job


def test_a_second_death_without_having_come_further_is_not_taken_up(light: Studio) -> None:
    light.start()
    job = light.submit_light("count", steps=60, seconds=0.1)
    killed_at(light, job, 1, 20)
    killed_at(light, job, 2, 3)
    job = failed_for_good(job)
    assert job.attempt == 2 and job.error_message
    assert "again, without having come any further" in job.error_message


def test_a_job_that_the_system_killed_for_want_of_memory_has_failed(light: Studio) -> None:
    light.start()
    job = light.submit_light("count", steps=500, seconds=0.1)
    until(lambda: jobs.get(job.id).step >= 3)
    pretence.pretend_memory_kills(1)
    killed_at(light, job, 1, 3)
    job = failed_for_good(job)
    assert job.attempt == 1
    assert job.error_message == (
        f"The system killed the job's process at step {job.step}: the computer was out of memory."
    )
    assert job.error_remedy and "max_tokens" in job.error_remedy


def test_the_systems_own_killer_is_recognised(light: Studio) -> None:
    light.start()
    job = light.submit_light("hungry")
    until(lambda: jobs.get(job.id).step == 4 and jobs.get(job.id).pid is not None)
    doing = light.job(job)
    assert doing is not None
    with memory.limited(doing.pid) as possible:
        if not possible:
            pytest.skip("memory cannot be limited here")
        (points.folder() / kinds.HUNGRY_FILE).touch()
        job = failed_for_good(job)
    assert job.attempt == 1
    assert (
        job.error_message == "The system killed the job's process at step 4: the computer was out of memory."
    )


@pytest.mark.parametrize("kind", ["refuse", "break_down"])
def test_a_failure_of_its_own_is_never_taken_up(light: Studio, kind: str) -> None:
    light.start()
    job = failed_for_good(light.submit_light(kind))
    assert (job.attempt, job.interruptions) == (1, [])
