"""JSON and JSON Lines as records."""

from __future__ import annotations

import json
from typing import Any

from jobs.datasets.records import AmbiguousObject, LeftOut, Record, Source
from storage.errors import StudioError

EXPECTED = "Put the examples in a list of objects, or one object a line (JSONL)."
_TOO_LONG_NUMBER = "a number has more digits than can be read"
_TOO_DEEP = "it is nested too deep"


class _BrokenJson(Exception):
    """Why a text is no JSON, as the end of a sentence; line and column are 1-based in that text."""

    def __init__(self, reason: str, line: int = 0, column: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.column = column


def looks_like_json(text: str, suffix: str) -> bool:
    """Whether to read a text as JSON: by how it begins, and by most lines where the first is broken."""
    first_lines = [line.lstrip() for line in text.split("\n", 100)[:100] if line.strip()]
    opens = text.lstrip().startswith(("{", "["))
    if suffix in (".csv", ".tsv"):
        return opens and (_is_json(text) or any(_is_json(line) for line in first_lines[:3]))
    return opens or 2 * sum(line.startswith("{") for line in first_lines) >= len(first_lines) > 0


def read_json(text: str, name: str) -> Source:
    """The records of a JSON list, of an object that holds one, or of JSON Lines.

    Raises StudioError when no record can be read.
    """
    try:
        document = _loads(text)
    except _BrokenJson as broken:
        if text.lstrip().startswith("[") and not _is_json(text.strip().split("\n", 1)[0]):
            raise _as_error(broken, name) from broken
        source = _read_lines(text)
        if not source.records:
            raise _as_error(broken, name) from broken
        return source
    values = _list_in(document, name)
    # One object on one line is a JSONL file with a single example.
    format = "jsonl" if isinstance(document, dict) and values == [document] else "json"
    return _source(format, [Record(row, value) for row, value in enumerate(values, start=1)], [])


def _read_lines(text: str) -> Source:
    records: list[Record] = []
    left_out: list[LeftOut] = []
    # Not splitlines(): U+2028 and its like are legal inside JSON strings.
    for row, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(Record(row, _loads(line)))
        except _BrokenJson as broken:
            where = f" at line {row}, column {broken.column}" if broken.column else ""
            left_out.append(LeftOut(row, "broken_json", f"it is not valid JSON{where}: {broken.reason}"))
    return _source("jsonl", records, left_out)


def _source(format: str, records: list[Record], left_out: list[LeftOut]) -> Source:
    names: dict[str, None] = {}
    for record in records:
        if isinstance(record.value, dict):
            names.update(dict.fromkeys(record.value))
    return Source(format, list(names), records, left_out)


def _list_in(document: Any, name: str) -> list[Any]:
    """The list of examples in a document: itself, or the one list of objects among its fields."""
    if isinstance(document, list):
        if not document:
            raise StudioError(f"{name} holds an empty list.", EXPECTED)
        return document
    # Text that opens with neither "[" nor "{" never comes here as a whole document: so it is an object.
    if {"messages", "conversations"} & document.keys():
        return [document]
    lists = [
        value
        for value in document.values()
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    ]
    return lists[0] if len(lists) == 1 else [document]


def _as_error(broken: _BrokenJson, name: str) -> StudioError:
    where = f" at line {broken.line}, column {broken.column}" if broken.line else ""
    return StudioError(f"{name} is not valid JSON{where}: {broken.reason}.", f"Correct it there. {EXPECTED}")


def _loads(text: str) -> Any:
    """Raises _BrokenJson for everything that is not JSON or beyond what can be read."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise _BrokenJson(error.msg.removesuffix(" starting at"), error.lineno, error.colno) from error
    except RecursionError as error:
        raise _BrokenJson(_TOO_DEEP) from error
    except ValueError as error:  # the interpreter's limit on digits
        raise _BrokenJson(_TOO_LONG_NUMBER) from error


def _is_json(text: str) -> bool:
    try:
        return isinstance(_loads(text), dict | list)
    except _BrokenJson:
        return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names can be shown and stored: halves of characters (lone surrogates) become "?"."""
    pairs = [(key if key.isascii() else key.encode("utf-8", "replace").decode(), v) for key, v in pairs]
    values = dict(pairs)
    return values if len(values) == len(pairs) else AmbiguousObject(pairs)
