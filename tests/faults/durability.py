"""What being able to go on costs: the time that a training spends on states, checksums, fsync and its reserve."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jobs import run_job, run_state, worker
from jobs.base_models import catalogue
from jobs.kinds import KINDS
from jobs.progress import RunFolderProgress
from jobs.training import states
from storage import config, database, files, jobs
from tests.faults.recorded import examples, this_process_as_before
from tests.tiny import make_model

STEPS = 500
SETTINGS = {
    "max_steps": STEPS,
    "epochs": 100.0,
    "tokens_per_step": 100,
    "precision": "fp32",
    "scorecard": False,
}


@dataclass
class Measured:
    """Seconds by what they were spent on, of `whole_seconds`; fsync is also part of the others."""

    whole_seconds: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    conditions: str = ""


def measured(folder: Path) -> Measured:
    """Train in this process, with clocks around everything that is only there for a bad day."""
    found = Measured()
    home = folder / "home"
    config.use(config.from_environment(home))
    model = make_model(folder / "model")
    clocks: list[tuple[Any, str, str]] = [
        (states, "save_state", "states"),
        (states, "_sha256", "checksums"),
        (os, "fsync", "fsync"),
        (run_job.run_folder, "reserve", "the reserve"),
        (RunFolderProgress, "_write", "events"),
    ]
    real = [(owner, name, getattr(owner, name)) for owner, name, _ in clocks]
    try:
        with this_process_as_before():
            torch.set_num_threads(1)
            database.connect()
            model_id = catalogue.add_custom(str(model)).id
            job = jobs.add("training", "numbers", "cpu", examples(), model_id, 4, SETTINGS)
            job = jobs.claim(set()) or job
            run_state.write(job.id)
            spec = {"job_id": job.id, **{name: getattr(job, name) for name in worker.SPEC_FIELDS}}
            files.write_json(files.run_folder(job.id) / "job.json", spec)
            for owner, name, what in clocks:
                setattr(owner, name, _timed(getattr(owner, name), what, found.seconds))
            began = time.perf_counter()
            run_job.do(files.run_folder(job.id), 1, KINDS)
            found.whole_seconds = time.perf_counter() - began
        result = files.read_json(files.attempt_folder(job.id, 1) / "result.json")
    finally:
        for owner, name, function in real:
            setattr(owner, name, function)
        database.close()
    assert result["steps"] == STEPS, result
    found.conditions = (
        f"tiny model, CPU, {STEPS} steps of {1000 * result['seconds'] / STEPS:.1f} ms, whole job "
        f"{found.whole_seconds:.1f} s with loading"
    )
    return found


def _timed(function: Callable[..., Any], what: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def run(*values: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*values, **named)
        finally:
            seconds[what] = seconds.get(what, 0.0) + time.perf_counter() - began

    return run
