"""What is measured where the memory of a GPU is another's: a model server that gives way, and memory that runs out."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from jobs import gpu, queue
from jobs.executors import processes
from jobs.executors.base import Handle
from jobs.serving import address, client, waiting
from jobs.serving.schema import CompareSettings
from storage import files, jobs
from storage.jobs import Job
from tests.faults import gpu_probe
from tests.faults.gpu_figures import PATIENCE, START_SECONDS, Lines, steps_for
from tests.faults.gpu_studio import (
    GpuStudio,
    ended,
    events,
    filler,
    measured,
    reached,
    said_there,
    say_go,
    steps_of,
)
from tests.faults.studio import Studio, until

MEGABYTE = 1 << 20
AFTER_FAILURE_SECONDS = 4.0


class Question(threading.Thread):
    """One question as the page asks it, which waits as long as it must."""

    def __init__(self, adapter_id: str, prompt: str, tokens: int) -> None:
        super().__init__(daemon=True)
        settings = CompareSettings(sides=("base", "adapted"), max_new_tokens=tokens, temperature=1.0, seed=3)
        self.words: list[tuple[float, str]] = []
        self.first = self.end = None
        self.answers: list[Any] = []
        self.error: str | None = None
        self._ask: Callable[[], Any] = lambda: client.compare(adapter_id, prompt, settings)
        self.start()

    def run(self) -> None:
        """Ask, wait, keep what came."""
        try:
            for item in waiting.patiently(self._ask):
                if isinstance(item, waiting.Waiting):
                    if not self.words or self.words[-1][1] != item.words:
                        self.words.append((time.time(), item.words))
                    self.first = None
                else:
                    self.first, self.answers = self.first or time.time(), item
            self.end = time.time()
        except Exception as error:  # noqa: BLE001 (an edge: reported)
            self.error = f"{type(error).__name__}: {error}"

    def told(self, since: float) -> dict[str, Any]:
        """How it went, with times after `since`."""
        return {
            "error": self.error,
            "waited_with": [[round(at - since, 2), words] for at, words in self.words][:12],
            "answer_began": round(self.first - since, 2) if self.first else None,
            "answer_ended": round(self.end - since, 2) if self.end else None,
            "tokens": [one["tokens"] for one in self.answers],
            "complete": bool(self.answers) and all(one["done"] for one in self.answers),
        }


def server(studio: GpuStudio, seconds: float) -> Lines:
    """The server has the model on the GPU, and a job comes in the middle of an answer."""
    trained = next((one for one in jobs.list_all(status="finished") if one.adapter_id), None)
    trained = trained or ended(studio.submit_run("for the server", 40, precision="bf16"), START_SECONDS)
    assert trained.adapter_id is not None
    steps = steps_for(studio, "bf16", seconds)
    empty = gpu_probe.used_bytes()
    with gpu_probe.Samples() as samples:
        warm_up = Question(trained.adapter_id, "What is 3 and 9?", 16)
        asked = time.time()
        warm_up.join(START_SECONDS)
        holding, own = gpu_probe.used_bytes(), address.read()
        yield {
            "what": "first answer of the model server",
            **warm_up.told(asked),
            "used_megabytes": _mb(holding, empty),
        }
        assert own is not None
        before = Question(trained.adapter_id, "What is 4 and 16?", 400)
        until(lambda: before.first or before.error, START_SECONDS)
        clicked = time.time()
        job = studio.submit_run("sends the server away", steps, precision="bf16")
        until(lambda: studio.on_processor or not processes.is_running(own.process), START_SECONDS, 0.002)
        gone = time.time()
        time.sleep(0.05)
        freed = gpu_probe.used_bytes()
        reached(job, 1, START_SECONDS)
        during = Question(trained.adapter_id, "What is 5 and 25?", 32)
        training = gpu_probe.used_bytes()
        job = ended(job, PATIENCE)
        finished = job.finished_at or time.time()
        for question in (before, during):
            question.join(PATIENCE)
        answering = gpu_probe.used_bytes()
    until_loss = steps_of(job)[0]["time"] if steps_of(job) else gone
    yield {
        "what": "the model server gives way to a job",
        "status": job.status,
        "error": job.error_message,
        "seconds_from_click_to_its_end": round(gone - clicked, 2),
        "seconds_from_click_to_first_loss": round(until_loss - clicked, 2),
        "waiting_phases": [
            e["words"] for e in events(job) if e["type"] == "phase" and "Waiting" in e["words"]
        ],
        "used_megabytes": {
            "before": _mb(holding, empty),
            "server gone": _mb(freed, empty),
            "job begins": _mb(measured(job).get("used_at_start", []), empty),
            "least in between": _mb([min(samples.between(gone, until_loss), default=0)], empty),
            "training": _mb(training, empty),
            "answering again": _mb(answering, empty),
        },
        "another_process_answers": (now := address.read()) is not None and now.process != own.process,
    }
    yield {
        "what": "question in the middle of its answer; seconds since the job's end",
        **before.told(finished),
    }
    yield {"what": "question asked while the job runs; seconds since the job's end", **during.told(finished)}
    _end_server(now.process if now else None)


def _end_server(process: Handle | None) -> None:
    if process is not None and processes.is_running(process):
        assert process.pid > 1
        os.kill(process.pid, signal.SIGTERM)
        until(lambda: not processes.is_running(process), 30)


def _mb(used: list[int], empty: list[int]) -> int | None:
    """Of the first GPU, beyond what was used with nobody on it."""
    return round((used[0] - empty[0]) / MEGABYTE) if used and empty else None


# -- no memory -----------------------------------------------------------------------------------------------


def out_of_memory(studio: GpuStudio, seconds: float) -> Lines:
    """Another program has the GPU's memory, or takes it in the middle of the preparations."""
    device = gpu.default_device()
    last: Job | None = None
    with filler(device) as leave:
        for left in (100, 1000):
            free = leave(left * MEGABYTE)
            job = ended(studio.submit_run(f"{left} MB free", 40, precision="bf16"), START_SECONDS)
            yield {
                "what": "GPU full before the job begins",
                "free_megabytes": free // MEGABYTE,
                **end_of(job),
            }
            last = job if job.status == "failed" else last
        trained = next((one for one in jobs.list_all(status="finished") if one.adapter_id), None)
        if trained is not None and trained.adapter_id:
            leave(100 * MEGABYTE)
            question = Question(trained.adapter_id, "What is 3 and 9?", 16)
            asked = time.time()
            question.join(START_SECONDS)
            yield {"what": "question while the GPU is full", **question.told(asked)}
            own = address.read()
            _end_server(own.process if own else None)
    for left in (2000, 20):
        name = f"{left} MB free later"
        with filler(device) as leave:
            leave(1 << 50)
            moment = "loading" if studio.on_processor else "rehearsing"
            plan = {"at": {"1": ["wait", moment, 0]}}
            job = studio.submit_run(name, 12, plan, precision="bf16", tokens_per_step=65536)
            until(lambda name=name: said_there(name, 1), START_SECONDS)
            free = leave(left * MEGABYTE)
            say_go(name, 1)
            job = ended(job, PATIENCE)
            yield {
                "what": "GPU filled before the rehearsal",
                "free_megabytes": free // MEGABYTE,
                **end_of(job),
            }
            last = job if job.status == "failed" else last
    if last is not None:
        queue.retry(last.id)
        job = ended(last, START_SECONDS)
        yield {"what": "the failed job, started again by hand with the GPU free", **end_of(job)}


def _last_words(job: Job) -> str | None:
    """What the log says of a failure that nobody foresaw."""
    if not (job.error_message or "").startswith("Something unexpected"):
        return None
    return (files.run_folder(job.id) / "log.txt").read_text(errors="replace")[-1200:]


def end_of(job: Job) -> dict[str, Any]:
    """How it ended, and whether it stays so."""
    if job.status == "failed":
        time.sleep(AFTER_FAILURE_SECONDS)
    later = jobs.get(job.id)
    return {
        "name": job.name,
        "status": later.status,
        "attempts": later.attempt,
        "restarted_by_itself": (later.attempt, later.status) != (job.attempt, job.status),
        "process_gone": Studio.job(job) is None,
        "error": later.error_message,
        "remedy": later.error_remedy,
        "log": _last_words(later),
        "notes": later.notes,
        "seconds": round((later.finished_at or 0) - (later.started_at or 0), 1),
        "steps": len(steps_of(later, later.attempt)),
    }
