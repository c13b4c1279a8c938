"""Excel workbooks as records: the values that the cells show, sheet by sheet."""

from __future__ import annotations

import datetime
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from jobs.datasets.formats.headers import header_of
from jobs.datasets.records import LONGEST_ROW, Item, LeftOut, Parsed, Progress, ReadOptions, Record, cut
from storage.errors import StudioError

_LOOK_AT_ROWS = 200
_MOST_BLANK_ROWS = 1_000  # a longer gap is the sheet's emptiness, no row that somebody left blank
_MOST_COLUMNS = 16_384
_SAVE = "Open it in your spreadsheet program, save it again as XLSX or CSV, and add that file."
# What its reader lets through where a workbook is not as it should be.
_DAMAGED = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, zipfile.BadZipFile, zlib.error),
)
Row = tuple[str, ...]


def parse_workbook(path: Path, name: str, options: ReadOptions, opened: ExitStack) -> Parsed:
    """The rows of the chosen sheet, or of the first one that holds a table.

    `path` is a ZIP archive whose sizes have been checked. Raises StudioError when it is damaged, or has no rows.
    """
    from openpyxl import load_workbook

    _refuse_entities(path, name)
    file = opened.enter_context(path.open("rb"))
    with _in_words(name):
        book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
    opened.callback(book.close)
    visible = [sheet.title for sheet in book.worksheets if sheet.sheet_state == "visible"]
    titles = visible or [sheet.title for sheet in book.worksheets]
    if options.sheet is not None and options.sheet not in [sheet.title for sheet in book.worksheets]:
        raise StudioError(
            f"{name} has no sheet “{options.sheet[:60]}”.", f"Sheets: {', '.join(titles)[:300]}."
        )
    title = options.sheet or _with_table(book, titles, name)
    rows = _rows(book[title], name)
    first = list(islice(rows, _LOOK_AT_ROWS))
    filled = [row for row in first if any(row)]
    if not filled:
        raise StudioError(
            f"The sheet “{title}” of {name} is empty.", "Choose another sheet, or fill this one."
        )
    header = header_of(first, options.has_header)
    if len(first) <= header.rows_above or not any(map(any, first[header.rows_above :])):
        raise StudioError(
            f"The sheet “{title}” of {name} has a header ({', '.join(header.columns)[:200]}) but no rows.",
            "Add at least two examples, or choose another sheet.",
        )
    notes = [f"Not read, above the header: “{text[:100]}”." for text in header.above]
    if options.sheet is None and len(titles) > 1:
        notes.append(f"Only the sheet “{title}” of {len(titles)} was read.")
    return Parsed(
        "xlsx",
        _items(chain(first, rows), header.columns, header.rows_above, title),
        header.columns,
        {
            "Format": "Excel (XLSX)",
            "Sheet": title,
            "Header": "none" if header.without else f"row {header.rows_above}",
        },
        {"sheet": titles} if len(titles) > 1 else {},
        notes,
        header.twice,
        header.without,
        progress=_Place(file),
    )


class _Place(Progress):
    """How far the archive has been read."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(os.fstat(file.fileno()).st_size)
        self._file = file

    def done_bytes(self) -> int:
        """Where the reader is in the file; the sheet comes after the shared texts."""
        return 0 if self._file.closed else self._file.tell()


def _with_table(book: Any, titles: Sequence[str], name: str) -> str:
    """The first sheet with two columns and two rows, else the first one."""
    for title in titles:
        rows = [row for row in islice(_rows(book[title], name), 20) if any(row)]
        if len([row for row in rows if sum(map(bool, row)) > 1]) > 1:
            return title
    if not titles:
        raise StudioError(f"{name} has no sheets with cells.", _SAVE)
    return titles[0]


def _rows(sheet: Any, name: str) -> Iterator[Row]:
    """The cells of every row as text; what the file says of the sheet's size is not believed."""
    with _in_words(name):
        sheet.reset_dimensions()
        rows = sheet.iter_rows(values_only=True)
    while True:
        with _in_words(name):
            cells = next(rows, None)
        if cells is None:
            return
        yield tuple(map(_text, cells))


def _text(value: Any) -> str:
    """A cell as it reads: whole numbers without a decimal point, days without a time."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return str(value)


def _items(rows: Iterator[Row], columns: list[str], above: int, title: str) -> Iterator[Item]:
    width, blank = len(columns), list[LeftOut]()
    for row, cells in enumerate(rows, start=1 - above):
        if row < 1:
            continue
        if not any(map(str.strip, cells)):
            if len(blank) <= _MOST_BLANK_ROWS:
                blank.append(LeftOut(row, "blank_row", "all its cells are empty"))
            continue
        if len(blank) <= _MOST_BLANK_ROWS:
            yield from blank
        blank = []
        where = f"row {row + above} of the sheet “{title}”"
        if sum(map(len, cells)) > LONGEST_ROW:
            yield LeftOut(row, "too_large", f"it has more than 10 MB ({where})", cut(" ".join(cells)))
        elif any(map(str.strip, cells[width:])):
            filled = max(number for number, cell in enumerate(cells, 1) if cell.strip())
            reason = f"it has {filled} cells where the header has {width} ({where})"
            yield LeftOut(row, "broken_row", reason, cut("\t".join(cells).rstrip("\t")))
        else:
            yield Record(row, dict(zip(columns, cells, strict=False)))


def _refuse_entities(path: Path, name: str) -> None:
    """Raises StudioError where a part declares entities: they can grow without end, and read other files."""
    with zipfile.ZipFile(path) as archive:
        for part in archive.namelist():
            if part.endswith((".xml", ".rels")):
                with _in_words(name), archive.open(part) as file:
                    if b"<!DOCTYPE" in file.read(4096):
                        raise StudioError(
                            f"{name}: {part} declares entities, which no spreadsheet needs.", _SAVE
                        )


@contextmanager
def _in_words(name: str) -> Iterator[None]:
    try:
        yield
    except StudioError:
        raise
    except MemoryError as error:
        raise StudioError(f"{name} takes more memory than there is when unpacked.", _SAVE) from error
    except _DAMAGED as error:
        raise StudioError(f"{name} is an Excel workbook, but damaged.", _SAVE) from error
