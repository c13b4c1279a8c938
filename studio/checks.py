"""Scorecards in the making: a thread for each adapter, shared by all tabs, so a reload loses nothing."""

from __future__ import annotations

import threading
import time

import gradio as gr

from jobs.evaluation.scorecard import scorecard
from studio import words
from studio.notices import told

# More rows make the intervals narrower only slowly, and each is answered three times.
MOST_ROWS = 40


class Check(threading.Thread):
    """One scorecard being made; `problem` says in words why it ended without one."""

    def __init__(self, adapter_id: str) -> None:
        # A daemon: closing the studio does not wait for the model.
        super().__init__(name=f"scorecard of {adapter_id}", daemon=True)
        self.adapter_id = adapter_id
        self.words = "Getting ready: the model may have to be loaded first"
        self.done: int | None = None
        self.total: int | None = None
        self.problem: str | None = None
        self.waits = False
        self.counted_from: tuple[int, float] = (0, 0.0)
        self.stopping = threading.Event()

    def run(self) -> None:
        """Make and store the card."""
        try:
            told(scorecard)(
                self.adapter_id, self._report, MOST_ROWS, force=True, should_stop=self.stopping.is_set
            )
        except gr.Error as error:
            self.problem = None if self.stopping.is_set() else error.message

    def _report(self, said: str, done: int | None, total: int | None) -> None:
        # Without numbers: it waits, and what was counted stays, but the wait is no measure of the time left.
        now_waits = done is None
        if not now_waits and (self.waits or not done):
            self.counted_from = (done or 0, time.monotonic())
        self.words, self.waits = said, now_waits
        if not now_waits:
            self.done, self.total = done, total

    def sentence(self) -> str:
        """How far it is, with the time left once that can be known."""
        if self.stopping.is_set():
            return "Stopping."
        if self.waits or self.done is None or not self.total:
            return self.words if self.words.endswith(".") else f"{self.words}."
        so_far = f"{self.words}: {self.done} of {self.total}"
        done_before, since = self.counted_from
        if not done_before < self.done < self.total:
            return f"{so_far}."
        left = (time.monotonic() - since) * (self.total - self.done) / (self.done - done_before)
        return f"{so_far}, about {words.duration(left)} left."


_lock = threading.Lock()
_checks: dict[str, Check] = {}


def start(adapter_id: str) -> Check:
    """Begin to measure an adapter; where that is under way already, the one that runs."""
    with _lock:
        check = _checks.get(adapter_id)
        if check is None or not check.is_alive():
            check = _checks[adapter_id] = Check(adapter_id)
            check.start()
        return check


def of(adapter_id: str) -> Check | None:
    """The newest check of an adapter since the studio was opened."""
    return _checks.get(adapter_id)


def stop(adapter_id: str) -> None:
    """End a check after the answers that are being written; nothing happens when none runs."""
    if check := _checks.get(adapter_id):
        check.stopping.set()
