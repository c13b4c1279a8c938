"""What differs between two versions of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jobs.datasets import rows
from jobs.datasets.row_view import RowView
from storage import datasets
from storage.errors import StudioError

if TYPE_CHECKING:
    import numpy

    Numbers = numpy.ndarray[Any, Any]

Row = dict[str, Any]
# What makes two rows different; why one is left out is no difference by itself.
_COMPARED = ("messages", "split")


@dataclass(frozen=True)
class Diff:
    """Some of the rows that came, went, or changed from one to the other; `totals` counts all of each."""

    added: list[Row]
    removed: list[Row]
    changed: list[tuple[int, Row, Row]]
    totals: dict[str, int]


def diff(old_id: str, new_id: str, offset: int = 0, limit: int = 50) -> Diff:
    """What differs between two versions of one dataset, of each kind at most `limit` rows from the `offset`-th.

    Raises StudioError when they are of different datasets.
    """
    old, new = datasets.get(old_id), datasets.get(new_id)
    if old.family != new.family:
        raise StudioError(
            f"“{old.name}” and “{new.name}” are different datasets.", "Compare two versions of one dataset."
        )
    before, after = rows.opened(old_id), rows.opened(new_id)
    added, removed, changed = _differences(before, after)
    part = slice(max(0, offset), max(0, offset) + max(0, limit))
    pairs = zip(
        before.read(before.with_numbers(changed[part])),
        after.read(after.with_numbers(changed[part])),
        strict=True,
    )
    return Diff(
        after.read(after.with_numbers(added[part])),
        before.read(before.with_numbers(removed[part])),
        [(was["row"], was, now) for was, now in pairs],
        {"added": len(added), "removed": len(removed), "changed": len(changed)},
    )


@lru_cache(maxsize=16)
def _differences(before: RowView, after: RowView) -> tuple[Numbers, Numbers, list[int]]:
    """The numbers of the rows that came, went and changed."""
    import numpy as np

    added = np.setdiff1d(after.numbers, before.numbers, assume_unique=True)
    removed = np.setdiff1d(before.numbers, after.numbers, assume_unique=True)
    _, left, right = np.intersect1d(before.numbers, after.numbers, assume_unique=True, return_indices=True)
    if before.base is after.base:  # rows of the base are the same ones
        apart = (before.lines[left] < 0) | (after.lines[right] < 0)
        left, right = left[apart], right[apart]
    changed = [
        was["row"]
        for was, now in zip(before.each(left), after.each(right), strict=True)
        if any(was[name] != now[name] for name in _COMPARED)
    ]
    return added, removed, changed
