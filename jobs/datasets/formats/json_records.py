"""JSON and JSON Lines as records, read piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jobs.datasets.formats.encodings import Encoding, escaped_byte
from jobs.datasets.formats.json_values import SPACE, BrokenJson, Window, loads
from jobs.datasets.formats.reading import TextFile, size_shown
from jobs.datasets.records import LONGEST_ROW, Item, LeftOut, Parsed, Record, cut
from storage.errors import StudioError

EXPECTED = "Put the examples in a list of objects, or one object a line (JSONL)."
_DATE = re.compile(r"\s*\[\d{1,4}[./-]\d{1,2}[./-]\d")  # how a chat begins that was exported
_OPENS = re.compile(r"""\s*[\[{]\s*(?:\{\s*)?"(?:[^"\\]|\\.)*"\s*:""")


def looks_like_json(head: str, suffix: str) -> bool:
    """Whether to read a text as JSON: by how it begins, and by most lines where the first is broken."""
    first_lines = [line.lstrip(SPACE) for line in head.split("\n", 100)[:100] if line.strip(SPACE)]
    opens = head.lstrip(SPACE).startswith(("{", "[")) and not _DATE.match(head)
    if suffix in (".csv", ".tsv"):
        return opens and (bool(_OPENS.match(head)) or _is_json(head) or any(map(_is_json, first_lines[:3])))
    return opens or 2 * sum(line.startswith("{") for line in first_lines) >= len(first_lines) > 0


def parse_json(file: TextFile, head: str, encoding: Encoding, name: str) -> Parsed:
    """The records of a JSON list, of an object that holds one, of objects one after another, or of JSON Lines.

    Raises StudioError, at once or while it is read, where it cannot be told where the next record starts.
    """
    damaged = encoding.errors != "strict"
    if _is_one_a_line(head):
        format, shown, items = "jsonl", "JSONL", _lines(file, damaged)
    else:
        format, shown, items = _document(Window(file, damaged), name)
    return Parsed(format, items, detected={"Format": shown, "Encoding": encoding.shown}, progress=file)


def _is_one_a_line(head: str) -> bool:
    """Whether every line is a value of its own: the first one is, or most look as if they were meant to be."""
    lines = [line for line in (line.strip(SPACE) for line in head.split("\n")[:100]) if line]
    if len(lines) < 2:  # a single line may be a whole document, which is read as well where it is a record
        return False
    if lines[0].startswith("["):  # a conversation a line; any other list is a document, or a part of one
        return _is_json(lines[0]) and _is_conversation(loads(lines[0]))
    if _is_json(lines[0]):
        return True
    return 2 * sum(line.startswith("{") and line.endswith("}") for line in lines) >= len(lines)


def _lines(file: TextFile, damaged: bool) -> Iterator[Item]:
    # The file's lines end with CR and LF only: U+2028 and its like are legal inside JSON strings.
    row, read = 0, file.text.readline
    while line := read(LONGEST_ROW):
        row += 1
        if len(line) == LONGEST_ROW and not line.endswith(("\n", "\r")):
            size, start = len(line), cut(line)
            while not line.endswith(("\n", "\r")) and (line := read(LONGEST_ROW)):
                size += len(line)
            yield LeftOut(row, "too_large", _too_large(size), start)
        elif damaged and (byte := escaped_byte(line)):
            reason = f"it has the byte {byte}, which fits no character (line {row:,})"
            yield LeftOut(row, "broken_character", reason, cut(line))
        elif line.strip(SPACE):
            try:
                yield Record(row, _as_object(loads(line)))
            except BrokenJson as broken:
                where = f" at line {row}, column {broken.column}" if broken.column else ""
                reason = f"it is not valid JSON{where}: {broken.reason}"
                yield LeftOut(row, broken.code, reason, cut(line.strip()))


def _document(window: Window, name: str) -> tuple[str, str, Iterator[Item]]:
    """The format, its name for people, and the records of a text that is not one value a line."""
    try:
        opening = window.peek()
        if opening == "[":
            window.take("[")
            if window.peek() == "]":
                raise StudioError(f"{name} holds an empty list.", EXPECTED)
            return "json", "JSON list", _in_words(_lists(window), name)
        value = window.value()
        if window.peek():
            values = _chained(_item(value, 1), _one_after_another(window))
            return "json", "JSON, objects one after another", _in_words(values, name)
    except BrokenJson as broken:
        if broken.code == "too_large" and opening == "{":
            return "json", "JSON object that holds a list", _in_words(_in_large_object(window, name), name)
        raise _as_error(broken, name) from broken
    found = _list_in(value, name)
    # One object on one line is a JSONL file with a single example.
    format, shown = ("jsonl", "JSONL") if found == [value] else ("json", "JSON object that holds a list")
    return format, shown, (_item(one, row) for row, one in enumerate(found, start=1))


def _in_words(items: Iterator[Item], name: str) -> Iterator[Item]:
    try:
        yield from items
    except BrokenJson as broken:
        raise _as_error(broken, name) from broken


def _chained(first: Item, rest: Iterator[Item]) -> Iterator[Item]:
    yield first
    yield from rest


def _lists(window: Window) -> Iterator[Item]:
    """The elements of a list whose bracket has been read, and of the lists that follow it."""
    row = 0
    while True:
        for item in _elements(window, row):
            row = item.row
            yield item
        if not window.peek():
            return
        window.take("[")


def _elements(window: Window, row: int) -> Iterator[Item]:
    """The elements up to the closing bracket, numbered from `row` + 1 on."""
    if window.peek() == "]":
        window.take("]")
        return
    while True:
        row += 1
        yield _next(window, row)
        if window.peek() == "]":
            window.take("]")
            return
        window.take(",")


def _one_after_another(window: Window) -> Iterator[Item]:
    """Values with nothing, or a comma, between them; the first has been read already."""
    row = 1
    while following := window.peek():
        if following == ",":
            window.take(",")
            continue
        row += 1
        yield _next(window, row)


def _next(window: Window, row: int) -> Item:
    """The next value as a record; one that is JSON but cannot be taken is passed over, with the reason."""
    try:
        return _item(window.value(), row)
    except BrokenJson as broken:
        if not broken.can_go_on:
            raise
        try:
            raw, size = window.skip()
        except BrokenJson as unending:
            broken.reason = f"{broken.reason}, and {unending.reason}"
            broken.line, broken.column = broken.line or unending.line, broken.column or unending.column
            raise broken from unending
        if broken.code == "too_large":
            return LeftOut(row, "too_large", _too_large(size), raw)
        where = f" at line {broken.line}, column {broken.column}" if broken.line else ""
        return LeftOut(row, broken.code, f"it is not valid JSON{where}: {broken.reason}", raw)


def _in_large_object(window: Window, name: str) -> Iterator[Item]:
    """The elements of the one list of objects among the fields of an object too large to hold."""
    window.take("{")
    row = 0
    while True:
        window.value()
        window.take(":")
        if window.peek() == "[" and window.peek(2) == "{":
            if row:
                raise StudioError(f"{name} holds more than one list of objects.", EXPECTED)
            window.take("[")
            for item in _elements(window, 0):
                row = item.row
                yield item
        else:
            window.skip()
        if window.peek() != ",":
            window.take("}")
            return
        window.take(",")


def _item(value: Any, row: int) -> Item:
    return Record(row, _as_object(value))


def _as_object(value: Any) -> Any:
    """A bare list of messages as an object that holds it."""
    return {"messages": value} if isinstance(value, list) and _is_conversation(value) else value


def _is_conversation(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(one, dict) and bool({"role", "from"} & one.keys()) for one in value)


def _list_in(document: Any, name: str) -> list[Any]:
    """The list of examples in a document: the one list of objects among its fields, or the document itself."""
    if not isinstance(document, dict) or {"messages", "conversations"} & document.keys():
        return [document]
    lists = [
        value
        for value in document.values()
        if isinstance(value, list)
        and value
        and all(isinstance(item, dict) for item in value)
        and not _is_conversation(value)
    ]
    return lists[0] if len(lists) == 1 else [document]


def _too_large(size: int) -> str:
    return f"it has {size_shown(size)}, and a row may have {size_shown(LONGEST_ROW)} at most"


def _as_error(broken: BrokenJson, name: str) -> StudioError:
    where = f" at line {broken.line:,}, column {broken.column:,}" if broken.line else ""
    return StudioError(f"{name} is not valid JSON{where}: {broken.reason}.", f"Correct it there. {EXPECTED}")


def _is_json(text: str) -> bool:
    try:
        return isinstance(loads(text), dict | list)
    except BrokenJson:
        return False
