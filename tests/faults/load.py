"""A thousand waiting jobs, and a hundred people who watch a training."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from jobs import progress, queue
from jobs.base_models import catalogue
from jobs.datasets import importing
from jobs.executors.local import PROJECT_ROOT
from storage import config, database, files, jobs
from storage.jobs import Job
from tests.faults.studio import until
from tests.journeys import studio_process, tiny_studio
from tests.tiny import make_model

# As often as a page asks that somebody has open.
INTERVAL_SECONDS = 1.0
HEALTH_EVERY = 5
# So many of the watchers are also programs that ask the endpoint.
PROGRAMS = 5
CLAIMER = """
import sys
from storage import config, database, jobs
config.use(config.from_environment(sys.argv[1]))
database.connect()
while job := jobs.claim(set()):
    print(job.id)
"""
# Long enough that it does not end while it is watched.
SETTINGS = {"epochs": 100.0, "tokens_per_step": 512, "precision": "fp32"}
ROWS = 5000


# -- a thousand jobs -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claims:
    """How a queue was emptied."""

    jobs: int
    twice: int
    lost: int
    in_order: bool
    seconds: float


def claims(home: Path, count: int = 1000, claimers: int = 8) -> Claims:
    """Let several processes empty a queue of two devices at once."""
    config.use(config.from_environment(home))
    database.connect()
    added = [jobs.add("training", str(n), ("cpu", "network")[n % 2]).id for n in range(count)]
    began = time.monotonic()
    command = [sys.executable, "-c", CLAIMER, str(home)]
    crowd = [
        subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(claimers)
    ]
    claimed = "".join(process.communicate()[0] for process in crowd).split()
    seconds = time.monotonic() - began
    every = jobs.list_all(limit=2 * count)
    order: dict[str, list[int]] = defaultdict(list)
    # Noted while the claimer had the database for itself.
    for job in sorted(every, key=lambda job: job.started_at or 0.0):
        order[job.device].append(job.position)
    in_order = all(positions == sorted(positions) for positions in order.values())
    return Claims(count, len(claimed) - len(set(claimed)), len(set(added) - set(claimed)), in_order, seconds)


def runs_page(home: Path, count: int = 1000) -> float:
    """Seconds until the first page of so many runs is made."""
    from studio.tabs import runs

    config.use(config.from_environment(home))
    database.connect()
    for n in range(count - len(jobs.list_all(limit=count))):
        jobs.add("training", f"run {n}", "cpu")
    runs.show(0)  # what is imported at the first call has been imported at the start of a studio
    began = time.perf_counter()
    runs.show(0)
    return time.perf_counter() - began


# -- a hundred people ----------------------------------------------------------------------------------------


@dataclass
class Watched:
    """What the watchers met: seconds by what was asked for, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    steps_per_second: float = 0.0
    alone_steps_per_second: float = 0.0

    def slowdown(self) -> float:
        """The share by which a step takes longer."""
        return self.alone_steps_per_second / self.steps_per_second - 1

    def percentiles(self, name: str) -> tuple[float, float, float]:
        """p50, p95 and p99 in milliseconds."""
        cuts = statistics.quantiles(self.seconds[name], n=100)
        return 1000 * cuts[49], 1000 * cuts[94], 1000 * cuts[98]

    def growth(self) -> float:
        """By which factor the page's memory grew from the first to the last third."""
        third = max(1, len(self.memory_bytes) // 3)
        return statistics.mean(self.memory_bytes[-third:]) / statistics.mean(self.memory_bytes[:third])


def watched(folder: Path, clients: int = 100, seconds: float = 120.0) -> Watched:
    """Let people watch a training in a real studio, after it was alone for as long as that."""
    home = folder / "home"
    model = make_model(folder / "tiny-model")
    studio = tiny_studio.start(home, model)
    found = Watched()
    try:
        database.connect()
        job = _training()
        until(lambda: jobs.get(job.id).step > 20)
        found.alone_steps_per_second = _speed(job, seconds / 2)
        began = _steps(job), time.monotonic()
        page = psutil.Process(studio.process.pid)
        asyncio.run(_watch(studio.url.rstrip("/"), job.id, clients, seconds, found, page))
        found.steps_per_second = (_steps(job) - began[0]) / (time.monotonic() - began[1])
        queue.stop(job.id)
        until(lambda: jobs.get(job.id).finished_at)
    finally:
        database.close()
        studio.stop()
        studio_process.kill_all_of(home)
    return found


def _training() -> Job:
    rows = [{"prompt": f"What is {n} and {n * n}?", "response": "x" * (5 + n % 13)} for n in range(ROWS)]
    dataset = importing.add_pasted("\n".join(map(json.dumps, rows)))
    return queue.submit_training(dataset.id, catalogue.STARTER_ID, 4, SETTINGS)


def _steps(job: Job) -> int:
    """How far the run is, by its own events."""
    batch = progress.read_events(files.attempt_folder(job.id, 1), 0, 1 << 30)
    return max((step for step, _, _ in batch.metrics), default=0)


def _speed(job: Job, seconds: float) -> float:
    first, began = _steps(job), time.monotonic()
    time.sleep(seconds)
    return (_steps(job) - first) / (time.monotonic() - began)


async def _watch(
    url: str, job_id: str, clients: int, seconds: float, found: Watched, page: psutil.Process
) -> None:
    until_then = time.monotonic() + seconds
    chance = random.Random(0)
    limits = httpx.Limits(max_connections=2 * clients)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:

        async def points(cursor: list[int]) -> None:
            answer = await client.get(f"/runs/{job_id}/points", params={"after": cursor[0], "told": 9})
            cursor[0] = answer.raise_for_status().json()["c"]

        async def health(_: list[int]) -> None:
            (await client.get("/healthz")).raise_for_status()

        async def endpoint(_: list[int]) -> None:
            asked = await client.post("/gradio_api/call/job", json={"data": [job_id]})
            answer = await client.get(f"/gradio_api/call/job/{asked.raise_for_status().json()['event_id']}")
            if "event: complete" not in answer.raise_for_status().text:
                raise ValueError(answer.text[:200])

        async def visitor(wait: float) -> None:
            """What an open page asks: studio's live.js and studio.js."""
            await asyncio.sleep(wait)
            cursor = [0]  # the whole curve at first, then what is new
            for turn in itertools.count():
                if time.monotonic() > until_then:
                    return
                await _timed("points", partial(points, cursor), found)
                if turn % HEALTH_EVERY == 0:
                    await _timed("healthz", partial(health, cursor), found)
                await asyncio.sleep(INTERVAL_SECONDS)

        async def program(wait: float) -> None:
            """A program that follows a job through its endpoint."""
            await asyncio.sleep(wait)
            while time.monotonic() < until_then:
                await _timed("job", partial(endpoint, []), found)
                await asyncio.sleep(INTERVAL_SECONDS)

        async def weigh() -> None:
            while time.monotonic() < until_then:
                found.memory_bytes.append(page.memory_info().rss)
                await asyncio.sleep(max(0.5, seconds / 30))

        waits = [chance.uniform(0, INTERVAL_SECONDS) for _ in range(clients)]
        await asyncio.gather(weigh(), *map(visitor, waits), *map(program, waits[:PROGRAMS]))


async def _timed(name: str, ask: Callable[[], Coroutine[Any, Any, None]], found: Watched) -> None:
    began = time.perf_counter()
    try:
        await ask()
    except (httpx.HTTPError, ValueError, KeyError) as error:
        found.errors.append(f"{name}: {type(error).__name__} {error}")
    else:
        found.seconds[name].append(time.perf_counter() - began)


def conditions(clients: int, seconds: float) -> str:
    """Where and how the people were let in."""
    return (
        f"{clients} open pages: points every {INTERVAL_SECONDS:.0f} s, health every {HEALTH_EVERY}th time; "
        f"{PROGRAMS} programs: /job every {INTERVAL_SECONDS:.0f} s; {seconds:.0f} s, tiny model; "
        f"{os.cpu_count()} cores for training, page and clients together"
    )
