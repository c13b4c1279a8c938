"""kill -9 of the page, the worker, the job or all of them: at fourteen phases of a training, and at any moment."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass
from signal import SIGKILL

from jobs import queue
from jobs.datasets import token_files
from jobs.executors import processes
from storage import jobs
from storage.jobs import Job
from tests.faults import points
from tests.faults.studio import (
    TARGETS,
    Outcome,
    Studio,
    check,
    finished,
    last_step,
    newest_state,
    told,
    until,
)

# Each phase with the point at which everybody is when the kill comes. Where another process than the job's waits
# there, the job's own point of the same phase is given for the kill of the job.
PHASES: dict[str, tuple[str, str]] = {
    "queued": ("queued", "queued"),
    "claimed": ("claimed", "claimed"),
    "spawned": ("spawned", "begun"),
    "loading": ("loading", "loading"),
    "tokenizing": ("tokenizing", "tokenizing"),
    "first step": ("first step", "first step"),
    "mid-accumulation": ("mid-accumulation", "mid-accumulation"),
    "epoch boundary": ("epoch boundary", "epoch boundary"),
    "checkpoint file": ("checkpoint file", "checkpoint file"),
    "before the marker": ("before the marker", "before the marker"),
    "after the rename": ("after the rename", "after the rename"),
    "eval": ("eval", "eval"),
    "adapter publish": ("adapter published", "adapter saved"),
    "finish": ("result written", "result written"),
}
# Moments of the worker beside those, for the worker alone and for all.
MORE_POINTS = ("checkpoint heard of", "job gone", "adapter unpublished", "adapter recorded", "end recorded")
# The job's process has ended in order, or its result is written: nothing is to be done again.
AFTER_THE_RESULT = (
    "result written",
    "job gone",
    "adapter unpublished",
    "adapter published",
    "adapter recorded",
)
BEFORE_THE_JOB = ("queued", "claimed")
SENTENCE = re.compile(
    r"Interrupted at step (\d+)(; resumed from (\d+)|; started again) \(attempt (\d+)\)\.|"
    r"Interrupted; started again \(attempt (\d+)\)\."
)
AGAIN = re.compile(r"Resumed from step \d+ \(attempt \d+\)\.")
GAVE_UP = re.compile(r"Interrupted.*: it was not started again by itself\.")


@dataclass(frozen=True)
class Kill:
    """What one kill cost: seconds until the next new step, and steps that were computed again."""

    recovery_seconds: float | None
    steps_lost: int


def cases() -> list[tuple[str, str]]:
    """Every (point, target) of the matrix: 14 phases by 4 targets."""
    return [
        (own if target == "job" else point, target) for point, own in PHASES.values() for target in TARGETS
    ]


def more_cases() -> list[tuple[str, str]]:
    """The worker's other moments."""
    return [(point, target) for point in MORE_POINTS for target in ("worker", "all")]


def kill_at(studio: Studio, point: str, target: str, whole: Outcome) -> Kill:
    """Kill `target` while a fresh job's process or its worker is at `point`; all has to be as if nothing was."""
    if point in BEFORE_THE_JOB and target == "job":
        until(studio.spare)  # the process that is about to be the job's
    if point == "tokenizing":  # else the tokens are there from the run before
        token_files.keep_to(0)
    armed = points.arm(point)
    try:
        job = studio.submit()
        until(armed.pid)
        job = jobs.get(job.id)
        assert job.status in ("queued", "running") or point == "end recorded", job
        before, attempt = studio.job(job), job.attempt
        reached = last_step(job, attempt) if attempt else 0
        assert studio.kill(target, job)
        began = time.monotonic()
        if target in ("job", "all") and before is not None:
            until(lambda: not processes.is_running(before))
        saved = newest_state(job)
    finally:
        armed.release()
    if target in ("page", "all"):
        assert studio.page is not None
        studio.page.wait(30)
    if target == "page" and before is not None and point not in AFTER_THE_RESULT:
        _goes_on_without_a_page(studio, job, reached)
    studio.start()
    recovery = _next_step(job, reached, began) if point not in AFTER_THE_RESULT else None
    job = finished(job)
    check(job, whole)
    interrupted = target in ("job", "all") and before is not None and point not in AFTER_THE_RESULT
    _check_story(job, interrupted, reached, saved)
    return Kill(recovery, reached - (saved or 0) if interrupted else 0)


def under_way() -> list[Job]:
    """The jobs that have not ended."""
    return jobs.list_all(status="running") + jobs.list_all(status="queued")


def kill_at_random(studio: Studio, chance: random.Random, seconds: float) -> tuple[Job, str | None]:
    """Kill a random target at a random moment of the next `seconds`, of a job that is under way if there is one.

    Returns that job, and the target if there was such a process.
    """
    going = under_way()
    job = going[0] if going else studio.submit()
    time.sleep(chance.uniform(0, seconds))
    target = chance.choice(TARGETS)
    was_there = studio.kill(target, job)
    if target in ("page", "all"):
        assert studio.page is not None
        studio.page.wait(30)
    if target == "all":
        newest_state(job)  # nobody lives who could delete it meanwhile
    studio.start()
    return job, target if was_there else None


def settled(job: Job, whole: Outcome) -> Job:
    """The job once it has finished, after the user let it go on as often as it gave up by design."""
    retries = 0

    def look() -> Job | None:
        nonlocal retries
        now = jobs.get(job.id)
        if now.status == "failed":
            assert now.error_message and GAVE_UP.match(now.error_message), now
            queue.retry(job.id)
            retries += 1
        return now if now.status == "finished" else None

    job = until(look)
    check(job, whole)
    assert job.attempt == 1 + len(job.interruptions) + retries, job
    sentences = told(job)
    assert len(sentences) >= len(job.interruptions), sentences
    assert all(SENTENCE.fullmatch(one) or AGAIN.fullmatch(one) for one in sentences), sentences
    return job


def _goes_on_without_a_page(studio: Studio, job: Job, reached: int) -> None:
    """The steps rise, or the job ends, while no page lives."""
    assert studio.page is not None and studio.page.poll() == -SIGKILL
    until(lambda: jobs.get(job.id).step > reached or jobs.get(job.id).status == "finished")


def _next_step(job: Job, reached: int, began: float) -> float:
    """Seconds from the kill to the first step that is new."""

    def look() -> bool:
        now = jobs.get(job.id)
        assert now.status in ("queued", "running", "finished"), (now.status, now.error_message)
        return bool(now.attempt) and last_step(now, now.attempt) > reached

    until(look)
    return time.monotonic() - began


def _check_story(job: Job, interrupted: bool, reached: int, saved: int | None) -> None:
    """The attempts and the sentences are what happened, and nothing else."""
    sentences = told(job)
    if not interrupted:
        assert (job.attempt, sentences) == (1, []), (job.attempt, sentences)
        return
    assert job.attempt == 2 and len(sentences) == 1, (job.attempt, sentences)
    match = SENTENCE.fullmatch(sentences[0])
    assert match, sentences
    if match[1] is not None:
        assert int(match[1]) == reached, (sentences, reached)
        assert (None if match[3] is None else int(match[3])) == saved, (sentences, saved)
    else:
        assert saved is None and not job.interruptions[0]["step"], sentences
