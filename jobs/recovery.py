"""What becomes of a job whose process ended before its time: whether it goes on by itself, and what is said of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from jobs import gpu
from storage import checkpoints, files
from storage.errors import StudioError
from storage.jobs import Job

# After so many it is more likely the job that breaks the computer than the computer that breaks the job.
MOST_RESUMES = 3
# On a disk as full as this, not even the few bytes of a result can be kept: the missing room is the reason.
FULL_BYTES = 4_000_000
# What has to be free before a job that filled the disk goes on, where nothing better is known.
ROOM_BYTES = 100_000_000

KILLED, RESTARTED, ASKED, FULL = "", " by a restart of the computer", "asked", "full"


def interruption(job: Job, why: str) -> dict[str, Any]:
    """How far the current attempt came and why it ended, as it is kept in `Job.interruptions`.

    `why` is KILLED, RESTARTED, ASKED (the system asked the process to end) or FULL (the disk). Only the first
    two count against going on: whoever ends in order can do so any number of times.
    """
    saved = checkpoints.list_of(job.id)
    return {
        "attempt": job.attempt,
        "step": job.step,
        "done": 0 if job.total_steps else job.phase_done or 0,
        "saved": saved[0].step if saved else 0,
        "from": job.resumed_from,
        "why": why,
        # What asks the model server does nothing that could bring a computer down.
        "counted": why == KILLED or (why == RESTARTED and job.device not in gpu.ASKING),
        "at": time.time(),
    }


def refusal(job: Job, now: Mapping[str, Any]) -> StudioError | None:
    """Why the job does not go on by itself after this interruption; None when it does."""
    before = [one for one in job.interruptions if one["counted"]]
    where = f" at step {job.step}" if job.total_steps else ""
    if len(before) >= MOST_RESUMES:
        return StudioError(
            f"Interrupted{where}, for the {len(before) + 1}th time: it was not started again by itself.",
            "Look at the last lines of its log. Nothing that it saved is lost: you can let it go on.",
        )
    # Whoever waits for the model server comes no further, for as long as a training has the device.
    if (
        job.device not in gpu.ASKING
        and before
        and not any(
            all(now[measure] > one.get(measure, 0) for one in before) for measure in ("step", "done", "saved")
        )
    ):
        return StudioError(
            f"Interrupted{where} again, without having come any further: it was not started again by itself.",
            "Close other programs or choose a smaller base model. Nothing that it saved is lost: you can let it go on.",
        )
    return None


def out_of_memory(job: Job) -> StudioError:
    """The end of a job that the system killed because the computer had no memory left."""
    where = f" at step {job.step}" if job.total_steps else ""
    return StudioError(
        f"The system killed the job's process{where}: the computer was out of memory.",
        "Close other programs, set tokens_per_step or max_tokens lower, or choose a smaller base model.",
    )


def waits_for_room(job: Job) -> str:
    """Why a waiting job does not begin although its device is free."""
    kept = " Run paused, last checkpoint kept." if job.attempt else " It begins when there is room."
    return f"{files.full_disk(job.needs_bytes).message}{kept}"


def sentences(job: Job) -> list[str]:
    """What happened to earlier attempts and how the job went on, oldest first."""
    told = []
    for number, one in enumerate(job.interruptions):
        later = job.interruptions[number + 1] if number + 1 < len(job.interruptions) else None
        going = {"attempt": job.attempt, "from": job.resumed_from} if later is None else later
        told.append(f"{_end(one, bool(job.total_steps))}{_how_it_went_on(one, going, later is None, job)}.")
    if job.resumed_from is not None and not any(
        one["attempt"] == job.attempt - 1 for one in job.interruptions
    ):
        told.append(f"Resumed from step {job.resumed_from} (attempt {job.attempt}).")
    return told


def _end(one: Mapping[str, Any], counts_steps: bool) -> str:
    verb = {ASKED: "Stopped safely", FULL: "Paused by a full disk"}.get(one["why"], "Interrupted")
    where = f" at step {one['step']}" if counts_steps else ""
    return f"{verb}{where}{one['why'] if one['why'] == RESTARTED else ''}"


def _how_it_went_on(one: Mapping[str, Any], going: Mapping[str, Any], is_last: bool, job: Job) -> str:
    if going["attempt"] <= one["attempt"]:
        return "; it goes on by itself" if job.status == "queued" else ""
    if going["from"] is not None:
        return f"; resumed from {going['from']} (attempt {going['attempt']})"
    if is_last and job.status == "running" and not job.phase:
        return f"; starting again (attempt {going['attempt']})"
    return f"; started again (attempt {going['attempt']})"
