"""The pairs of a blind comparison in the making: the next one while this one is read, each until it is voted on."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

import gradio as gr

from jobs.evaluation import blind
from jobs.evaluation.blind import Contest, Pair
from storage.errors import StudioError
from storage.votes import Vote
from studio.notices import told

# So long the next pair is made for somebody who may have left.
PATIENCE_SECONDS = 900.0
MOST_OPEN = 500


class Making(threading.Thread):
    """One pair being made; `problem` says in words why there is none, `words` why it takes time."""

    def __init__(self, contest: Contest) -> None:
        # A daemon: closing the studio does not wait for the model.
        super().__init__(name=f"pair for {contest.adapter_id}", daemon=True)
        self.contest = contest
        self.words = ""
        self.pair: Pair | None = None
        self.problem: str | None = None
        self.ended = threading.Event()
        self.wanted_until = time.monotonic() + PATIENCE_SECONDS

    def run(self) -> None:
        """Ask both sides."""
        try:
            self.pair = told(blind.ask)(self.contest, open_rows(self.contest), self._should_stop, self._waits)
        except gr.Error as error:
            self.problem = error.message

    def _should_stop(self) -> bool:
        return self.ended.is_set() or time.monotonic() > self.wanted_until

    def _waits(self, words: str) -> None:
        self.words = words


_lock = threading.Lock()
# The pair that each browser tab reads next, and all pairs that nobody has voted on yet.
_making: OrderedDict[str | None, Making] = OrderedDict()
_open: OrderedDict[str, Pair] = OrderedDict()


def open_rows(contest: Contest) -> set[int]:
    """The rows that are before somebody's eyes already, or were: others have their turn first."""
    return {pair.row.row for pair in list(_open.values()) if pair.contest == contest}


def begin(tab: str | None, contest: Contest) -> Making:
    """The pair that is made for a tab, begun now unless it is under way; one of another contest is ended."""
    with _lock:
        making = _making.get(tab)
        if making is not None and making.contest == contest and making.problem is None:
            return making
        if making is not None:
            making.ended.set()
        making = _making[tab] = Making(contest)
        while len(_making) > MOST_OPEN:
            _making.popitem(last=False)[1].ended.set()
        making.start()
        return making


def end(tab: str | None) -> None:
    """Make no more pairs for a tab; nothing happens when none is made."""
    with _lock:
        if making := _making.pop(tab, None):
            making.ended.set()


def hand_out(tab: str | None, making: Making) -> Pair:
    """The pair that has been made, to be voted on; the tab's next one is another.

    Raises gr.Error with the reason when there is none.
    """
    with _lock:
        if _making.get(tab) is making:
            del _making[tab]
        if making.pair is None:
            raise gr.Error(making.problem or "Answering was stopped. Start it again.", print_exception=False)
        _open[making.pair.id] = making.pair
        while len(_open) > MOST_OPEN:
            _open.popitem(last=False)
        return making.pair


def contest_of(pair_id: str | None) -> Contest | None:
    """What a pair that was handed out belongs to; None where nobody knows it."""
    pair = _open.get(pair_id or "")
    return pair.contest if pair else None


def vote(pair_id: str, choice: str) -> tuple[Pair, Vote]:
    """Count a vote on a pair that was handed out.

    Raises StudioError for a pair that nobody knows any more, and as `blind.vote`.
    """
    pair = _open.get(pair_id)
    if pair is None:
        raise StudioError("This pair is not open any more.", "Ask for the next one and vote on that.")
    counted = blind.vote(pair, choice)
    return pair, counted
