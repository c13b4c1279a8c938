"""Which rows of a version a training holds out beyond those that its import has kept aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.datasets import rows
from jobs.datasets.checks.texts import prompt_key
from jobs.datasets.conversations import Example
from jobs.datasets.splitting import Splitter
from storage import files

# What an import keeps aside; only a larger share asks for more.
IMPORTED_SHARE = 0.1


def more_held_out(dataset_id: str, share: float) -> set[int]:
    """The numbers of the training rows that `share` of all holds out too; none up to the import's own share.

    They are chosen by what the first version said, so that no change moves a row to the other side. A row whose
    prompt a row for learning has come to share stays with that one, or the test would ask what was learned.
    """
    if share <= IMPORTED_SHARE:
        return set()
    told = _told(dataset_id)
    first = str(told.get("family", dataset_id))
    if not files.dataset_folder(first).is_dir():
        first = dataset_id
    splitter = Splitter(int(_told(first).get("seed", 0)))
    for row in rows.iterate(first):
        if not row.get("added"):
            splitter.see(_example(row))
    chosen = splitter.held_out(share)
    if first == dataset_id:
        return chosen - {row["row"] for row in rows.iterate(first, "held_out")}
    return _apart(dataset_id, chosen)


def _apart(dataset_id: str, chosen: set[int]) -> set[int]:
    """Those of the chosen rows that are for learning in this version, and ask what no other such row asks."""
    asked: dict[int, list[int]] = {}
    for row in rows.iterate(dataset_id, "train"):
        if row["row"] in chosen and not row.get("added"):
            asked.setdefault(hash(prompt_key(_example(row))), []).append(row["row"])
    for row in rows.iterate(dataset_id, "train"):
        if row["row"] not in chosen or row.get("added"):
            asked.pop(hash(prompt_key(_example(row))), None)
    return {number for numbers in asked.values() for number in numbers}


def _told(dataset_id: str) -> Mapping[str, Any]:
    path = files.dataset_folder(dataset_id) / rows.RECORD_FILE
    return dict(files.read_json(path)) if path.is_file() else {}


def _example(row: Mapping[str, Any]) -> Example:
    return Example(row["row"], row["messages"])
