"""Which rows each step reads, and how a step is cut into micro-batches with little padding."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence


def plan_run(
    lengths: Sequence[int], epochs: float, tokens_per_step: int, max_steps: int | None, seed: int
) -> list[list[int]]:
    """The row indices of every step of a run.

    Rows come in a new random order each epoch and fill a step until one more would take it further from
    `tokens_per_step` than it is; at least one row makes a step. A short rest joins the step before it, so
    that no step moves the weights by the noise of a few rows.
    """
    steps: list[list[int]] = []
    step: list[int] = []
    tokens = 0
    for row in _stream(len(lengths), epochs, seed):
        if step and tokens + lengths[row] / 2 > tokens_per_step:
            steps.append(step)
            step, tokens = [], 0
        step.append(row)
        tokens += lengths[row]
    if steps and tokens < tokens_per_step / 2:
        steps[-1] += step
    else:
        steps.append(step)
    return steps[:max_steps]


def _stream(rows: int, epochs: float, seed: int) -> Iterator[int]:
    shuffler = random.Random(seed)
    left = max(1, round(rows * epochs))
    while left > 0:
        order = list(range(rows))
        shuffler.shuffle(order)
        yield from order[:left]
        left -= rows


def micro_batches(rows: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """`rows` in groups of like length whose padded size stays within `tokens` (a longer row goes alone)."""
    groups: list[list[int]] = []
    for row in sorted(rows, key=lambda row: -lengths[row]):
        # The first row of a group is its longest.
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
