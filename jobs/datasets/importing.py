"""From a file or pasted text to a dataset: parse → check → split → publish the folder → remember it."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.datasets import samples
from jobs.datasets.checking import Problem, check, rows_left_out
from jobs.datasets.columns import mapping_of
from jobs.datasets.conversations import Example, Unusable, example_of
from jobs.datasets.delimited import read_delimited
from jobs.datasets.json_records import looks_like_json, read_json
from jobs.datasets.reading import check_size, pasted_bytes, read_bytes, text_of
from jobs.datasets.records import LeftOut, Source
from jobs.datasets.splitting import held_out_rows
from storage import datasets, files
from storage.errors import StudioError

__all__ = ["Example", "Imported", "add_dataset", "add_pasted", "add_sample", "from_text", "read_examples"]

FEWEST_EXAMPLES = 2
_PASTED = "pasted.txt"
_LONGEST_NAME = 120


@dataclass(frozen=True)
class Imported:
    """What a source holds: usable examples in its order, and everything worth saying about the rest.

    `mapping` says which column plays which part, `problems` names every row that was left out.
    """

    format: str
    columns: list[str]
    mapping: dict[str, str]
    examples: list[Example]
    problems: list[Problem]


def read_examples(path: Path, name: str | None = None) -> Imported:
    """The examples in a CSV, TSV, JSON or JSONL file; its content decides which of these it is.

    Raises StudioError when fewer than two examples can be used.
    """
    name = _shown_name(name or path.name)
    return _from_bytes(read_bytes(path, name), name)


def from_text(text: str, name: str = _PASTED) -> Imported:
    """The examples in pasted text, also a range copied from a spreadsheet; raises as `read_examples`."""
    name = _shown_name(name)
    return _from_bytes(_bytes_of(text, name), name)


def add_dataset(path: Path, name: str = "", seed: int = 0) -> datasets.Dataset:
    """Import a file as a new dataset; on any failure nothing of it stays.

    A name that is taken gets " (2)". Raises StudioError as `read_examples`, and when the disk is full.
    """
    source_name = _shown_name(path.name)
    return _add(read_bytes(path, source_name), source_name, name or source_name, seed)


def add_pasted(text: str, name: str = "", seed: int = 0) -> datasets.Dataset:
    """Import pasted text as a new dataset; raises as `add_dataset`."""
    return _add(_bytes_of(text, "The pasted text"), _PASTED, name or "Pasted examples", seed)


def add_sample(sample_id: str) -> datasets.Dataset:
    """Import one of the sample sets; raises StudioError for an unknown one."""
    sample = samples.find(sample_id)
    return add_dataset(sample.path, sample.name)


def _bytes_of(text: str, name: str) -> bytes:
    data = pasted_bytes(text, name)
    check_size(len(data), name)
    return data


def _from_bytes(data: bytes, name: str) -> Imported:
    source = _parse(text_of(data, name), name)
    mapping, guessed = mapping_of(source.columns, source.records, name)
    examples: list[Example] = []
    left_out = list(source.left_out)
    for record in source.records:
        try:
            examples.append(example_of(record, mapping))
        except Unusable as unusable:
            left_out.append(LeftOut(record.row, unusable.code, unusable.reason))
    lost = rows_left_out(left_out)
    if len(examples) < FEWEST_EXAMPLES:
        usable = "Only one example" if examples else "No example"
        found = " ".join(problem.message for problem in lost)
        raise StudioError(
            f"{usable} in {name} can be used; at least {FEWEST_EXAMPLES} are needed. {found}".rstrip(),
            lost[0].fix if lost else "Add more examples.",
        )
    notes = _notes(source, mapping, guessed)
    return Imported(source.format, source.columns, mapping, examples, [*lost, *check(examples), *notes])


def _parse(text: str, name: str) -> Source:
    if not text.strip():
        raise StudioError(f"{name} is empty.", "Add a file with at least two examples.")
    if looks_like_json(text, Path(name).suffix.lower()):
        return read_json(text, name)
    return read_delimited(text, name)


def _notes(source: Source, mapping: dict[str, str], guessed: bool) -> list[Problem]:
    """What was decided about the columns, so that a wrong guess is seen."""
    notes = []
    if source.without_header:
        message = "The first row looks like an example, so it was read as one: there is no header."
        notes.append(Problem("no_header", "info", [], message, "If it is a header, use short names."))
    if guessed:
        message = f"Read “{mapping['prompt']}” as the prompt and “{mapping['response']}” as the answer."
        fix = "If that is wrong, name the columns “prompt” and “response” and add the file again."
        notes.append(Problem("column_guess", "info", [], message, fix))
    unused = [column for column in source.columns if column not in mapping.values()]
    if unused:
        listed = ", ".join(f"“{column}”" for column in unused[:10])
        more = f" and {len(unused) - 10} more" if len(unused) > 10 else ""
        message = f"Not used: {listed}{more}."
        notes.append(Problem("unused_columns", "info", [], message, "Nothing to do if that is right."))
    return notes


def _add(data: bytes, source_name: str, name: str, seed: int) -> datasets.Dataset:
    imported = _from_bytes(data, source_name)
    held_out = held_out_rows(imported.examples, seed=seed)
    problems = [problem.as_json() for problem in [*imported.problems, *_split_notes(held_out)]]
    dataset_id = files.new_id()
    record: dict[str, Any] = {
        "id": dataset_id,
        "name": _free_name(name),
        "source_name": source_name,
        "format": imported.format,
        "columns": imported.columns,
        "rows": len(imported.examples),
        "train_rows": len(imported.examples) - len(held_out),
        "held_out_rows": len(held_out),
        "problems": problems,
        "sha256": hashlib.sha256(data).hexdigest(),
        "created_at": time.time(),
    }
    with files.full_disk_as_error(len(data)):
        staged, final = files.temporary_folder(), files.dataset_folder(dataset_id)
        try:
            files.write_bytes(staged / "original" / files.slug(source_name), data)
            files.write_text(staged / "rows.jsonl", _rows_text(imported.examples, held_out))
            files.write_json(staged / "dataset.json", {**record, "mapping": imported.mapping, "seed": seed})
            files.publish_folder(staged, final)
            return datasets.add(**record)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            shutil.rmtree(final, ignore_errors=True)
            raise


def _rows_text(examples: Sequence[Example], held_out: set[int]) -> str:
    lines = (
        {"row": e.row, "messages": e.messages, "split": "held_out" if e.row in held_out else "train"}
        for e in examples
    )
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _split_notes(held_out: set[int]) -> list[Problem]:
    if held_out:
        return []
    message = "Nothing could be held out to test on: all rows ask the same."
    return [Problem("no_held_out", "warning", [], message, "Add examples with other prompts.")]


def _shown_name(name: str) -> str:
    """A file name as it may be shown and stored: no odd bytes, no control characters, not endless."""
    plain = name.encode("utf-8", "replace").decode("utf-8")
    return "".join(c for c in plain if c.isprintable()).strip()[:_LONGEST_NAME] or "unnamed"


def _free_name(name: str) -> str:
    """The dataset's name: without a data file's suffix, and with a number when it is taken."""
    shown = _shown_name(name)
    if Path(shown).suffix.lower() in (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt"):
        shown = Path(shown).stem
    taken = {dataset.name for dataset in datasets.list_all()}
    number, free = 1, shown
    while free in taken:
        number += 1
        free = f"{shown} ({number})"
    return free
