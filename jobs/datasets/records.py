"""What every source is turned into first: records with their place in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Record:
    """One row: the line in JSONL, the element in a JSON list, the record below the header in CSV and TSV."""

    row: int
    value: Any


@dataclass(frozen=True)
class LeftOut:
    """A row that cannot be used: a code for its kind, and the reason as the end of a sentence."""

    row: int
    code: str
    reason: str


@dataclass(frozen=True)
class Source:
    """A parsed file; `columns` are the names in order of appearance."""

    format: str
    columns: list[str]
    records: list[Record]
    left_out: list[LeftOut] = field(default_factory=list)
    without_header: bool = False


class AmbiguousObject(dict[str, Any]):
    """A JSON object in which one field came twice: which value is meant, nobody can tell."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.repeated = next(name for name in names if names.count(name) > 1)
