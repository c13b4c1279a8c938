"""What is measured on one GPU: starts, kills and states."""

from __future__ import annotations

import itertools
import signal
import statistics
import time
from collections.abc import Iterator
from typing import Any

from jobs.executors import processes
from storage import jobs
from storage.jobs import Job
from tests.faults.gpu_studio import (
    GpuStudio,
    at_phase,
    compared,
    ended,
    events,
    kill,
    measured,
    reached,
    said_there,
    steps_of,
)
from tests.faults.studio import Studio, told, until

Lines = Iterator[dict[str, Any]]
# States often enough that a run of seconds has some.
OFTEN = {"state_seconds": 1.5, "state_share": 1.0}
START_SECONDS, PATIENCE = 120.0, 240.0


# -- from the click to the first loss ------------------------------------------------------------------------


def starts(studio: GpuStudio, seconds: float) -> Lines:
    """Three short runs: the first on this machine, one in a new process, one in the process that waits."""
    for name in ("first on this machine", "new process", "waiting process"):
        if name == "waiting process":
            until(lambda: _waits(studio), START_SECONDS)
        clicked = time.time()
        job = studio.submit_run(name, 40, precision="bf16")
        on_page = until(lambda job=job: _seen(job), START_SECONDS, 0.02)
        job = ended(job, START_SECONDS)
        steps = steps_of(job)
        phases = [(e["words"], e["time"]) for e in events(job) if e["type"] == "phase"]
        yield {
            "what": "click to the first loss",
            "how": name,
            "status": job.status,
            "error": job.error_message,
            "seconds": round(steps[0]["time"] - clicked, 2) if steps else None,
            "seconds_in_database": round(on_page - clicked, 2),
            "phases": [[words, round(at - clicked, 2)] for words, at in phases],
            "steps_per_second": _rate(steps),
            "notes": job.notes,
        }


def _seen(job: Job) -> float | None:
    """The time, once the page would show a loss, or that there is none."""
    now = jobs.get(job.id)
    return time.time() if now.loss is not None or now.status in ("failed", "stopped") else None


def _waits(studio: GpuStudio) -> bool:
    try:
        return studio.spare() is not None
    except FileNotFoundError:
        return False


def _rate(steps: list[dict[str, Any]]) -> float | None:
    """Steps in a second, without the first ones."""
    late = steps[len(steps) // 3 :]
    if len(late) < 2 or late[-1]["time"] == late[0]["time"]:
        return None
    return round((len(late) - 1) / (late[-1]["time"] - late[0]["time"]), 2)


def steps_for(studio: GpuStudio, precision: str, seconds: float) -> int:
    """How many steps take about so long on this machine."""
    if studio.on_processor:
        return 40
    known = next((job for job in jobs.list_all() if job.name == f"rate {precision}"), None)
    job = known or ended(studio.submit_run(f"rate {precision}", 40, precision=precision), START_SECONDS)
    return max(30, min(4000, int((_rate(steps_of(job)) or 1.0) * seconds)))


# -- kills ---------------------------------------------------------------------------------------------------


def resuming(studio: GpuStudio, seconds: float, precision: str) -> Lines:
    """An undisturbed run, the same once more, then the same with kills at chosen and at other moments."""
    steps = steps_for(studio, precision, seconds)
    label = f"{precision}, {steps} steps"
    whole = ended(studio.submit_run(f"{precision} whole", steps, OFTEN, precision=precision), PATIENCE)
    if whole.status != "finished":
        yield {
            "what": "undisturbed run",
            "conditions": label,
            "status": whole.status,
            "error": whole.error_message,
        }
        return
    again = ended(studio.submit_run(f"{precision} again", steps, OFTEN, precision=precision), PATIENCE)
    yield {
        "what": "undisturbed run, a second time",
        "conditions": label,
        "status": again.status,
        "notes": again.notes,
        **compared(again, whole),
        **saving_of(again),
    }
    records = any("recorded CUDA graph" in words for words in (whole.result.get("words") or []))
    replay = "replay" if records else "learn"
    first = {
        "1": ["kill", "loading", 0],
        "2": ["kill", replay, steps * 4 // 10],
        "3": ["kill", "saving", steps * 7 // 10],
    }
    yield from _killed(studio, f"{precision} kills A", label, steps, precision, whole, first, None)
    if precision == "fp32":
        return
    early = "recording" if records else "learn"
    second = {"1": ["kill", early, 0], "3": ["kill", "look", steps * 7 // 10]}
    yield from _killed(
        studio, f"{precision} kills B", label, steps, precision, whole, second, steps * 35 // 100
    )


def _killed(
    studio: GpuStudio,
    name: str,
    label: str,
    steps: int,
    precision: str,
    whole: Job,
    at: dict[str, list[Any]],
    from_outside_at: int | None,
) -> Lines:
    """One run with kills; the second comes from outside at that step, or at its own moment."""
    job = studio.submit_run(name, steps, {**OFTEN, "at": at}, precision=precision)
    outside: dict[int, float] = {}
    if from_outside_at is not None:
        until(lambda: jobs.get(job.id).attempt == 2, PATIENCE)
        reached(job, from_outside_at, PATIENCE)
        outside[2] = kill(job)
    job = ended(job, PATIENCE)
    for attempt in range(1, job.attempt):
        killed = outside.get(attempt) or said_there(name, attempt)
        yield {
            "what": "kill -9 of a job on the GPU",
            "conditions": f"{label}, {'from outside' if attempt in outside else at[str(attempt)][1]}",
            **cost_of(job, attempt, killed),
        }
    yield {
        "what": "run with kills beside an undisturbed one",
        "conditions": label,
        "status": job.status,
        "error": job.error_message,
        "attempts": job.attempt,
        "told": told(job),
        **compared(job, whole),
    }


def cost_of(job: Job, attempt: int, killed: float | None) -> dict[str, Any]:
    """What the end of an attempt at this time cost."""
    before, after = steps_of(job, attempt), steps_of(job, attempt + 1)
    reached_step = before[-1]["step"] if before else 0
    came_from = next((e["step"] for e in events(job, attempt + 1) if e["type"] == "resumed"), 0)
    new = next((e["time"] for e in after if e["step"] > reached_step), None)
    begun = [e["time"] for e in events(job, attempt + 1)]
    return {
        "at_step": reached_step,
        "resumed_from": came_from,
        "used_bytes_when_the_next_began": measured(job, attempt + 1).get("used_at_start"),
        "steps_lost": reached_step - came_from,
        "seconds_to_next_process": round(begun[0] - killed, 2) if begun and killed else None,
        "seconds_to_first_step": round(after[0]["time"] - killed, 2) if after and killed else None,
        "seconds_to_first_new_step": round(new - killed, 2) if new and killed else None,
    }


def saving_of(job: Job) -> dict[str, Any]:
    """What saving states took of the time from the beginning of the steps to their end."""
    saves, begun = measured(job)["saves"], at_phase(job, "Training")
    steps = steps_of(job)
    if not saves or begun is None or not steps:
        return {"states": len(saves)}
    parts = {name: round(statistics.median(one.get(name, 0.0) for one in saves), 4) for name in saves[-1]}
    total = steps[-1]["time"] - begun
    return {
        "states": len(saves),
        "state_seconds_median": parts.pop("seconds"),
        "parts_seconds": parts,
        "share_of_time": round(sum(one["seconds"] for one in saves) / total, 4),
        "seconds": round(total, 2),
        "steps_per_second": _rate(steps),
    }


def saving(studio: GpuStudio, seconds: float) -> Lines:
    """A longer run with the product's own numbers: how often it saves, and what that costs."""
    steps = steps_for(studio, "bf16", 4 * seconds)
    job = ended(studio.submit_run("saving", steps, precision="bf16"), PATIENCE)
    at = [e["time"] for e in events(job) if e["type"] == "checkpoint"]
    gaps = [round(b - a, 1) for a, b in itertools.pairwise(at)]
    yield {
        "what": "saving states as the product does",
        "conditions": f"bf16, {steps} steps",
        "gaps": gaps,
        **saving_of(job),
    }


def terminated(studio: GpuStudio, seconds: float) -> Lines:
    """SIGTERM in the middle: it saves within the grace, and goes on."""
    steps = steps_for(studio, "bf16", seconds)
    whole = next(
        (one for one in jobs.list_all() if one.name == "bf16 whole" and one.total_steps == steps), None
    )
    whole = whole or ended(studio.submit_run("bf16 whole", steps, OFTEN, precision="bf16"), PATIENCE)
    job = studio.submit_run("terminated", steps, {"state_seconds": 60.0}, precision="bf16")
    reached(job, steps // 2, PATIENCE)
    handle = Studio.job(job)
    assert handle is not None
    sent = kill(job, signal.SIGTERM)
    until(lambda: not processes.is_running(handle), 60, 0.002)
    gone = time.time()
    job = ended(job, PATIENCE)
    yield {
        "what": "SIGTERM to a job on the GPU",
        "conditions": f"bf16, {steps} steps",
        "status": job.status,
        "error": job.error_message,
        "seconds_to_its_end": round(gone - sent, 2),
        "told": told(job),
        **cost_of(job, 1, sent),
        **compared(job, whole),
    }
