"""Strict JSON: a value, or the reason and the place why it is none; and values out of a file of any size.

Not with ijson: it turns halves of characters into "?", takes the last of two fields with one name and does not
say where in the file an error is. The standard library's parser does, over a window that moves through the file.
"""

from __future__ import annotations

import json
import re
from typing import Any

from jobs.datasets.formats.encodings import escaped_byte
from jobs.datasets.formats.reading import TextFile
from jobs.datasets.records import LONGEST_ROW, AmbiguousObject, cut

MOST_LEVELS = 64
_MOST_MARKS = (
    1_000_000  # brackets in a value that is passed over: more would take minutes, and are no example
)
_WINDOW = 1 << 18
_DEEPEST = 100_000  # nobody's data: so far a value that is too deep is passed over
_NO_VALUE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(-?(?:NaN|Infinity))', re.DOTALL)
_REST_OF_STRING = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_STRUCTURE = re.compile(r'["\[\]{}]')
_SCALAR = re.compile(r"[^\s,\[\]{}]+")
# Beside JSON's own white space: the mark that starts a file or a piece of one, and RFC 7464's record separator.
SPACE = " \t\r\n\ufeff\x1e"
_SPACE = re.compile(f"[{SPACE}]*")


class BrokenJson(Exception):
    """Why a text is no JSON, as the end of a sentence; line and column are 1-based in that text, 0 if unknown.

    `can_go_on`: it is a single value that cannot be taken, and where it ends can be told.
    """

    def __init__(
        self, reason: str, line: int = 0, column: int = 0, code: str = "broken_json", can_go_on: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.column = column
        self.code = code
        self.can_go_on = can_go_on


class _Refused(Exception):
    """A value that Python's parser would take, or cannot hold: its code, reason and place in the text."""

    def __init__(self, reason: str, at: int, code: str = "broken_json") -> None:
        super().__init__(reason)
        self.reason, self.at, self.code = reason, at, code


class _NotANumber(ValueError):
    """NaN or Infinity."""


def loads(text: str) -> Any:
    """The value in a text. Raises BrokenJson for everything that is not JSON or beyond what can be read."""
    start = _SPACE.match(text).end()  # type: ignore[union-attr]
    try:
        value, end = _decode(text, start)
    except json.JSONDecodeError as error:
        raise BrokenJson(_reason(error), error.lineno, error.colno) from error
    except _Refused as refused:
        raise BrokenJson(refused.reason, *_place(text, refused.at), refused.code) from refused
    end = _SPACE.match(text, end).end()  # type: ignore[union-attr]
    if end != len(text):
        raise BrokenJson("Extra data", *_place(text, end))
    return value


def _decode(text: str, start: int) -> tuple[Any, int]:
    """The value that starts there, and where it ends. Raises JSONDecodeError and _Refused."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise _Refused(_TOO_DEEP, start) from error
    except _NotANumber as error:
        found = next((m for m in _NO_VALUE.finditer(text, start) if m[1]), None)
        reason = f"{error} is no value in JSON"
        raise _Refused(reason, found.start() if found else start) from error
    except ValueError as error:  # the interpreter's limit on digits
        raise _Refused("a number has more digits than can be read", start) from error
    if (
        text.count("{", start, end) + text.count("[", start, end) > MOST_LEVELS
        and _levels(value) > MOST_LEVELS
    ):
        raise _Refused(_TOO_DEEP, start)
    return value, end


class Window:
    """A text file seen through a window that moves on: only the value at hand is in memory."""

    def __init__(self, file: TextFile, damaged: bool = False) -> None:
        self._file = file.text
        self._damaged = damaged
        self._text, self._at, self._ended = "", 0, False
        self._line, self._column = 1, 1  # of the window's first character

    def peek(self, nth: int = 1) -> str:
        """The next character but white space ("" at the end), or the `nth` such, none of them taken."""
        at = self._at
        while True:
            at = _SPACE.match(self._text, at).end()  # type: ignore[union-attr]
            if at < len(self._text):
                if nth == 1:
                    return self._text[at]
                nth, at = nth - 1, at + 1
            elif self._ended:
                return ""
            else:
                kept = at - self._at
                self._more()
                at = self._at + kept

    def take(self, character: str) -> None:
        """Pass over the next character; raises BrokenJson when it is another one."""
        if self.peek() != character:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            raise BrokenJson(f"Expecting {character!r}", *self._place(self._at))
        self._at = _SPACE.match(self._text, self._at).end() + 1  # type: ignore[union-attr]

    def value(self) -> Any:
        """The next value, which is passed over. Raises BrokenJson, and is still before it then."""
        self.peek()
        self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended:
                    raise BrokenJson(_reason(error), *self._place(error.pos)) from error
                if len(self._text) - self._at >= LONGEST_ROW:
                    if _ends_early(error, self._text):
                        raise BrokenJson("it is too large", 0, 0, "too_large", can_go_on=True) from error
                    raise BrokenJson(_reason(error), *self._place(error.pos)) from error
                self._more()
            except _Refused as refused:
                place = self._place(refused.at)
                raise BrokenJson(refused.reason, *place, refused.code, can_go_on=True) from refused
            else:
                if end == len(self._text) and not self._ended:  # a number may go on
                    self._more()
                    continue
                if self._damaged and (byte := escaped_byte(self._text[self._at : end])):
                    reason = f"the byte {byte} fits no character"
                    place = self._place(self._at)
                    raise BrokenJson(reason, *place, "broken_character", can_go_on=True)
                self._at = end
                return value

    def skip(self) -> tuple[str, int]:
        """Pass over the next value without reading it; returns how it begins, and its characters."""
        self.peek()
        self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
        place = self._place(self._at)
        beginning = cut(self._text[self._at :])
        scalar = _SCALAR.match(self._text, self._at)
        if scalar and not scalar[0].startswith('"'):
            self._at = scalar.end()
            return cut(scalar[0]), len(scalar[0])
        size, levels, marks, in_string = 0, 0, 0, False
        while True:
            at = self._at
            if in_string:
                at = _REST_OF_STRING.match(self._text, at).end()  # type: ignore[union-attr]
                found = self._text[at : at + 1] == '"'
                in_string = not found
            else:
                mark = _STRUCTURE.search(self._text, at)
                found, at = bool(mark), mark.start() if mark else len(self._text)
                in_string = bool(mark) and self._text[at] == '"'
                if mark and not in_string:
                    levels += 1 if self._text[at] in "[{" else -1
                    marks += 1
                if levels > _DEEPEST or marks > _MOST_MARKS:
                    raise BrokenJson("its end cannot be found", *place)
            size += at + found - self._at
            self._at = at + found
            if found and not in_string and levels == 0:
                return beginning[:size], size
            if not found:
                if self._ended:
                    raise BrokenJson("the file ends in the middle of it", *place)
                self._more()

    def _more(self) -> None:
        """Let go of what was passed over and read on: as much again as is still needed."""
        passed = self._text.count("\n", 0, self._at)
        last = self._text.rfind("\n", 0, self._at)
        self._column = self._at - last if passed else self._column + self._at
        self._line += passed
        kept = self._text[self._at :]
        read = self._file.read(max(_WINDOW, len(kept)))
        self._ended = not read
        self._text, self._at = kept + read, 0

    def _place(self, at: int) -> tuple[int, int]:
        line, column = _place(self._text, at)
        return line + self._line - 1, column + (self._column - 1 if line == 1 else 0)


_TOO_DEEP = f"it is nested too deep (more than {MOST_LEVELS} levels)"


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _reason(error: json.JSONDecodeError) -> str:
    return error.msg.removesuffix(" starting at")


def _ends_early(error: json.JSONDecodeError, text: str) -> bool:
    """Whether an error only says that the text goes on behind the window."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(text) - 10


def _levels(value: Any) -> int:
    levels, level = 0, [value]
    while level and levels <= MOST_LEVELS + 1:
        below = (v for v in level if isinstance(v, dict | list))
        level = [inner for v in below for inner in (v.values() if isinstance(v, dict) else v)]
        levels += 1
    return levels - 1


def _refuse(constant: str) -> None:
    raise _NotANumber(constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names can be shown and stored: halves of characters (lone surrogates) become "?"."""
    values = dict(pairs)
    for key in values:
        if not key.isascii():
            pairs = [(key.encode("utf-8", "replace").decode(), value) for key, value in pairs]
            return dict(pairs) if len({key for key, _ in pairs}) == len(pairs) else AmbiguousObject(pairs)
    return values if len(values) == len(pairs) else AmbiguousObject(pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse)
