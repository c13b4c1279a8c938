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
    """One pair being made; `problem` says in words why there is none, `words` why it takes time.

    Until somebody waits for it, it comes after the questions of all who do.
    """

    def __init__(self, contest: Contest, asker: str = "", is_awaited: bool = True) -> None:
        # A daemon: closing the studio does not wait for the model.
        super().__init__(name=f"pair for {contest.adapter_id}", daemon=True)
        self.contest = contest
        # A strength kept meanwhile makes it another contest.
        self.key = contest.key
        self.words = ""
        self.pair: Pair | None = None
        self.problem: str | None = None
        self.ended = threading.Event()
        self.wanted_until = time.monotonic() + PATIENCE_SECONDS
        self._asker = asker
        self._awaited = threading.Event()
        self._asked_in_background = False
        if is_awaited:
            self._awaited.set()

    def await_it(self) -> None:
        """Somebody waits from now on."""
        self._awaited.set()

    def run(self) -> None:
        """Ask both sides."""
        while self.pair is None and self.problem is None:
            try:
                self.pair = told(blind.ask)(
                    self.contest,
                    open_rows(self.contest),
                    self._should_stop,
                    self._waits,
                    self._in_background,
                    self._asker,
                )
            except gr.Error as error:
                if not self._is_in_the_wrong_line() or self._is_unwanted():
                    self.problem = error.message

    def _should_stop(self) -> bool:
        return self._is_unwanted() or self._is_in_the_wrong_line()

    def _is_unwanted(self) -> bool:
        return self.ended.is_set() or time.monotonic() > self.wanted_until

    def _is_in_the_wrong_line(self) -> bool:
        # What is being written already would only be begun anew.
        return self._awaited.is_set() and self._asked_in_background and self.words != ""

    def _in_background(self) -> bool:
        self._asked_in_background = not self._awaited.is_set()
        return self._asked_in_background

    def _waits(self, words: str) -> None:
        self.words = words


_lock = threading.Lock()
# The pair that each browser tab reads next, and all pairs that nobody has voted on yet.
_making: OrderedDict[str | None, Making] = OrderedDict()
_open: OrderedDict[str, Pair] = OrderedDict()


def open_rows(contest: Contest) -> set[int]:
    """The rows that are before somebody's eyes already, or were: others have their turn first."""
    return {pair.row.row for pair in list(_open.values()) if pair.contest == contest}


def begin(tab: str | None, contest: Contest, is_awaited: bool = True) -> Making:
    """The pair that is made for a tab, begun now unless it is under way; one of another contest is ended.

    One that is not awaited is made ahead, in the background.
    """
    new = Making(contest, tab or "", is_awaited)
    with _lock:
        making = _making.get(tab)
        if (
            making is not None
            and (making.contest, making.key) == (contest, new.key)
            and making.problem is None
        ):
            if is_awaited:
                making.await_it()
            return making
        if making is not None:
            making.ended.set()
        making = _making[tab] = new
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
