"""Where the names of a table's columns stand, and what they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.datasets.columns import KNOWN, LONGEST_NAME, plain
from storage.errors import printable

_LOOK_AT_ROWS = 10


def looks_like_header(cells: Sequence[str]) -> bool:
    """Whether a first row names columns: one has a known name, or all are short and no sentences."""
    if any(plain(cell) in KNOWN for cell in cells):
        return True
    named = [cell for cell in cells if cell]
    return bool(named) and all(
        len(cell) <= LONGEST_NAME and len(cell.split()) <= 4 and not re.search(r"[.?!]$|^[\d\W]+$", cell)
        for cell in named
    )


@dataclass(frozen=True)
class Header:
    """The names of a table's columns, and how many rows stand above the first record.

    `twice` are names that came more than once (the later ones got a number), `above` what stood over the header.
    """

    columns: list[str]
    rows_above: int
    without: bool
    twice: list[str]
    above: list[str]


def header_of(rows: Sequence[Sequence[str]], has_header: bool | None = None) -> Header:
    """The header of a table of cells by its first rows; without one the names are "column 1", "column 2", …."""
    rows = [[cell.strip() for cell in cells] for cells in rows]
    # Not the widest row: one with a comma too many would make a column of its own, and lose half its answer there.
    usual = sorted(map(len, rows))[len(rows) // 2] if rows else 1
    at = 0 if has_header is False else _header_at(rows)
    if has_header is False or (has_header is None and not looks_like_header(rows[at])):
        return Header([f"column {number}" for number in range(1, usual + 1)], 0, True, [], [])
    cells = [*map(printable, rows[at]), *[""] * (usual - len(rows[at]))]
    while (
        len(cells) > 1
        and not cells[-1]
        and not any(_at(row, len(cells)) for row in rows if len(row) <= usual)
    ):
        cells.pop()  # neither named nor filled
    columns: list[str] = []
    twice: list[str] = []
    taken: set[str] = set()
    for number, cell in enumerate(cells, start=1):
        column, count = cell or f"column {number}", 1
        while column in taken:
            count += 1
            column = f"{cell or f'column {number}'} ({count})"
        if count > 1 and cell:
            twice.append(cell)
        columns.append(column)
        taken.add(column)
    above = [printable(" ".join(filter(None, row))) for row in rows[:at]]
    return Header(columns, at + 1, False, twice, [text for text in above if text])


def _at(row: Sequence[str], number: int) -> str:
    return row[number - 1] if len(row) >= number else ""


def _header_at(rows: Sequence[Sequence[str]]) -> int:
    """Where the header is: below a title only if the row there names a known column, else at the top."""
    for at, cells in enumerate(rows[:_LOOK_AT_ROWS]):
        if len([cell for cell in cells if cell]) > 1:
            known = any(plain(cell) in KNOWN for cell in cells)
            return at if known or not any(any(row) for row in rows[:at]) else 0
    return 0
