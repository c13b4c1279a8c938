"""A dataset to change, and the changes that tests make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from jobs.datasets import change_process, child, publishing, versions
from jobs.datasets.rows import load_rows
from storage import datasets, files
from storage.datasets import Dataset

Messages = list[dict[str, str]]


def said(asked: str, answer: str = "Yes.") -> Messages:
    """One question and its answer."""
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def pasted(count: int = 40) -> str:
    """Rows of which some repeat others, hold an address, or have no answer."""
    made = [{"prompt": f"Question {n}?", "response": f"Answer {n}."} for n in range(count)]
    made += [{"prompt": "Question 3?", "response": "Answer 3."}] * 2
    made += [{"prompt": f"Whom {n}?", "response": f"Write to a{n}@example.org."} for n in range(4)]
    made += [{"prompt": "Nothing?", "response": ""}]
    return "\n".join(json.dumps(line) for line in made)


def copy_of(template: Path) -> Dataset:
    """A dataset with the same folder under an id of its own."""
    id = files.new_id()
    shutil.copytree(template, files.dataset_folder(id))
    told = {**files.read_json(template / "dataset.json"), "id": id, "family": id, "base": id}
    files.write_json(files.dataset_folder(id) / "dataset.json", told)
    return publishing._add(told)


def at_once(dataset_id: str, change: dict[str, Any]) -> Dataset:
    """`versions.apply` without a process of its own."""
    parent = datasets.get(dataset_id)
    spec = versions.spec_of(parent, change)
    with child.staging() as folder:
        made = change_process.work(spec, folder, lambda *_: None)
        return versions.published(parent, spec, made, folder)


def edit(row: int, asked: str, answer: str = "Yes.") -> dict[str, Any]:
    """The change that rewrites a row."""
    return {"kind": "edit", "row": row, "messages": said(asked, answer)}


def add(asked: str, answer: str = "Yes.", origin: str = "grid") -> dict[str, Any]:
    """The change that adds a row."""
    return {"kind": "add", "messages": said(asked, answer), "origin": origin}


def numbers(dataset_id: str, split: str | None = None) -> list[int]:
    """The numbers of the usable rows, or of those of one split."""
    return [row["row"] for row in load_rows(dataset_id, split)]
