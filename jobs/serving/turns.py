"""Whose turn it is at the model: people before background work, and nobody twice while others wait."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from jobs.serving.schema import GenerationRequest, LikelihoodRequest


class Question:
    """One request that waits for the model or has it, what it brought so far, and the ways to end it early."""

    def __init__(self, request: GenerationRequest | LikelihoodRequest) -> None:
        self.request = request
        # What is sent next: the newest snapshot, never changed once it is here.
        self.latest: dict[str, Any] | None = None
        self.started = False
        self.stop = threading.Event()
        # The model is taken away: the caller is told so, and gets no half answer for a whole one.
        self.given_up = False
        # A background one that ended for a person's question; its caller asks for the rest again.
        self.gave_way = False
        # Done with when the model is; holds the problem, if there was one.
        self.over: Future[None] = Future()


class Turns:
    """The questions that wait and the one that is answered.

    Each asker has one question in a round, as in fair queueing (Nagle, RFC 970): who has asked five times waits
    with the second one until everybody else's first is answered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[tuple[bool, int, int], Question]] = []
        self._running: Question | None = None
        self._arrived = 0
        # The round that is under way, and each asker's last one; people and background work have rounds of their own.
        self._round = {False: 0, True: 0}
        self._asked: dict[tuple[bool, str], int] = {}

    def enter(self, question: Question) -> None:
        """Wait for the model; background work that has it gives way to a person."""
        background, asker = question.request.background, question.request.asker
        with self._lock:
            # Whoever was last answered in an earlier round is like one who has never asked.
            self._asked = {who: last for who, last in self._asked.items() if last >= self._round[who[0]]}
            own = max(self._round[background], self._asked.get((background, asker), -1) + 1)
            self._asked[background, asker] = own
            self._arrived += 1
            self._waiting.append(((background, own, self._arrived), question))
            self._waiting.sort(key=lambda entry: entry[0])
            if not background and self._running is not None and self._running.request.background:
                self._running.gave_way = True
                self._running.stop.set()

    def take(self) -> Question | None:
        """The question to answer now; None when those that waited have left."""
        with self._lock:
            if not self._waiting:
                return None
            (background, own, _), question = self._waiting.pop(0)
            self._round[background] = own
            self._running = question
            return question

    def leave(self, question: Question) -> None:
        """Neither wait nor be answered any longer; harmless to repeat."""
        with self._lock:
            self._waiting = [entry for entry in self._waiting if entry[1] is not question]
            if self._running is question:
                self._running = None

    def place(self, question: Question) -> int:
        """How many questions come before this one; 0 when it has the model or is the next."""
        with self._lock:
            before = next((n for n, (_, other) in enumerate(self._waiting) if other is question), None)
            if before is None:
                return 0
            running = self._running
            return before + (running is not None and not running.stop.is_set())
