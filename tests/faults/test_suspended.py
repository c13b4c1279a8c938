"""Processes that hang instead of dying, as SIGSTOP makes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobs import queue
from jobs.executors import processes
from jobs.executors.local import PROJECT_ROOT
from storage import files, jobs, metrics, workers
from tests.faults import kinds, points
from tests.faults.studio import Studio, finished, until

STALE_WORKER = """
import sys
from pathlib import Path
from storage import config, database, jobs, metrics, workers
config.use(config.from_environment(Path(sys.argv[1])))
database.connect()
workers.enter(1234, 1.0, "")
print("entered", flush=True)
sys.stdin.readline()
job = sys.argv[2]
print([
    jobs.claim(set()),
    jobs.update(job, 1, step=99),
    metrics.take_in(job, 1, [(99, "loss", 9.0)], 999, step=99),
    jobs.requeue(job, 1),
    jobs.finish(job, 1, "failed"),
    jobs.pause(sys.argv[3], "for no reason"),
    workers.is_current(),
], flush=True)
"""


@pytest.fixture
def ordinary(home: Path) -> Iterator[None]:
    """A test that is a worker for a while is none afterwards."""
    yield
    workers.leave()


def test_a_worker_that_hangs_is_replaced_and_its_job_notices_nothing(light: Studio) -> None:
    light.start()
    job = light.submit_light("count", steps=100, seconds=0.1)
    until(lambda: jobs.get(job.id).step >= 3)
    hanging, doing = light.worker(), light.job(job)
    os.kill(hanging.pid, signal.SIGSTOP)
    until(lambda: light.worker() != hanging)
    assert not processes.is_running(hanging)
    assert light.job(job) == doing
    job = finished(job)
    assert (job.attempt, job.interruptions) == (1, [])
    assert [one.step for one in metrics.all_of(job.id, "loss")] == list(range(1, 101))


def test_a_worker_that_was_given_up_and_wakes_changes_nothing(home: Path, ordinary: None) -> None:
    job, waiting = jobs.add("count", "count", "cpu"), jobs.add("count", "count", "cpu")
    assert jobs.claim(set())
    command = [sys.executable, "-c", STALE_WORKER, str(home), job.id, waiting.id]
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stale:
        assert stale.stdin and stale.stdout
        assert stale.stdout.readline() == "entered\n"
        stale.send_signal(signal.SIGSTOP)
        workers.enter(os.getpid(), 2.0, "")
        assert jobs.update(job.id, 1, step=5)
        before = jobs.get(job.id), jobs.get(waiting.id)
        stale.send_signal(signal.SIGCONT)
        stale.stdin.write("\n")
        stale.stdin.flush()
        assert stale.stdout.readline() == "[None, False, False, False, False, False, False]\n"
    assert (jobs.get(job.id), jobs.get(waiting.id)) == before
    assert metrics.all_of(job.id, "loss") == []
    assert jobs.finish(job.id, 1, "finished")


def test_a_job_that_hangs_is_named_and_a_stop_ends_it_with_its_children(light: Studio) -> None:
    light.start()
    job = light.submit_light("family")
    # A slow start counts as silence too; it ends by itself.
    until(lambda: jobs.get(job.id).step >= 3 and jobs.get(job.id).silent_seconds is None)
    child = int((points.folder() / kinds.CHILD_FILE).read_text())
    doing = light.job(job)
    assert doing is not None and psutil.pid_exists(child)
    os.kill(doing.pid, signal.SIGSTOP)
    until(lambda: jobs.get(job.id).silent_seconds is not None)
    assert jobs.get(job.id).status == "running"  # only its user knows whether it hangs
    queue.stop(job.id)
    until(lambda: jobs.get(job.id).status == "stopped")
    ended = jobs.get(job.id)
    assert ended.error_message == f"Stopped at step {ended.step}: the job's process had to be ended."
    assert ended.silent_seconds is None and not processes.is_running(doing)
    until(lambda: processes.handle_of(child) is None)
    assert files.run_folder(job.id).exists()
