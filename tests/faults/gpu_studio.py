"""A studio on real GPUs: a model of a real shape with random weights, and what its jobs' own files tell."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs import progress, queue
from jobs.base_models import catalogue
from jobs.datasets import importing
from jobs.executors.local import PROJECT_ROOT
from storage import adapters, files, jobs
from storage.jobs import Job
from tests.faults import gpu_entry, points
from tests.faults.studio import Studio, until
from tests.tiny import make_model

ROWS, ANSWER_CHARACTERS = 800, (20, 260)
RANK = 16
ENDED = ("finished", "failed", "stopped")


class GpuStudio(Studio):
    """One data folder with a model of a real shape, a dataset, a page's process and the worker that it keeps."""

    def __init__(self, folder: Path, shape: str, on_processor: bool) -> None:
        super().__init__(folder, with_model=False)
        self.environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        self.on_processor = on_processor
        if on_processor:
            self.environment |= {"FAULTS_PROCESSOR": "1", "OMP_NUM_THREADS": "1"}
        self.model = catalogue.add_custom(str(_model(folder.parent / "model", shape))).id
        chance = random.Random(0)
        words = [
            "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(500)
        ]
        rows = [
            {
                "prompt": f"What is {n} and {n * n}?",
                "response": " ".join(chance.choices(words, k=60))[: chance.randint(*ANSWER_CHARACTERS)],
            }
            for n in range(ROWS if shape != "tiny" else 20)
        ]
        self.dataset = importing.add_pasted("\n".join(map(json.dumps, rows))).id

    def start(self) -> None:
        """Start whatever is not running, as a user would."""
        if self.page is None or self.page.poll() is not None:
            command = [sys.executable, "-m", gpu_entry.MODULE, "page", str(files.root())]
            with files.log_path("page").open("ab") as log:
                self.page = subprocess.Popen(
                    command,
                    cwd=PROJECT_ROOT,
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def submit_run(self, name: str, steps: int, plan: dict[str, Any] | None = None, **settings: Any) -> Job:
        """Queue a training through the product's own queue.

        `plan`: "state_seconds" and "state_share" for `loop` and `states`, and "at": for an attempt, what it does
        ("kill" or "wait"), at which moment (`gpu_entry._wrap`), and after which step.
        """
        if plan is not None:
            files.write_json(points.folder() / f"{name}.json", plan)
        chosen = {"epochs": 100, "max_steps": steps, "tokens_per_step": 4096, "seed": 7, "scorecard": False}
        chosen |= settings
        if self.on_processor:
            chosen |= {"precision": "fp32", "tokens_per_step": 200}
        return queue.submit_training(self.dataset, self.model, RANK, chosen, name=name)

    def end_page(self) -> None:
        """Close the page, and wait until the worker has ended; the data folder stays in use."""
        if self.page is not None and self.page.poll() is None:
            self.page.terminate()
            self.page.wait(30)
        until(lambda: not [one for one in self.processes() if "jobs.serving.server" not in one.cmdline()], 60)


def _model(folder: Path, shape: str) -> Path:
    """Random weights of a real shape in bf16, with a small tokenizer."""
    make_model(folder)
    if shape == "tiny":
        return folder
    import torch
    from transformers import AutoModelForCausalLM

    from tests.benchmarks.training.shapes import config_of

    chosen = config_of(shape)
    chosen.bos_token_id, chosen.pad_token_id, chosen.eos_token_id = 0, 0, 2
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(chosen, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


# -- what jobs leave behind ----------------------------------------------------------------------------------


def events(job: Job, attempt: int = 1) -> list[dict[str, Any]]:
    """All that an attempt has reported so far, with the times."""
    try:
        lines = (files.attempt_folder(job.id, attempt) / progress.EVENTS_FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [event for line in lines if (event := progress._parsed(line))]


def steps_of(job: Job, attempt: int = 1) -> list[dict[str, Any]]:
    """The events of finished steps."""
    return [
        event for event in events(job, attempt) if event["type"] == "metric" and "loss" in event["values"]
    ]


def at_phase(job: Job, words: str, attempt: int = 1) -> float | None:
    """When a phase began."""
    return next(
        (e["time"] for e in events(job, attempt) if e["type"] == "phase" and words in e["words"]), None
    )


def measured(job: Job, attempt: int = 1) -> dict[str, Any]:
    """What the attempt's process found out about itself."""
    path = files.attempt_folder(job.id, attempt) / gpu_entry.MEASURED_FILE
    return json.loads(path.read_bytes()) if path.exists() else {"saves": []}


def all_losses(job: Job) -> list[tuple[int, str, float]]:
    """Every loss of every attempt, also those that were computed twice."""
    found = []
    for attempt in range(1, jobs.get(job.id).attempt + 1):
        for step, name, value in progress.read_events(
            files.attempt_folder(job.id, attempt), 0, 1 << 30
        ).metrics:
            if name in ("loss", "held_out_loss", "grad_norm") and value is not None:
                found.append((step, name, value))
    return found


def compared(job: Job, whole: Job) -> dict[str, Any]:
    """How far a run is from an undisturbed one of the same settings."""
    mine, other = all_losses(job), {(step, name): value for step, name, value in all_losses(whole)}
    gaps = [abs(value - other[step, name]) for step, name, value in mine if name != "grad_norm"]
    first = [step for step, name, value in mine if value != other[step, name]]
    here, there = (jobs.get(one.id) for one in (job, whole))
    return {
        "losses_compared": len(gaps),
        "greatest_deviation": max(gaps, default=None),
        "first_step_that_differs": min(first, default=None),
        "steps_missing": len(set(other) - {(step, name) for step, name, _ in mine}),
        "adapter_sha256_equal": sha256(here) is not None and sha256(here) == sha256(there),
    }


def sha256(job: Job) -> str | None:
    """The weights' checksum of the adapter that a job made."""
    return adapters.get(job.adapter_id).weights_sha256 if job.adapter_id else None


def ended(job: Job, seconds: float) -> Job:
    """The job once it has ended, however."""

    def look() -> Job | None:
        now = jobs.get(job.id)
        return now if now.status in ENDED else None

    return until(look, seconds, 0.05)


def reached(job: Job, step: int, seconds: float) -> Job:
    """The job once it has done a step; raises when it ends before."""

    def look() -> Job | None:
        now = jobs.get(job.id)
        assert now.status not in ENDED, (now.status, now.error_message)
        return now if now.attempt and any(e["step"] >= step for e in steps_of(now, now.attempt)) else None

    return until(look, seconds)


def kill(job: Job, sent: int = signal.SIGKILL) -> float:
    """Signal the job's process; when that was."""
    handle = Studio.job(job)
    assert handle is not None and handle.pid > 1
    os.kill(handle.pid, sent)
    return time.time()


def said_there(name: str, attempt: int) -> float | None:
    """When an attempt came to the moment of its plan."""
    path = points.folder() / f"{name}-{attempt}.there"
    return float(path.read_text()) if path.exists() else None


def say_go(name: str, attempt: int) -> None:
    """Let an attempt go on that waits at the moment of its plan."""
    (points.folder() / f"{name}-{attempt}.go").touch()


@contextmanager
def filler(device: str) -> Iterator[Callable[[int], int]]:
    """Another program on the GPU; calling it leaves so many bytes free, and says how many those are."""
    process = subprocess.Popen(
        [sys.executable, "-m", gpu_entry.MODULE, "fill", device],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def leave(count: int) -> int:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{count}\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    try:
        yield leave
    finally:
        process.kill()
        process.wait()
