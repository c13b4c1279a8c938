"""Imports, changes and counts under way: a thread for each, shared by all tabs, so a reload loses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import gradio as gr

from storage import files
from studio import words
from studio.notices import told

Kind = Literal["import", "change", "count"]
Report = Callable[[str, int | None, int | None], None]
# What is done: it is given `report` and `should_stop`, and returns what came of it.
Task = Callable[[Report, Callable[[], bool]], Any]

# Ended work is remembered for a tab that is asleep; that much of it is plenty.
MOST_REMEMBERED = 50
# What takes longer than this is worth a bar and a way out.
SOON_SECONDS = 1.0


class Work(threading.Thread):
    """One piece of work; it ends with a `result`, or with a `problem` in words, or with neither when cancelled.

    `about` is the dataset that it changes or counts, empty for an import; `origin` the part of the page that began it.
    """

    def __init__(self, kind: Kind, task: Task, said: str, about: str = "", origin: str = "") -> None:
        # A daemon: closing the studio does not wait for it; what it made so far is thrown away at the next start.
        super().__init__(name=f"{kind} {about}".strip(), daemon=True)
        self.id = files.new_id()
        self.kind, self.about, self.origin = kind, about, origin
        self.words = said
        self.done: int | None = None
        self.total: int | None = None
        self.result: Any = None
        self.problem: str | None = None
        self.counted_from: tuple[str, int, float] = ("", 0, 0.0)
        self.stopping = threading.Event()
        self._task = task

    def run(self) -> None:
        """Do it, to whichever end."""
        try:
            self.result = told(self._task)(self._report, self.stopping.is_set)
        except gr.Error as error:
            self.problem = None if self.stopping.is_set() else error.message

    def _report(self, said: str, done: int | None = None, total: int | None = None) -> None:
        if self.counted_from[0] != said:
            self.counted_from = (said, done or 0, time.monotonic())
        self.words, self.done, self.total = said, done, total

    def ends_soon(self, seconds: float = SOON_SECONDS) -> bool:
        """Wait a moment: whether it has ended by then."""
        self.join(seconds)
        return not self.is_alive()

    def share(self) -> float:
        """How much of the present step is done, 0 to 1."""
        return min(1.0, (self.done or 0) / self.total) if self.total else 0.0

    def sentence(self) -> str:
        """What it does and how far it is, with the time left once that can be known."""
        if self.stopping.is_set():
            return "Stopping."
        said = self.words.rstrip(".")
        if not self.total or self.done is None:
            return f"{said}."
        said += f": {words.share(self.done, self.total)}"
        _, before, since = self.counted_from
        seconds = time.monotonic() - since
        if not before < self.done < self.total or seconds < 2:
            return f"{said}."
        return (
            f"{said}, about {words.duration(seconds * (self.total - self.done) / (self.done - before))} left."
        )


_lock = threading.Lock()
_works: dict[str, Work] = {}


def start(kind: Kind, task: Task, said: str, about: str = "", origin: str = "") -> Work:
    """Begin; `said` is shown until the work reports for itself."""
    work = Work(kind, task, said, about, origin)
    with _lock:
        ended = [one.id for one in _works.values() if not one.is_alive()]
        for id in ended[: max(0, len(ended) - MOST_REMEMBERED)]:
            del _works[id]
        _works[work.id] = work
        work.start()
    return work


def count_once(task: Task, said: str, about: str) -> Work:
    """The count for `about` that is under way, else a new one: nothing is counted twice at a time."""
    earlier = under_way("count", about)
    return earlier or start("count", task, said, about)


def of(id: str | None) -> Work | None:
    """One piece of work; None when the studio has been restarted since, or when it is long over."""
    return _works.get(id or "")


def newest(kind: Kind, about: str | None = None) -> Work | None:
    """The work of a kind that was begun last, of one dataset or of any, whether it has ended or not."""
    with _lock:
        found = [one for one in _works.values() if one.kind == kind and about in (None, one.about)]
    return found[-1] if found else None


def under_way(kind: Kind, about: str | None = None) -> Work | None:
    """The same, if it has not ended."""
    found = newest(kind, about)
    return found if found is not None and found.is_alive() else None


def stop(id: str | None) -> None:
    """Cancel; nothing happens when it has ended."""
    if work := of(id):
        work.stopping.set()


def forget(id: str | None) -> None:
    """Its problem has been read."""
    with _lock:
        work = _works.get(id or "")
        if work and not work.is_alive():
            del _works[work.id]
