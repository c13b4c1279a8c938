"""Which examples are kept aside to test on."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

from jobs.datasets.checking import prompt_key
from jobs.datasets.conversations import Example

LEAST_HELD_OUT = 8


def held_out_rows(examples: Sequence[Example], share: float = 0.1, seed: int = 0) -> set[int]:
    """The row numbers to hold out: `share` of all, at least 8, never more than half.

    Rows with the same prompt stay on one side. The choice hangs on content and seed alone, and a larger share
    keeps everything a smaller one chose. It is empty when holding out any group would take more than half.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for example in examples:
        groups[prompt_key(example)].append(example.row)
    most = len(examples) // 2
    wanted = min(most, max(LEAST_HELD_OUT, math.ceil(share * len(examples))))
    # Large groups come last: one of them would fill the whole test with a single question.
    large = max(1, len(examples) // 20)
    chosen: set[int] = set()
    for _, rows in sorted(groups.items(), key=lambda group: (len(group[1]) > large, _place(group[0], seed))):
        if len(chosen) >= wanted:
            break
        if len(chosen) + len(rows) <= most:
            chosen.update(rows)
    return chosen


def _place(key: Hashable, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {key!r}".encode()).digest()
