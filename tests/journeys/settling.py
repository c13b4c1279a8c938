"""When a page has come to rest: whatever it asked of the studio is answered, and what came of it stands still."""

from __future__ import annotations

import math
import time
from weakref import WeakKeyDictionary

from playwright.sync_api import Page, Request

QUIET_SECONDS = 0.3
# The stream of answers may stay open for a while though none is due.
STREAM, SILENT_SECONDS = "/queue/data", 4.0
# A page that takes so long for a look at itself is computing, and may ask for something next.
BUSY_SECONDS = 0.15
# Opened for as long as the page is: by it Gradio learns that a page has been closed.
FOREVER = "/heartbeat/"
STILL = "() => document.getAnimations().every(({ playState, effect }) =>"
STILL += " playState !== 'running' || effect.getComputedTiming().endTime > 3000)"


class _Traffic:
    """What a page has asked and has no answer to, and when that changed last."""

    def __init__(self, page: Page) -> None:
        self.open: set[Request] = set()
        self.changed = time.monotonic()
        page.on("request", lambda request: self.asked(request))
        for over in ("requestfinished", "requestfailed"):
            page.on(over, lambda request: self.answered(request))  # type: ignore[call-overload]

    def rest(self) -> float:
        """So many quiet seconds mean that nothing more will come."""
        if not self.open:
            return QUIET_SECONDS
        return SILENT_SECONDS if all(STREAM in request.url for request in self.open) else math.inf

    def asked(self, request: Request) -> None:
        if FOREVER not in request.url:
            self.open.add(request)
            self.changed = time.monotonic()

    def answered(self, request: Request) -> None:
        self.open.discard(request)
        self.changed = time.monotonic()


_watched: WeakKeyDictionary[Page, _Traffic] = WeakKeyDictionary()


def watch(page: Page) -> None:
    """Keep from now on what this page asks, so that it can be settled."""
    _watched[page] = _Traffic(page)


def settle(page: Page, seconds: float = 60) -> None:
    """Wait until a watched page rests: it fills itself bit by bit, and what is typed meanwhile may be lost."""
    traffic, busy = _watched[page], time.monotonic()
    deadline = busy + seconds
    while time.monotonic() - max(busy, traffic.changed) < traffic.rest():
        assert time.monotonic() < deadline, f"never at rest: {[request.url for request in traffic.open]}"
        page.wait_for_timeout(50)
        began = time.monotonic()
        page.wait_for_function(STILL)
        if time.monotonic() - began > BUSY_SECONDS:
            busy = time.monotonic()
