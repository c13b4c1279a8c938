"""One job's own process, called directly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import gpu, run_folder, run_job
from jobs.executors.local import PROJECT_ROOT
from storage import files
from tests.jobs.small_jobs import MODULE
from tests.jobs.waiting import until


def start(
    kind: str, device: str = "cpu", environment: dict[str, str] | None = None, **settings: object
) -> subprocess.Popen[bytes]:
    """A process for the first attempt of the job “job”."""
    folder = files.run_folder("job")
    spec = {
        "job_id": "job",
        "attempt": 1,
        "kind": kind,
        "name": "Foxes",
        "device": device,
        "settings": settings,
    }
    files.write_json(folder / "job.json", spec)
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, folder, "1"],
        cwd=PROJECT_ROOT,
        env={**os.environ, **(environment or {})},
    )


def test_of_two_processes_for_one_attempt_one_works(home: Path) -> None:
    crowd = [start("count", steps=20, seconds=0.05) for _ in range(3)]
    assert [process.wait() for process in crowd] == [0, 0, 0]
    events = (files.attempt_folder("job", 1) / "events.jsonl").read_text().splitlines()
    assert len(events) == 1 + 1 + 20  # waiting for the device, the number of steps, the steps
    assert run_folder.result_of(files.attempt_folder("job", 1)) == {"status": "finished"}


def test_sigterm_ends_a_job_in_order_and_it_is_no_stop_of_its_user(home: Path) -> None:
    process = start("count", steps=500, seconds=0.1)
    until(lambda: (files.attempt_folder("job", 1) / "events.jsonl").exists())
    process.terminate()
    assert process.wait() == 0
    assert run_folder.result_of(files.attempt_folder("job", 1)) == {"status": "interrupted"}


def test_sigterm_after_a_stop_of_the_user_is_a_stop(home: Path) -> None:
    process = start("deaf_once", seconds=1.0)
    until(lambda: (files.attempt_folder("job", 1) / "events.jsonl").exists())
    run_folder.request_stop(files.run_folder("job"))
    process.terminate()
    assert process.wait() == 0
    assert run_folder.result_of(files.attempt_folder("job", 1)) == {"status": "stopped"}


def test_a_job_that_does_not_hear_sigterm_ends_within_the_grace_period(home: Path) -> None:
    process = start("deaf", environment={"GRACE_SECONDS": "0.5"})
    until(lambda: (files.attempt_folder("job", 1) / "events.jsonl").exists())
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert run_folder.result_of(files.attempt_folder("job", 1)) == {"status": "interrupted"}


def test_a_full_disk_pauses_a_job_and_says_what_it_needs(home: Path) -> None:
    assert start("fill_up").wait() == 0
    found = run_folder.result_of(files.attempt_folder("job", 1))
    assert found == {"status": "paused", "needs_bytes": 123_000_000}


def test_a_want_of_memory_is_a_failure_in_words(home: Path) -> None:
    assert start("forget").wait() == 0
    found = run_folder.result_of(files.attempt_folder("job", 1))
    assert found and found["status"] == "failed" and "too little memory" in found["error"]["message"]


def test_the_room_for_the_result_is_kept_from_the_start(home: Path) -> None:
    process = start("count", steps=500, seconds=0.1)
    reserve = files.attempt_folder("job", 1) / run_folder.RESERVE_FILE
    until(lambda: reserve.exists() and reserve.stat().st_size == run_folder.RESERVE_BYTES)
    process.terminate()
    process.wait()
    assert not reserve.exists()


def test_a_job_holds_its_device_and_a_fetch_holds_none(home: Path) -> None:
    process = start("sleep", seconds=2.0)
    until(lambda: gpu.holder("cpu") == "the job “Foxes”")
    process.wait()
    assert gpu.holder("cpu") is None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's out-of-memory killer")
def test_the_system_ends_the_job_before_the_page(home: Path) -> None:
    process = start("sleep", "network", seconds=2.0)
    score = Path(f"/proc/{process.pid}/oom_score_adj")
    assert until(lambda: score.read_text().strip() == "500")
    assert process.wait() == 0


def test_a_trainings_process_imports_no_database() -> None:
    script = "import sys; import jobs.run_job, jobs.training.job; print('sqlalchemy' in sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", script], cwd=PROJECT_ROOT, text=True)
    assert output.strip() == "False"


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("CUDA error: out of memory", "The GPU"),
        ("CUDA out of memory. Tried to allocate 2 MiB.", "The GPU"),
        ("DefaultCPUAllocator: can't allocate memory", "The computer"),
        ("shape mismatch", None),
    ],
)
def test_what_has_no_memory_left_is_known_by_torchs_words(said: str, place: str | None) -> None:
    assert run_job._without_memory(RuntimeError(said)) == place
