"""Texts of people and models as CSV that no spreadsheet program takes for formulas, and as JSON lines."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

# What a cell begins with that is calculated or runs something, also in the wide forms of East Asia.
# Source: OWASP, "CSV Injection".
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
MARK = "'"
# A separator of cells or rows in some country, and the text behind it up to the next one.
_PART = re.compile(r"([;\t\r\n])([^;\t\r\n]*)")
# By it Excel knows that the file is UTF-8.
BYTE_ORDER_MARK = "\ufeff"


def safe(text: str) -> str:
    """The text with an apostrophe before what a spreadsheet program would calculate; `original` undoes it.

    Where semicolons separate cells, a program that opens the file by itself cuts a text at its semicolons, tabs and
    line ends, whatever the quotes say: what stands behind one may begin a cell, and gets an apostrophe of its own.
    A text that is apostrophes and then such a beginning gets one more, so that no two texts become the same.
    """
    text = _PART.sub(lambda part: part[1] + _marked(part[2], _part_like_a_formula), text)
    return _marked(text, _begins_like_a_formula)


def original(cell: str) -> str:
    """The text that `safe` has made this cell of."""
    text = _unmarked(cell, _begins_like_a_formula)
    return _PART.sub(lambda part: part[1] + _unmarked(part[2], _part_like_a_formula), text)


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


def _marked(text: str, is_formula: Callable[[str], bool]) -> str:
    return MARK + text if is_formula(text) else text


def _unmarked(text: str, is_formula: Callable[[str], bool]) -> str:
    return text[1:] if text.startswith(MARK) and is_formula(text[1:]) else text


def _part_like_a_formula(part: str) -> bool:
    # Quotes inside of a text are doubled in the file, and where a cell begins there two of them are nothing.
    return part.lstrip(MARK).lstrip(' "').startswith(FORMULA_STARTS)


def _begins_like_a_formula(text: str) -> bool:
    # Spaces and empty lines before it are nothing to some programs.
    return text.lstrip(MARK).lstrip(" \n").startswith(FORMULA_STARTS)
