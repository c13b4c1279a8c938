"""Many results from the model server, kept as they come: whatever interrupts, only the rest is asked for again."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TypeVar

from jobs.serving import waiting
from jobs.serving.connection import ServerGone
from jobs.serving.waiting import GaveWay, Waiting
from storage.errors import StudioError

Result = TypeVar("Result")
Results = Generator[dict[int, Result] | Waiting, None, None]


def finished(
    count: int,
    at_once: int,
    ask: Callable[[list[int]], Results[Result]],
    should_stop: Callable[[], bool],
    waits: Callable[[str], object],
    each: Callable[[int, Result], object],
) -> list[Result]:
    """All `count` results in their order; `ask(places)` streams what is finished of some of them.

    `waits` is told in sentences why nothing comes, and "" when it goes on; `each` gets every result when it is there.
    Raises: StudioError when `should_stop` says so, and whatever `ask` raises that does not pass.
    """
    done: dict[int, Result] = {}
    most = at_once

    def ask_for_the_rest() -> Results[Result]:
        nonlocal at_once
        while left := [place for place in range(count) if place not in done]:
            before = len(done)
            try:
                with closing(ask(left[:at_once])) as items:
                    for item in items:
                        if not isinstance(item, Waiting):
                            keep(item)
                        yield item
                at_once = min(most, at_once * 2)
            except GaveWay:
                # People ask more often than so many take: with fewer at once, some are finished in between.
                if len(done) == before:
                    at_once = max(1, min(at_once, len(left)) // 2)
                raise
            except ServerGone:
                # One that has come further since is worth another one, however often.
                if len(done) == before:
                    raise
                yield Waiting("The model server has ended; it is started again. It goes on by itself.")

    def keep(found: dict[int, Result]) -> None:
        for place, result in found.items():
            if place not in done:
                done[place] = result
                each(place, result)

    told = ""
    with closing(waiting.patiently(ask_for_the_rest, "It goes on")) as items:
        for item in items:
            if should_stop():
                raise StudioError("Answering was stopped.", "Start it again when you like.")
            words = item.words if isinstance(item, Waiting) else ""
            if words != told:
                waits(words)
                told = words
    return [done[place] for place in range(count)]
