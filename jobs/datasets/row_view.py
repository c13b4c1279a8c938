"""All rows of a version by their places, without reading them: which lie in its base, which in its changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.datasets.row_files import CHANGES, KINDS, Lines, open_lines

if TYPE_CHECKING:
    import numpy

    Numbers = numpy.ndarray[Any, Any]

_AT_ONCE = 500


def view_of(base: Path, changes: Path | None = None) -> RowView:
    """The rows of a base's folder, with those of a folder with changes in their places; kept for the next time."""
    return _viewed(open_lines(base), None if changes is None else open_lines(changes, CHANGES))


@lru_cache(maxsize=4)
def _viewed(base: Lines, changes: Lines | None) -> RowView:
    return RowView(base, changes)


class RowView:
    """A version's rows by their places: in the base's lines, or in those of the changes."""

    def __init__(self, base: Lines, changes: Lines | None) -> None:
        import numpy as np

        self.base, self.changes = base, changes
        self.numbers, self.kinds = base.numbers, base.kinds
        # A line of the base counts from 0 up, one of the changes from -1 down.
        self.lines: Numbers = np.arange(len(base.numbers))
        if changes is not None:
            kept = ~_among(base.numbers, changes.numbers)
            stays = changes.kinds != KINDS.index("gone")
            self.numbers = np.concatenate([base.numbers[kept], changes.numbers[stays]])
            order = np.argsort(self.numbers, kind="stable")
            self.numbers = self.numbers[order]
            self.kinds = np.concatenate([base.kinds[kept], changes.kinds[stays]])[order]
            self.lines = np.concatenate([self.lines[kept], ~np.flatnonzero(stays)])[order]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def last_row(self) -> int:
        """The highest number of a row, 0 when there is none."""
        return int(self.numbers[-1]) if len(self.numbers) else 0

    @property
    def everything(self) -> Numbers:
        """The places of all rows."""
        import numpy as np

        return np.arange(len(self.numbers))

    def of_kind(self, split: str) -> Numbers:
        """The places of the rows of one split."""
        import numpy as np

        return np.flatnonzero(self.kinds == (KINDS.index(split) if split in KINDS else len(KINDS)))

    def with_numbers(self, numbers: Iterable[int]) -> Numbers:
        """The places of those of these rows that there are."""
        import numpy as np

        wanted = np.fromiter((number for number in numbers if number > 0), self.numbers.dtype)
        if (np.diff(wanted) <= 0).any():
            wanted = np.unique(wanted)
        places = np.searchsorted(self.numbers, wanted)
        inside = places < len(self.numbers)
        places, wanted = places[inside], wanted[inside]
        there: Numbers = places[self.numbers[places] == wanted]
        return there

    def matching(self, text: str) -> Numbers:
        """The places of the rows whose messages hold the text."""
        import numpy as np

        found = self.base.matching(text)
        if self.changes is None:
            return found
        # The changes' lines, which count down from -1, are at the end.
        holds = np.zeros(len(self.base.numbers) + len(self.changes.numbers), bool)
        holds[found] = True
        holds[~self.changes.matching(text)] = True
        return np.flatnonzero(holds[self.lines])

    def in_all(self, parts: Sequence[Numbers]) -> Numbers:
        """The places that are in each of these, all places where there are none."""
        import numpy as np

        if not parts:
            return self.everything
        places = parts[0]
        for part in parts[1:]:
            holds = np.zeros(len(self), bool)
            holds[part] = True
            places = places[holds[places]]
        return places

    def read(self, places: Numbers) -> list[dict[str, Any]]:
        """The rows at these places."""
        lines = self.lines[places]
        rows = self.base.read(lines[lines >= 0])
        if self.changes is not None:
            rows += self.changes.read(~lines[lines < 0])
        return sorted(rows, key=lambda row: int(row["row"]))

    def find(self, number: int) -> dict[str, Any] | None:
        """One row by its number; None when there is none."""
        return next(iter(self.read(self.with_numbers([number]))), None)

    def each(self, places: Numbers) -> Iterator[dict[str, Any]]:
        """The same rows one after the other, however many they are."""
        for first in range(0, len(places), _AT_ONCE):
            yield from self.read(places[first : first + _AT_ONCE])


def _among(numbers: Numbers, others: Numbers) -> Numbers:
    """A mask of the numbers that are among the others; both are in order."""
    import numpy as np

    mask = np.zeros(len(numbers), bool)
    places = np.searchsorted(numbers, others)
    places, others = places[places < len(numbers)], others[places < len(numbers)]
    mask[places[numbers[places] == others]] = True
    return mask
