"""The rows of an imported dataset, read back with nothing but the standard library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from storage import files
from storage.errors import StudioError


def rows_path(dataset_id: str) -> Path:
    """The file with one {"row", "messages", "split"} a line.

    Raises StudioError when the dataset has no such file.
    """
    path = files.dataset_folder(dataset_id) / "rows.jsonl"
    if not path.is_file():
        raise StudioError(f"The rows of dataset {dataset_id!r} are gone.", "Add the examples again.")
    return path


def load_rows(dataset_id: str, split: str | None = None) -> list[dict[str, Any]]:
    """All rows, or those of one split ("train" or "held_out"), in the order of the source."""
    return [row for row in _rows(dataset_id) if split is None or row["split"] == split]


def page_of_rows(dataset_id: str, offset: int, limit: int) -> list[dict[str, Any]]:
    """At most `limit` rows from the `offset`-th on (0-based)."""
    return list(islice(_rows(dataset_id), max(0, offset), max(0, offset) + max(0, limit)))


def _rows(dataset_id: str) -> Iterator[dict[str, Any]]:
    with open(rows_path(dataset_id), encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise StudioError(
                    f"Line {number} of {file.name} is damaged.", "Add the examples again."
                ) from error
