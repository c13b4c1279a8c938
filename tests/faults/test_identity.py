"""Numbers of processes that belong to somebody else by now, and workers that all want to be the one."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import asdict

from jobs import run_folder, worker
from jobs.executors import processes
from jobs.executors.base import Handle
from storage import files, jobs
from tests.faults import pretence, races
from tests.faults.studio import Studio, until

NOBODY = (0, 1, -1)


def test_no_process_is_signalled_that_is_not_ours(light: Studio) -> None:
    """Jobs with the numbers of others on record are stopped; one number is of a living, innocent process."""
    innocent = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True
    )
    try:
        real = until(lambda: processes.handle_of(innocent.pid))
        assert isinstance(real, Handle)
        handles = [Handle(pid, 0.0, real.boot_id) for pid in NOBODY]
        handles += [
            Handle(innocent.pid, real.started - 1, real.boot_id),
            Handle(innocent.pid, real.started, "x"),
        ]
        taken = []
        for number, handle in enumerate(handles):
            job = light.submit_light("count", seconds=1.0)
            assert jobs.claim(set()) is not None
            jobs.started(job.id, 1, handle.pid, handle.started, handle.boot_id)
            if number % 2:  # as it says itself, too
                folder = files.attempt_folder(job.id, 1)
                files.write_json(folder / run_folder.PROCESS_FILE, asdict(handle))
            jobs.request_stop(job.id)
            taken.append(job)
        light.start()
        for job in taken:
            until(lambda job=job: jobs.get(job.id).status == "stopped")
        assert not pretence.signalled() & {*NOBODY, innocent.pid}, pretence.signalled()
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_a_worker_file_with_somebody_elses_number_ends_nobody(light: Studio) -> None:
    innocent = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True
    )
    try:
        real = until(lambda: processes.handle_of(innocent.pid))
        (files.root() / worker.BEAT_FILE).write_text(str(time.monotonic() - 1e6))  # long stalled
        for handle in (
            *(Handle(pid, 0.0, real.boot_id) for pid in NOBODY),
            Handle(innocent.pid, real.started - 1, real.boot_id),
        ):
            files.write_json(files.root() / "worker.json", asdict(handle))
            assert not worker.worker_is_alive()
        light.start()
        light.worker()
        assert not pretence.signalled() & {*NOBODY, innocent.pid}, pretence.signalled()
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_of_ten_workers_started_at_once_one_works_and_no_job_runs_twice(light: Studio) -> None:
    assert races.race(light, 10, jobs_to_do=3) == []
