"""Real workers and real job processes, killed at the worst moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import progress, queue, warm, worker
from jobs.executors import processes
from jobs.executors.base import Handle
from jobs.executors.local import PROJECT_ROOT, LocalExecutor
from storage import adapters, config, files, jobs, metrics
from storage.jobs import Job
from tests.jobs.small_jobs import MODULE
from tests.jobs.waiting import at_step, ended, kill, processes_of_home, until, waits


@pytest.fixture
def page(home: Path) -> Iterator[Path]:
    """The test is the page; afterwards nothing that it started is left."""
    worker.hold_page_lock()
    yield home
    worker._page_locks.pop().close()
    for job in jobs.list_all(status="running") + jobs.list_all(status="stopping"):
        if job.pid and processes.is_running(Handle(job.pid, job.process_started or 0, job.boot_id or "")):
            kill(job.pid)
    until(lambda: not worker.worker_is_alive())
    until(lambda: not processes_of_home(), 10)


def start() -> int:
    """Start the tests' worker; its pid."""

    def begun() -> bool:
        # As the page does, again and again: one killed this moment may still count as one that is starting.
        worker.start_worker(MODULE)
        return worker.worker_is_alive()

    until(begun)
    return worker_pid()


def worker_pid() -> int:
    return int(files.read_json(files.root() / "worker.json")["pid"])


def submit(kind: str, device: str = "cpu", **settings: object) -> Job:
    return jobs.add(kind, kind, device, dataset_id="d", base_model_id="b", rank=8, settings=settings)


def events_of(job: Job) -> list[tuple[int, str, float | None]]:
    return progress.read_events(files.attempt_folder(job.id, job.attempt), 0).metrics


def test_a_job_runs_to_its_end_and_its_metrics_are_its_events(page: Path) -> None:
    job = submit("count", steps=300)
    start()
    job = ended(job.id)
    assert (job.status, job.step, job.total_steps, job.error_message) == ("finished", 300, 300, None)
    assert job.steps_per_second and job.seconds_left is None
    taken_in = [(m.step, m.name, m.value) for m in metrics.since(job.id, 0)]
    assert sorted(taken_in) == sorted(events_of(job)) and len(taken_in) == 600
    assert job.events_offset == (files.attempt_folder(job.id, 1) / "events.jsonl").stat().st_size


def test_a_killed_workers_job_goes_on_and_the_next_worker_adopts_it(page: Path) -> None:
    job = submit("count", steps=60, seconds=0.1)
    first_worker = start()
    before = at_step(job.id, 5)
    kill(first_worker)
    until(lambda: not worker.worker_is_alive())
    reported = len(events_of(before))
    until(lambda: len(events_of(before)) > reported + 4)
    assert start() != first_worker
    after = ended(job.id)
    assert (after.status, after.pid, after.attempt) == ("finished", before.pid, 1)
    assert len(metrics.all_of(job.id, "loss")) == 60


def test_a_killed_worker_takes_the_waiting_process_with_it(page: Path) -> None:
    pid = start()
    until(waits)
    (waiting,) = processes_of_home(warm.OPTION)
    kill(pid)
    until(lambda: processes.handle_of(waiting) is None, 5)


def test_a_job_given_to_the_waiting_process_outlives_the_worker(page: Path) -> None:
    first_worker = start()
    until(waits)
    (waiting,) = processes_of_home(warm.OPTION)
    job = submit("count", steps=60, seconds=0.1)
    before = at_step(job.id, 5)
    assert before.pid == waiting
    kill(first_worker)
    until(lambda: not worker.worker_is_alive())
    assert start() != first_worker
    after = ended(job.id)
    assert (after.status, after.pid, after.attempt) == ("finished", waiting, 1)
    assert len(metrics.all_of(job.id, "loss")) == 60


def test_the_next_process_waits_only_when_no_job_computes(page: Path) -> None:
    start()
    until(waits)
    job = submit("count", steps=20, seconds=0.1)
    running = at_step(job.id, 15)
    assert processes_of_home(warm.OPTION) == [running.pid]
    ended(job.id)
    until(lambda: set(processes_of_home(warm.OPTION)) - {running.pid}, 10)


def test_a_job_that_ended_while_no_worker_lived_is_finished_from_its_result(page: Path) -> None:
    job = submit("count", steps=20, seconds=0.1)
    first_worker = start()
    pid = at_step(job.id, 1).pid
    kill(first_worker)
    assert pid
    until(lambda: processes.handle_of(pid) is None)
    assert jobs.get(job.id).status == "running"
    start()
    assert ended(job.id).status == "finished"


def test_a_later_process_with_the_same_number_is_neither_adopted_nor_signalled(page: Path) -> None:
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    job = submit("count")
    job = jobs.claim(set()) or job
    real = until(lambda: processes.handle_of(innocent.pid))
    jobs.started(job.id, 1, real.pid, real.started - 1, real.boot_id)
    jobs.request_stop(job.id)
    start()
    assert ended(job.id).status == "stopped"
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


def test_a_job_whose_worker_died_before_starting_it_is_started_by_the_next(page: Path) -> None:
    job = submit("count")
    assert jobs.claim(set())
    start()
    assert ended(job.id).status == "finished"
    assert jobs.get(job.id).attempt == 1


def test_a_job_whose_worker_died_while_starting_it_is_adopted_by_its_own_word(page: Path) -> None:
    job = submit("count", steps=40, seconds=0.1)
    job = jobs.claim(set()) or job
    spec = {name: getattr(job, name) for name in worker.SPEC_FIELDS}
    files.write_json(files.run_folder(job.id) / "job.json", {"job_id": job.id, **spec})
    child = subprocess.Popen(
        [sys.executable, "-m", MODULE, files.run_folder(job.id), "1"],
        cwd=PROJECT_ROOT,
        start_new_session=True,
    )
    until(lambda: events_of(job))
    assert jobs.get(job.id).pid is None
    start()
    assert at_step(job.id, 10).pid == child.pid
    child.wait()
    assert ended(job.id).status == "finished"


def test_of_ten_workers_started_at_once_one_works(page: Path) -> None:
    command = [sys.executable, "-m", MODULE, "--data-dir", str(page)]
    command += ["--database-url", config.current().database_url]
    crowd = [subprocess.Popen(command, cwd=PROJECT_ROOT, stderr=subprocess.DEVNULL) for _ in range(10)]
    until(lambda: sum(process.poll() is not None for process in crowd) == 9, 180)
    assert sorted(process.returncode for process in crowd if process.returncode is not None) == [3] * 9
    (left,) = [process for process in crowd if process.returncode is None]
    assert worker_pid() == left.pid
    left.kill()
    left.wait()


def test_a_stopped_job_keeps_what_it_has(page: Path) -> None:
    waiting, running = submit("count", steps=500, seconds=0.1), None
    start()
    running = at_step(waiting.id, 2)
    queued = submit("count")
    assert queue.stop(queued.id).status == "stopped"
    assert queue.stop(running.id).status == "stopping"
    assert queue.stop(running.id).status == "stopping"
    job = ended(running.id, 5)
    assert (job.status, job.error_message) == ("stopped", None)
    assert metrics.since(queued.id, 0) == [] and not files.attempt_folder(queued.id, 1).exists()


def test_a_stop_that_only_the_database_knows_reaches_the_job(page: Path) -> None:
    job = submit("count", steps=500, seconds=0.1)
    start()
    at_step(job.id, 1)
    jobs.request_stop(job.id)
    assert ended(job.id, 5).status == "stopped"


def test_a_deaf_job_is_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "TERM_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(worker, "KILL_AFTER_SECONDS", 0.6)
    in_process = worker.Worker(LocalExecutor(MODULE))
    job = submit("deaf")

    def round_until(step: int, status: str) -> Job:
        def look() -> Job | None:
            assert in_process.look_after_all()
            now = jobs.get(job.id)
            return now if now.step >= step and now.status == status else None

        return until(look)

    pid = round_until(3, "running").pid
    assert pid
    os.kill(pid, signal.SIGSTOP)  # hung for good: only SIGKILL ends it
    queue.stop(job.id)
    stopped = round_until(3, "stopped")
    assert stopped.error_message == "Stopped at step 3: the job's process had to be ended."
    assert processes.handle_of(pid) is None


def test_two_jobs_of_one_device_take_turns_while_another_lane_goes_on(page: Path) -> None:
    first, second = submit("sleep"), submit("sleep")
    fetch = submit("sleep", device="network")
    start()
    ran = {job.id: ended(job.id).result for job in (first, second, fetch)}
    assert ran[first.id]["ended"] <= ran[second.id]["began"]
    assert ran[fetch.id]["began"] < ran[first.id]["ended"]
    assert ran[first.id]["began"] < ran[fetch.id]["ended"]


def test_events_taken_in_twice_change_nothing(home: Path) -> None:
    job = submit("count")
    job = jobs.claim(set()) or job
    reporter = progress.RunFolderProgress(files.attempt_folder(job.id, 1), 1)
    reporter.total_steps(5)
    for step in range(1, 6):
        reporter.metric(step, loss=float(step))
    worker._take_in_events(job)
    once = jobs.get(job.id), metrics.after(job.id, 0)
    worker._take_in_events(job)  # the record still has the old offset, as after a crash
    worker._take_in_events(jobs.get(job.id))
    assert (jobs.get(job.id), metrics.after(job.id, 0)) == once
    assert len(once[1][0]) == 5


def test_the_worker_outlives_the_process_that_started_it_and_does_its_job(page: Path) -> None:
    job = submit("count", steps=30, seconds=0.1)
    script = f"""
from pathlib import Path
from jobs import worker
from storage import config
config.use(config.from_environment(data_dir=Path({str(page)!r})))
worker.start_worker({MODULE!r})
import os; os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=PROJECT_ROOT).returncode == -9
    assert ended(job.id).status == "finished"


def test_the_worker_ends_when_no_page_lives_and_nothing_is_to_do(home: Path) -> None:
    job = submit("count", steps=30, seconds=0.1)
    start()
    assert ended(job.id).status == "finished"
    until(lambda: not worker.worker_is_alive(), 10)


def test_the_worker_stays_while_a_page_lives(page: Path) -> None:
    pid = start()
    time.sleep(2.5)
    assert processes.handle_of(pid)


def test_failures_come_in_words(page: Path) -> None:
    refused, broken = submit("refuse"), submit("break_down")
    start()
    job = ended(refused.id)
    assert (job.status, job.error_message, job.error_remedy) == ("failed", "The rows are empty.", "Add rows.")
    job = ended(broken.id)
    assert job.status == "failed" and job.error_message
    assert job.error_message.startswith("Something unexpected went wrong (error ")
    error_id = job.error_message.split("error ")[1].rstrip(").")
    log = (files.run_folder(broken.id) / "log.txt").read_text()
    assert error_id in log and "a detail for the log" in log
    assert "detail" not in job.error_message


def test_a_finished_adapter_is_published_once(page: Path) -> None:
    job = submit("adapt")
    start()
    job = ended(job.id)
    assert job.status == "finished" and job.adapter_id == f"{job.id}-1"
    adapter = adapters.get(job.adapter_id)
    folder = files.adapter_folder(adapter.id)
    assert adapter.weights_sha256 == files.sha256_of(folder / "adapter_model.safetensors")
    said_of_it = (folder / "record.json").stat().st_size
    assert adapter.rank == 8 and adapter.size_bytes == files.folder_bytes(folder) - said_of_it
    assert not (files.attempt_folder(job.id, 1) / "adapter").exists()
