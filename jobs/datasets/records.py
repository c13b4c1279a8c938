"""What every source is turned into first: records with their place in it, and what was found out about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from storage.errors import StudioError

# More characters than this in one row is no example to learn from, and would not fit into memory twice.
LONGEST_ROW = 10_000_000
MOST_ROWS = 10_000_000
_LONGEST_RAW = 10_000
PARTS = ("messages", "text", "prompt", "input", "response", "system", "history")


@dataclass(frozen=True, slots=True)
class Record:
    """One row: the line in JSONL, the element in a JSON list, the record below the header in tables."""

    row: int
    value: Any


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that cannot be used: a code, the reason as the end of a sentence, and the text as it stood."""

    row: int
    code: str
    reason: str
    raw: str = ""


Item = Record | LeftOut


@dataclass(frozen=True)
class ReadOptions:
    """How to read a source; None everywhere means: find out.

    `mapping` says which column plays which part (see `PARTS`); a part that is not used is absent or None.
    """

    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None
    member: str | None = None
    has_header: bool | None = None
    mapping: Mapping[str, str | None] | None = None
    subset: str | None = None
    split: str | None = None

    @classmethod
    def from_json(cls, value: Any) -> ReadOptions:
        """The options in a plain object; raises StudioError for unknown names and wrong types."""
        if value is None:
            return cls()
        if not isinstance(value, Mapping):
            raise StudioError("The options are not an object.", "Leave them out, or give {} for none.")
        known = cls.__dataclass_fields__
        for name, given in value.items():
            if name not in known:
                raise StudioError(f"There is no option “{str(name)[:40]}”.", f"Known: {', '.join(known)}.")
            if given is None:
                continue
            if name == "has_header":
                fits = isinstance(given, bool)
            elif name == "mapping":
                fits = isinstance(given, Mapping) and all(
                    part in PARTS and (column is None or isinstance(column, str))
                    for part, column in given.items()
                )
            else:  # halves of characters could not be written into the dataset's record
                fits = isinstance(given, str) and given.encode("utf-8", "ignore").decode() == given
            if not fits:
                raise StudioError(f"The option “{name}” cannot be {str(given)[:60]!r}.", _FORMS[name])
        return cls(**value)

    def as_json(self) -> dict[str, Any]:
        """The options that are set, as plain JSON."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        shown = {name: value for name, value in given.items() if value is not None}
        return {**shown, "mapping": dict(self.mapping)} if self.mapping is not None else shown


_FORMS = {
    "encoding": "Give the name of an encoding, such as utf-8 or cp1252.",
    "delimiter": "Give one character, such as ; or a tab.",
    "sheet": "Give the name of a sheet.",
    "member": "Give the name of a file in the archive.",
    "has_header": "Give true or false.",
    "mapping": f"Give an object from parts ({', '.join(PARTS)}) to names of columns.",
    "subset": "Give the name of a subset.",
    "split": "Give the name of a split.",
}


class Progress:
    """How much of a source has been read, in bytes."""

    def __init__(self, total_bytes: int = 0) -> None:
        self.total_bytes = total_bytes

    def done_bytes(self) -> int:
        """Bytes read so far; an estimate where a library reads for us."""
        return 0


@dataclass
class Parsed:
    """A source while it is read: `items` gives every row once; the rest is known before the first.

    `detected`, `choices` and `notes` are words for people; `twice` are column names that came twice; `guessed`: who
    asks and who answers was; `why`: something has to be chosen before the rows can be taken.
    """

    format: str
    items: Iterator[Item]
    columns: list[str] = field(default_factory=list)
    detected: dict[str, str] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    without_header: bool = False
    guessed: bool = False
    why: StudioError | None = None
    progress: Progress = field(default_factory=Progress)


class AmbiguousObject(dict[str, Any]):
    """A JSON object in which one field came twice: which value is meant, nobody can tell."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def cut(raw: str) -> str:
    """The text of a row as it is kept for repairs: not endless, and writable as UTF-8."""
    shown = raw[:_LONGEST_RAW]
    return shown if shown.isascii() else shown.encode("utf-8", "backslashreplace").decode("utf-8")


def raw_of(value: Any) -> str:
    """A record as the text that is kept for repairs."""
    try:
        return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    except (ValueError, RecursionError):
        return cut(str(type(value).__name__))
