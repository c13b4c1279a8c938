"""Texts of people and models as CSV that no spreadsheet program takes for formulas, and as JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# What a cell begins with that is calculated or runs something, also in the wide forms of East Asia.
# Source: OWASP, "CSV Injection".
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
MARK = "'"
# By it Excel knows that the file is UTF-8.
BYTE_ORDER_MARK = "\ufeff"


def safe(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet program would calculate it; `original` undoes it.

    A text that is apostrophes and then such a beginning gets one more, so that no two texts become the same.
    """
    return MARK + text if _begins_like_a_formula(text) else text


def original(cell: str) -> str:
    """The text that `safe` has made this cell of."""
    return cell[1:] if cell.startswith(MARK) and _begins_like_a_formula(cell[1:]) else cell


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """A CSV file piece by piece: every cell in quotes, every text safe, numbers as they are, nothing for None."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([safe(name) for name in header])
    yield BYTE_ORDER_MARK + buffer.getvalue()
    for row in rows:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow([safe(cell) if isinstance(cell, str) else cell for cell in row])
        yield buffer.getvalue()


def json_lines(values: Iterable[Any]) -> Iterator[str]:
    """JSON lines piece by piece; texts stand in them as they are."""
    for value in values:
        yield json.dumps(value, ensure_ascii=False) + "\n"


def _begins_like_a_formula(text: str) -> bool:
    # Spaces and empty lines before it are nothing to some programs.
    return text.lstrip(MARK).lstrip(" \n").startswith(FORMULA_STARTS)
