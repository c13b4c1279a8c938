"""A source opened, read to its end and closed: what a test looks at."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.datasets.conversations import Unusable, example_of
from jobs.datasets.records import LeftOut, ReadOptions, Record
from jobs.datasets.sources import open_source
from storage.errors import StudioError


@dataclass
class Opened:
    """What a source is, its records by row, its rows that are left out, and the conversations it gives."""

    format: str
    detected: dict[str, str]
    choices: dict[str, list[str]]
    columns: list[str]
    mapping: dict[str, str]
    certain: bool
    notes: str
    why: StudioError | None
    values: dict[int, Any] = field(default_factory=dict)
    left_out: dict[int, LeftOut] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    messages: list[list[dict[str, str]]] = field(default_factory=list)

    def codes(self) -> dict[int, str]:
        return {row: entry.code for row, entry in self.left_out.items()}


def opened(folder: Path, name: str, content: bytes | str, **options: Any) -> Opened:
    """Write a file of that name and read all of it; raises StudioError as reading does."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path, **options)


def read(path: Path, **options: Any) -> Opened:
    workspace = path.parent / "work"
    with open_source(path, path.name, ReadOptions.from_json(options), workspace) as source:
        found = Opened(
            source.format,
            source.detected,
            source.choices,
            source.columns,
            source.mapping,
            source.certain,
            " ".join(note.message for note in source.notes),
            source.why,
        )
        if source.why is None:
            for item in source.items:
                _take(found, item)
    assert not workspace.exists() or not list(workspace.iterdir()), "what was unpacked is deleted"
    return found


def _take(found: Opened, item: Record | LeftOut) -> None:
    if isinstance(item, Record):
        found.values[item.row] = item.value
        try:
            example = example_of(item, found.mapping)
        except Unusable as unusable:
            item = LeftOut(item.row, unusable.code, unusable.reason)
        else:
            found.messages.append(example.messages)
            found.pairs.append((example.messages[-2]["content"], example.messages[-1]["content"]))
            return
    found.left_out[item.row] = item
