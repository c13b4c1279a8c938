"""Seconds from the click (`queue.submit_training`) to the first training loss that the page can show, warm and cold.

    python -m tests.benchmarks.first_loss --model FOLDER --runs 5

Each run has a data folder and a worker of its own. Its first training starts cold, before a process waits for
it; its second finds the waiting process. Between them lie the phases that the job itself reported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from jobs import gpu, queue, worker
from jobs.base_models import catalogue
from jobs.datasets import importing
from jobs.executors.spare import LOG
from jobs.progress import EVENTS_FILE
from storage import config, database, files, jobs, metrics
from storage.jobs import Job
from tests.jobs.waiting import ended, until
from tests.journeys.studio_process import kill_all_of

RANK = 16
# A worker begins its rounds so long after its process, and makes nothing ready in the first seconds of them.
WORKER_STARTS_SECONDS = 1.5

Measured = dict[str, float]


def one_run(home: Path, model: Path, data: Path | None) -> Measured:
    """Two trainings of a new worker: one before anything waits for it, one after."""
    config.use(config.from_environment(data_dir=home))
    files.make_folders()
    database.connect()
    model_id = catalogue.add_custom(str(model)).id
    dataset = importing.add_dataset(data) if data else importing.add_sample("tone")
    worker.hold_page_lock()
    worker.start_worker()
    try:
        until(worker.worker_is_alive)
        time.sleep(WORKER_STARTS_SECONDS)
        assert not files.log_path(LOG).exists(), "a process waits already, so this start is not cold"
        measured = first_loss("cold", dataset.id, model_id)
        until(lambda: files.log_path(LOG).exists() and files.log_path(LOG).read_text().endswith("a job.\n"))
        return measured | first_loss("warm", dataset.id, model_id)
    finally:
        kill_all_of(home)
        worker._page_locks.pop().close()
        database.close()


def first_loss(start: str, dataset_id: str, model_id: str) -> Measured:
    """One training up to its first loss; then it is stopped."""
    clicked, clicked_at = time.perf_counter(), time.time()
    job = queue.submit_training(dataset_id, model_id, RANK, {})

    def seen() -> bool:
        now = jobs.get(job.id)
        assert now.error_message is None, now.error_message
        return bool(metrics.all_of(job.id, "loss"))

    until(seen, 300)
    seconds = time.perf_counter() - clicked
    phases = {f"{start}: {words}": at - clicked_at for words, at in reported(job).items()}
    queue.stop(job.id)
    ended(job.id)
    return {**phases, f"{start}: click → first loss on the page": seconds}


def reported(job: Job) -> dict[str, float]:
    """When the job's process began each phase and had its first loss, by its own clock."""
    times: dict[str, float] = {}
    for line in (files.attempt_folder(job.id, 1) / EVENTS_FILE).read_text().splitlines():
        event = json.loads(line)
        if event["type"] == "phase":
            times.setdefault(f"begins “{event['words']}”", event["time"])
        elif event["type"] == "metric" and "loss" in event["values"]:
            times.setdefault("first loss reported", event["time"])
    return times


def main() -> None:
    """Measure from the command line; print one JSON line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.first_loss", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--data", type=Path, help="file of examples (default: the sample “Brand voice”)")
    parser.add_argument("--runs", type=int, default=3, help="cold and warm starts of each kind (default 3)")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for run in range(arguments.runs):
            for what, value in one_run(Path(folder) / str(run), arguments.model, arguments.data).items():
                seconds.setdefault(what, []).append(value)
    conditions = {
        "model": arguments.model.name,
        "data": arguments.data.name if arguments.data else "sample tone",
        "rank": RANK,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "files": "read before, so that the system has them in memory",
    }
    for what, values in seconds.items():
        print(json.dumps(line(what, values, conditions), ensure_ascii=False))


def line(what: str, values: list[float], conditions: dict[str, object]) -> dict[str, object]:
    """One figure as it is printed: the median, with how far the runs lie apart."""
    spread = {"runs": len(values), "fastest": round(min(values), 2), "slowest": round(max(values), 2)}
    return {
        "what": what,
        "device": gpu.default_device(),
        "value": round(statistics.median(values), 2),
        "unit": "seconds",
        "conditions": spread | conditions,
    }


if __name__ == "__main__":
    main()
