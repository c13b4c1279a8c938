"""A studio's life in one process while its data folder is watched: import, training, resume, publish, backup, delete.

Everything is the product's own, worker and job included; only that they do not run beside each other.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from jobs import queue, run_job, worker
from jobs.base_models import catalogue
from jobs.datasets import importing
from jobs.executors.base import Handle
from jobs.kinds import KINDS
from jobs.progress import RunFolderProgress
from jobs.training import loop, states
from storage import backups, config, database, jobs, workers
from tests.faults.recording import Recorder, Trace
from tests.tiny import make_model

ROWS = 24
SETTINGS = {
    "max_steps": 6,
    "tokens_per_step": 400,
    "precision": "fp32",
    "learning_rate": 5e-3,
    "seed": 7,
    "scorecard": False,
}
# Before the first attempt has asked so often whether it should stop, it has saved three states.
INTERRUPTED_AT = 9


class Inline:
    """Does a job in this process when it is started; by the time that anybody asks, it has ended."""

    def __init__(self) -> None:
        self.started: list[tuple[Path, int]] = []

    def start(self, run_folder: Path, attempt: int) -> Handle:
        self.started.append((run_folder, attempt))
        run_job.do(run_folder, attempt, KINDS)
        return Handle(os.getpid(), 0.0, "another time")

    def prepare(self) -> None: ...

    def close(self) -> None: ...

    def stop(self, handle: Handle, force: bool = False) -> None: ...

    def is_alive(self, handle: Handle) -> bool:
        return False

    def exit_status(self, handle: Handle) -> int | None:
        return None


def record(home: Path, model: Path) -> Trace:
    """Live that life in `home`, which is made; returns what was done to its files."""
    make_model(model)
    home.mkdir(parents=True)
    with _every_state_saved(), this_process_as_before():
        recorder = Recorder(home)
        with recorder.watching():
            config.use(config.from_environment(home))
            database.connect()
            model_id = catalogue.add_custom(str(model)).id
            workers.enter(os.getpid(), 0.0, "before")
            try:
                _live(recorder, model_id)
            finally:
                workers.leave()
                database.close()
    return recorder.trace


def examples() -> str:
    """A few examples, imported; their dataset's id."""
    rows = [{"prompt": f"What is {n} and {n * n}?", "response": "x" * (5 + n % 13)} for n in range(ROWS)]
    return importing.add_pasted("\n".join(map(json.dumps, rows))).id


def _live(recorder: Recorder, model_id: str) -> None:
    dataset_id = examples()
    recorder.mark("dataset", dataset_id)
    job = queue.submit_training(dataset_id, model_id, 4, SETTINGS)
    recorder.mark("submitted", job.id)
    unwanted = queue.submit_training(dataset_id, model_id, 4, SETTINGS)
    queue.stop(unwanted.id)
    recorder.mark("submitted", unwanted.id)
    with _progress(recorder, job.id):
        rounds = worker.Worker(Inline())
        for _ in range(20):
            assert rounds.look_after_all(), "a round went wrong"
            if jobs.get(job.id).status == "finished":
                break
    done = jobs.get(job.id)
    assert (done.status, done.attempt) == ("finished", 2) and done.resumed_from, done
    recorder.mark("finished", done.adapter_id)
    recorder.mark("backup", backups.back_up().name)
    queue.delete(unwanted.id)
    recorder.mark("deleted", unwanted.id)
    recorder.mark("end")


@contextmanager
def _progress(recorder: Recorder, job_id: str) -> Iterator[None]:
    """The worker hears of each state as soon as it is reported; the first attempt is asked to end by the system."""
    real_checkpoint, real_should_stop = RunFolderProgress.checkpoint, RunFolderProgress.should_stop
    asked = 0

    def checkpoint(self: RunFolderProgress, step: int, folder: str, kept: list[str]) -> None:
        real_checkpoint(self, step, folder, kept)
        recorder.mark("state", (job_id, step, folder))
        worker._take_in_events(jobs.get(job_id))

    def should_stop(self: RunFolderProgress) -> bool:
        nonlocal asked
        asked += 1
        if asked == INTERRUPTED_AT:
            self.terminated = True
        return real_should_stop(self)

    RunFolderProgress.checkpoint, RunFolderProgress.should_stop = checkpoint, should_stop  # type: ignore
    try:
        yield
    finally:
        RunFolderProgress.checkpoint, RunFolderProgress.should_stop = real_checkpoint, real_should_stop  # type: ignore


@contextmanager
def _every_state_saved() -> Iterator[None]:
    before = loop.STATE_SECONDS, states.STATE_SHARE
    loop.STATE_SECONDS, states.STATE_SHARE = 0.0, 1e9
    try:
        yield
    finally:
        loop.STATE_SECONDS, states.STATE_SHARE = before


@contextmanager
def this_process_as_before() -> Iterator[None]:
    """Give back what a job's process takes for its own, and keep it to one thread meanwhile."""
    threads, environment = torch.get_num_threads(), dict(os.environ)
    handler: Callable[..., Any] | int | None = signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        os.environ.clear()
        os.environ.update(environment)
        torch.set_num_threads(threads)
