"""The facts of all rows as one table of fixed-width columns: a million rows in a few hundred megabytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.datasets.checks.facts import TYPE, Facts

if TYPE_CHECKING:
    import numpy

_CHUNK = 4096


class Table:
    """Rows of facts; a row number that comes again replaces what was known of it."""

    def __init__(self) -> None:
        self._chunks: list[Any] = []
        self._open: list[Facts] = []
        self._gone: set[int] = set()

    def add(self, facts: Facts) -> None:
        """Remember one row."""
        self._gone.discard(facts[0])
        self._open.append(facts)
        if len(self._open) == _CHUNK:
            self._close()

    def forget(self, row: int) -> None:
        """Drop one row."""
        self._gone.add(row)

    def all(self) -> numpy.ndarray[Any, Any]:
        """Every row once, in order of row numbers."""
        import numpy as np

        self._close()
        table = np.concatenate(self._chunks) if len(self._chunks) != 1 else self._chunks[0]
        if (np.diff(table["row"]) <= 0).any():
            # A stable sort leaves the latest facts of a row last among its own.
            table = table[np.argsort(table["row"], kind="stable")]
            table = table[np.append(np.diff(table["row"]) > 0, True)]
        if self._gone:
            table = table[~np.isin(table["row"], np.array(sorted(self._gone), "i8"))]
            self._gone = set()
        self._chunks = [table]
        return table

    def save(self, path: Path) -> None:
        """Write all rows to a file."""
        import numpy as np

        np.save(path, self.all(), allow_pickle=False)

    def load(self, path: Path) -> None:
        """Take the rows of a file in, in place of all others.

        Raises ValueError where it was written with other columns.
        """
        import numpy as np

        table = np.load(path, allow_pickle=False)
        if table.dtype != np.dtype(TYPE):
            raise ValueError(f"{path.name} has other columns.")
        self._chunks, self._open, self._gone = [table], [], set()

    def _close(self) -> None:
        import numpy as np

        if self._open or not self._chunks:
            self._chunks.append(np.array(self._open, TYPE))
            self._open = []
