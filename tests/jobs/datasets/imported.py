"""What an import makes of a text or a file, in the process of the test and with nothing remembered."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from jobs.datasets import pipeline
from jobs.datasets.checks import Problem
from jobs.datasets.conversations import Example
from jobs.datasets.sources import ReadOptions, open_source

FIELDS = [field.name for field in fields(Problem)]


@dataclass(frozen=True)
class Imported:
    """The usable examples, and what there is to say about the rest."""

    format: str
    columns: list[str]
    mapping: dict[str, str]
    examples: list[Example]
    problems: list[Problem]


def read_examples(path: Path, name: str | None = None, options: ReadOptions | None = None) -> Imported:
    """What a file becomes."""
    name = name or path.name
    with tempfile.TemporaryDirectory() as folder:
        with open_source(path, name, options, Path(folder)) as source:
            built = pipeline.build(source, name, Path(folder), lambda words, done, total: None)
        lines = map(json.loads, (Path(folder) / "rows.jsonl").open(encoding="utf-8"))
        examples = [Example(line["row"], line["messages"]) for line in lines if line["split"] != "left_out"]
    problems = [Problem(**{name: found[name] for name in FIELDS}) for found in built["problems"]]
    return Imported(built["format"], built["columns"], built["mapping"], examples, problems)


def from_text(text: str, name: str = "pasted.txt", options: ReadOptions | None = None) -> Imported:
    """What a pasted text becomes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pasted.txt"
        path.write_bytes(text.encode())
        return read_examples(path, name, options)
