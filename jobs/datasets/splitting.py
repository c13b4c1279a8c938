"""Which examples are kept aside to test on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from itertools import groupby

from jobs.datasets.checks.texts import prompt_key
from jobs.datasets.conversations import Example

LEAST_HELD_OUT = 8
# Held out of a set that has four times as many: with 10, only what changes in nearly all rows can be told from chance.
TELLING_HELD_OUT = 20
_PLACE_BYTES = 16  # of 32: of a million different prompts, two are as good as never taken for one


class Splitter:
    """Looks at examples one after another, keeping 24 bytes of each, and then says which to hold out."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        # What decides about a prompt's turn, and the row's number: sorted, rows with the same prompt are neighbours.
        self._entries: list[bytes] = []

    def __len__(self) -> int:
        """How many examples have been seen."""
        return len(self._entries)

    def see(self, example: Example) -> None:
        """Take note of one example."""
        place = hashlib.sha256(f"{self._seed} {prompt_key(example)!r}".encode()).digest()[:_PLACE_BYTES]
        self._entries.append(place + example.row.to_bytes(8, "big"))

    def held_out(self, share: float = 0.1) -> set[int]:
        """The numbers of the rows to hold out; see `held_out_rows`."""
        total = len(self._entries)
        most = total // 2
        least = TELLING_HELD_OUT if total >= 4 * TELLING_HELD_OUT else LEAST_HELD_OUT
        wanted = min(most, max(least, math.ceil(share * total)))
        large = max(1, total // 20)
        self._entries.sort()
        chosen: set[int] = set()
        # Large groups come last: one of them would fill the whole test with a single question.
        for takes_large in (False, True):
            for _, entries in groupby(self._entries, key=lambda entry: entry[:_PLACE_BYTES]):
                if len(chosen) >= wanted:
                    return chosen
                rows = [int.from_bytes(entry[_PLACE_BYTES:], "big") for entry in entries]
                if (len(rows) > large) == takes_large and len(chosen) + len(rows) <= most:
                    chosen.update(rows)
        return chosen


def held_out_rows(examples: Iterable[Example], share: float = 0.1, seed: int = 0) -> set[int]:
    """The row numbers to hold out: `share` of all, at least 8, of 80 and more at least 20, never more than half.

    Rows with the same prompt stay on one side. The choice hangs on content and seed alone, and a larger share
    keeps everything a smaller one chose. It is empty when holding out any group would take more than half.
    """
    splitter = Splitter(seed)
    for example in examples:
        splitter.see(example)
    return splitter.held_out(share)
