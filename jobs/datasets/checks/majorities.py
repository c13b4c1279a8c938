"""Outliers against a majority, found so that nothing is an outlier any more once they are gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ROUNDS = 6


def settled(find: Callable[[Any], Any], table: Any) -> Any:
    """A mask of what `find` marks, looked for again among the rest until it marks nothing.

    Without the worst the others can stand out; who leaves out what was found shall not be shown new ones.
    """
    import numpy as np

    left = np.arange(len(table))
    marked = np.zeros(len(table), bool)
    for _ in range(_ROUNDS):
        found = find(table[left])
        if not found.any():
            break
        marked[left[found]] = True
        left = left[~found]
    return marked


def most_common(column: Any) -> tuple[Any, int]:
    """The most common value that is not zero, and how many rows have it."""
    import numpy as np

    values, counts = np.unique(column[column != 0], return_counts=True)
    if not len(values):
        return 0, 0
    best = counts.argmax()
    return values[best], int(counts[best])
