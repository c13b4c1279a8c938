"""What a question does while others come first: it waits in words, and is asked again where that is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from jobs import gpu
from jobs.serving.connection import ServerGone
from storage import jobs
from storage.errors import StudioError
from storage.jobs import Job
from storage.waiting import in_order

# Short, because whoever stops the wait, or asks anew, is heard only in between.
POLL_SECONDS = 0.2
# Between two jobs the device is free for as long as the worker needs to start the next one.
GAP_SECONDS = 5.0

Snapshot = TypeVar("Snapshot")


@dataclass(frozen=True)
class Waiting:
    """Why there is no answer now, in sentences that also say that it comes by itself."""

    words: str


class GaveWay(StudioError):
    """What ran in the background has ended for a person's question; the rest of it is to be asked again."""

    def __init__(self) -> None:
        super().__init__("Somebody asked a question in between.", "Ask for the rest again.")


def in_line(place: int, background: bool) -> str:
    """What a question is told of its place: how many come before it; "" where the background goes on."""
    if background:
        first = "A question comes first." if place == 1 else f"{place} questions come first."
        return f"{first} It goes on by itself." if place else ""
    if place == 0:
        return "It is your turn: your answer comes now."
    first = "1 question comes before yours." if place == 1 else f"{place} questions come before yours."
    return f"{first} Your answer comes by itself."


def patiently(
    ask: Callable[[], Generator[Snapshot | Waiting, None, None]],
    then: str = "Your answer comes",
    most_seconds: float | None = None,
) -> Generator[Snapshot | Waiting, None, None]:
    """The snapshots of `ask`, asked when no job has the device, and again when one has come in between.

    Meanwhile a Waiting comes five times a second; `then` is how its last sentence begins. What was answered before a
    Waiting does not count: all of it comes again. A model server that ends in the middle is started again, once.
    Raises: Busy when a job still has the device after `most_seconds`, ServerGone at the second time, and
    whatever `ask` raises.
    """
    deadline = None if most_seconds is None else time.monotonic() + most_seconds
    device = gpu.default_device()
    asked_again = False
    while True:
        # First, because what is wrong with the question itself is said at once.
        snapshots = ask()
        yield from _while_busy(device, then, deadline)
        try:
            yield from _closing(snapshots)
            return
        except gpu.Busy as busy:
            # A device on which nobody is to be seen, so that nothing above would wait.
            if gpu.busy_with(device) is None:
                yield from _a_moment(Waiting(f"{busy.message} {then} by itself."), busy, deadline)
        except GaveWay:
            yield Waiting(in_line(1, background=True))
        except ServerGone:
            if asked_again:
                raise
            # One that a job has sent away has not failed.
            asked_again = gpu.busy_with(device) is None
            yield Waiting(f"The model server has ended; it is started again. {then} by itself.")


def busy(device: str) -> str | None:
    """Who keeps the model from answering, and for about how long; None when nobody does."""
    who = gpu.busy_with(device)
    return None if who is None else _sentence(who, _running(device), len(_queued(device)))


def _while_busy(device: str, then: str, deadline: float | None) -> Generator[Waiting, None, None]:
    free_since: float | None = None
    last, words = "", ""
    while True:
        who = gpu.busy_with(device)
        if who is not None:
            last, free_since = who, None
            more = len(_queued(device))
            ends = "they have finished" if more else "it has finished"
            words = f"{_sentence(who, _running(device), more)} {then} by itself when {ends}."
        else:
            free_since = free_since or time.monotonic()
            # Asked between two jobs, the model would be loaded only to be sent away.
            due = words and _queued(device) and time.monotonic() - free_since < GAP_SECONDS
            if not due:
                return
        yield from _a_moment(Waiting(words), gpu.Busy(last), deadline)


def _a_moment(waiting: Waiting, busy: gpu.Busy, deadline: float | None) -> Generator[Waiting, None, None]:
    if deadline is not None and time.monotonic() >= deadline:
        raise busy
    yield waiting
    time.sleep(POLL_SECONDS)


def _closing(snapshots: Generator[Snapshot, None, None]) -> Generator[Snapshot, None, None]:
    """As the snapshots themselves, which are closed with this."""
    try:
        yield from snapshots
    finally:
        snapshots.close()


def _running(device: str) -> Job | None:
    return next((job for job in jobs.under_way() if job.device == device), None)


def _queued(device: str) -> list[Job]:
    """The jobs that come next; one that waits for room on the disk does not come by itself."""
    return [job for job in in_order(device) if not job.paused_for]


def _sentence(who: str, running: Job | None, more: int) -> str:
    said = f"The computer is busy with {who or 'another program'}"
    if running is not None and running.seconds_left is not None:
        said += f", {_about(running.seconds_left)} left"
    if more:
        said += f"; {more} more {'waits' if more == 1 else 'wait'}"
    return f"{said}."


def _about(seconds: float) -> str:
    """In steps so large that the sentence stands still while it is read."""
    if seconds < 15:
        return "a few seconds"
    if seconds < 90:
        return f"about {10 * round(seconds / 10)} seconds"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"
