"""CSV, TSV and ranges pasted from a spreadsheet as records."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from jobs.datasets.columns import KNOWN, plain
from jobs.datasets.formats.encodings import Encoding, escaped_byte
from jobs.datasets.formats.headers import header_of
from jobs.datasets.formats.reading import HEAD_BYTES, TextFile, size_shown
from jobs.datasets.records import LONGEST_ROW, Item, LeftOut, Parsed, ReadOptions, Record, cut
from storage.errors import StudioError

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}
_LOOK_AT_ROWS = 200


def parse_delimited(file: TextFile, head: str, encoding: Encoding, name: str, options: ReadOptions) -> Parsed:
    """The records below the header, as a stream; a file without one gets the names "column 1", "column 2", ….

    `head` is how the file begins. Raises StudioError when there are no rows, and while it is read where a
    quote is never closed.
    """
    csv.field_size_limit(LONGEST_ROW)
    announced = _announced(head)
    delimiter = options.delimiter or announced or _delimiter(head)
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise StudioError(
            f"The delimiter cannot be {delimiter[:20]!r}.", "Give one character, such as ; or a tab."
        )
    first = _first_rows(head, delimiter)[1 if announced else 0 :]
    if not first:
        raise StudioError(f"{name} is empty.", "Add a file with at least two examples.")
    header = header_of(first, options.has_header)
    if len(first) <= header.rows_above and file.total_bytes <= HEAD_BYTES:
        raise StudioError(
            f"{name} has a header ({', '.join(header.columns)[:200]}) but no rows.",
            "Add at least two examples.",
        )
    above = header.rows_above + (1 if announced else 0)
    return Parsed(
        "tsv" if delimiter == "\t" else "csv",
        _items(_Reader(file, delimiter, encoding, name), header.columns, above),
        header.columns,
        {
            "Format": "TSV" if delimiter == "\t" else "CSV",
            "Delimiter": DELIMITERS.get(delimiter, delimiter),
            "Encoding": encoding.shown,
            "Header": "none" if header.without else f"row {header.rows_above}",
        },
        notes=[f"Not read, above the header: “{text[:100]}”." for text in header.above],
        twice=header.twice,
        without_header=header.without,
        progress=file,
    )


def names_columns(head: str) -> bool:
    """Whether the first row is a header beyond doubt, whatever the cells below it look like."""
    cells = next(iter(_first_rows(head, _delimiter(head))), [])
    return sum(plain(cell) in KNOWN for cell in cells) > 1


class _TooLong(Exception):
    """The row under way has more characters than a row may have."""


class _Lines:
    """The lines of a file for the CSV reader, with those of the row under way at hand."""

    def __init__(self, file: TextFile) -> None:
        self._readline = file.text.readline
        self.number = 0  # of the last line read
        self.of_row: list[str] = []
        self.characters = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._readline(LONGEST_ROW)
        if not line:
            raise StopIteration
        self.number += 1
        self.characters += len(line)
        self.of_row.append(line)
        if self.characters >= LONGEST_ROW:
            raise _TooLong
        return line

    def skip_line(self) -> None:
        """Read to the end of a line that is too long, counting its characters."""
        while not self.of_row[-1].endswith(("\n", "\r")) and (more := self._readline(LONGEST_ROW)):
            self.characters += len(more)
            self.of_row[-1] = more


class _Reader:
    """Rows of cells, or the code and the reason why a row is none."""

    def __init__(self, file: TextFile, delimiter: str, encoding: Encoding, name: str) -> None:
        self._lines = _Lines(file)
        self._rows = csv.reader(self._lines, delimiter=delimiter, strict=True)
        self._name = name
        self._may_be_damaged = encoding.errors != "strict" or encoding.has_nul

    def raw(self) -> str:
        """The text of the row read last."""
        return cut("".join(self._lines.of_row).rstrip("\r\n"))

    def rows(self) -> Iterator[list[str] | tuple[str, str]]:
        """All rows but empty lines. Raises StudioError where it cannot be told where the next row starts."""
        lines = self._lines
        while True:
            lines.of_row, lines.characters = [], 0
            try:
                cells = next(self._rows)
            except StopIteration:
                return
            except _TooLong:
                if len(lines.of_row) > 1:
                    raise self._runaway_quote("is not closed within 10 MB") from None
                lines.skip_line()
                yield "too_large", f"it has {size_shown(lines.characters)}, and a row may have 10 MB at most"
            except csv.Error as error:
                if "unexpected end" in str(error):
                    raise self._runaway_quote("is never closed") from error
                yield "broken_row", f"its quotes do not match ({self._place()})"
            else:
                if self._may_be_damaged and (damage := self._damage()):
                    yield damage
                elif cells:
                    yield cells

    def _damage(self) -> tuple[str, str] | None:
        raw = "".join(self._lines.of_row)
        if byte := escaped_byte(raw):
            return "broken_character", f"it has the byte {byte}, which fits no character ({self._place()})"
        if "\0" in raw:
            return "nul_byte", f"it has a NUL byte ({self._place()})"
        return None

    def _place(self) -> str:
        last = self._lines.number
        first = last - len(self._lines.of_row) + 1
        return f"line {last:,}" if first >= last else f"lines {first:,} to {last:,}"

    def _runaway_quote(self, what: str) -> StudioError:
        first = self._lines.number - len(self._lines.of_row) + 1
        return StudioError(
            f"{self._name}: a double quote opened in the row at line {first} {what}.",
            "Close it, or double it where it is part of the text.",
        )


def _items(reader: _Reader, columns: list[str], above: int) -> Iterator[Item]:
    """Every row below the first `above` ones as a record, or with the reason why it is none."""
    width, row = len(columns), -above
    for cells in reader.rows():
        row += 1
        if row < 1:
            continue
        if isinstance(cells, tuple):
            yield LeftOut(row, *cells, reader.raw())
        elif not any(cells) or not any(map(str.strip, cells)):
            yield LeftOut(row, "blank_row", "all its cells are empty")
        elif len(cells) > width and any(map(str.strip, cells[width:])):
            reason = f"it has {len(cells)} cells where the header has {width}"
            yield LeftOut(row, "broken_row", reason, reader.raw())
        else:
            yield Record(row, dict(zip(columns, cells, strict=False)))


def _announced(head: str) -> str:
    """The delimiter that Excel's first line "sep=;" names, or ""."""
    line = head.split("\n", 1)[0].strip("\r\ufeff ").strip('"')
    return line[4] if line.startswith("sep=") and len(line) == 5 else ""


def _first_rows(head: str, delimiter: str) -> list[list[str]]:
    """The first rows that are not empty, read leniently."""
    rows: list[list[str]] = []
    try:
        for cells in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter):
            if cells:
                rows.append(cells)
            if len(rows) == _LOOK_AT_ROWS:
                break
    except csv.Error:  # said properly when the rows are read
        pass
    return rows


def _delimiter(head: str) -> str:
    """The delimiter that gives the first row two or more cells and most other rows as many."""

    def agreeing_rows(delimiter: str) -> int:
        widths = [len(cells) for cells in _first_rows(head, delimiter)]
        return widths.count(widths[0]) if widths and widths[0] > 1 else 0

    return max(DELIMITERS, key=agreeing_rows)
