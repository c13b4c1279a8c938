"""CSV, TSV and ranges pasted from a spreadsheet as records."""

from __future__ import annotations

import csv
import io
from collections import Counter

from jobs.datasets.columns import looks_like_header
from jobs.datasets.records import LeftOut, Record, Source
from storage.errors import StudioError

DELIMITERS = (",", "\t", ";")
_LOOK_AT_ROWS = 50
_Row = tuple[list[str], str]  # cells, and why they cannot be used ("" when they can)


def read_delimited(text: str, name: str) -> Source:
    """The records below the header; a file without one gets the names "column 1", "column 2", ….

    Raises StudioError when there are no rows, when a column name comes twice or a quote is never closed.
    """
    delimiter = _delimiter(text)
    rows = _rows(text, delimiter, name)
    if not rows:
        raise StudioError(f"{name} is empty.", "Add a file with at least two examples.")
    header = [cell.strip() for cell in rows[0][0]]
    without_header = not looks_like_header(header)
    if without_header:
        columns = [f"column {number}" for number in range(1, max(len(cells) for cells, _ in rows) + 1)]
    else:
        columns = [column or f"column {number}" for number, column in enumerate(header, start=1)]
        rows = rows[1:]
    repeated = [column for column, count in Counter(columns).items() if count > 1]
    if repeated:
        raise StudioError(
            f"{name} has more than one column named “{repeated[0]}”.", "Give every column its own name."
        )
    if not rows:
        raise StudioError(
            f"{name} has a header ({', '.join(columns)}) but no rows.", "Add at least two examples."
        )
    records: list[Record] = []
    left_out: list[LeftOut] = []
    for row, (cells, broken) in enumerate(rows, start=1):
        surplus = [cell for cell in cells[len(columns) :] if cell.strip()]
        if broken:
            left_out.append(LeftOut(row, "broken_row", broken))
        elif not any(cell.strip() for cell in cells):
            left_out.append(LeftOut(row, "blank_row", "all its cells are empty"))
        elif surplus:
            reason = f"it has {len(cells)} cells where the header has {len(columns)}"
            left_out.append(LeftOut(row, "broken_row", reason))
        else:
            records.append(Record(row, dict(zip(columns, cells, strict=False))))
    return Source("tsv" if delimiter == "\t" else "csv", columns, records, left_out, without_header)


def _delimiter(text: str) -> str:
    """The delimiter that gives the first row two or more cells and most other rows as many."""

    def agreeing_rows(delimiter: str) -> int:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        widths: list[int] = []
        try:
            for cells in reader:
                if cells:
                    widths.append(len(cells))
                if len(widths) == _LOOK_AT_ROWS:
                    break
        except csv.Error:  # said properly when the rows are read
            pass
        return widths.count(widths[0]) if widths and widths[0] > 1 else 0

    return max(DELIMITERS, key=agreeing_rows)


def _rows(text: str, delimiter: str, name: str) -> list[_Row]:
    """All rows but empty lines; one whose quotes are wrong comes with the reason.

    Raises StudioError where it cannot be told where the next row starts.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[_Row] = []
    while True:
        first_line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return rows
        except csv.Error as error:
            if "field larger" in str(error) or "unexpected end" in str(error):
                raise _runaway_quote(name, first_line, str(error)) from error
            rows.append(([], f"its quotes do not match (line {first_line})"))
        else:
            if cells:
                rows.append((cells, ""))


def _runaway_quote(name: str, line: int, error: str) -> StudioError:
    if "unexpected end" in error:
        return StudioError(
            f"{name}: a double quote opened in the row at line {line} is never closed.",
            "Close it, or double it where it is part of the text.",
        )
    return StudioError(
        f"{name}: the row at line {line} has a cell of more than {csv.field_size_limit():,} characters.",
        "Shorten it; if it is not that long, a double quote in that row is never closed.",
    )
