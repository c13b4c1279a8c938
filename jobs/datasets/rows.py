"""The rows of a dataset's version: its base's lines, with the version's own changes over them.

A version is either a base (`rows.jsonl` in its folder) or changes to one (`changes.jsonl`), which hold all that is
different from the base. Nothing of it is ever written again, so that what was opened once can be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.datasets.row_files import CHANGES, KINDS, ROWS, SPLITS, RowsWriter, read_lines
from jobs.datasets.row_view import RowView, view_of
from storage import files
from storage.errors import StudioError

if TYPE_CHECKING:
    import numpy

    Numbers = numpy.ndarray[Any, Any]

__all__ = [
    "ANY",
    "SPLITS",
    "RowsPage",
    "RowsWriter",
    "get_row",
    "iterate",
    "load_rows",
    "opened",
    "page_of_rows",
    "rows_of_problem",
    "rows_path",
    "some_rows",
]

Row = dict[str, Any]

ANY = "any"
RECORD_FILE = "dataset.json"
PROBLEMS_FILE = "problems.json"


@dataclass(frozen=True)
class RowsPage:
    """Some rows, and how many there are in all that match."""

    rows: list[Row]
    total: int


def rows_path(dataset_id: str) -> Path:
    """The file with one {"row", "messages", "split"} a line, of the dataset's base.

    Raises StudioError when the dataset has no such file.
    """
    path = files.dataset_folder(base_of(dataset_id)) / f"{ROWS}.jsonl"
    if not path.is_file():
        raise StudioError(f"The rows of dataset {dataset_id!r} are gone.", "Add the examples again.")
    return path


def base_of(dataset_id: str) -> str:
    """The id of the folder whose rows this version changes; its own where it holds rows itself."""
    folder = files.dataset_folder(dataset_id)
    if (folder / f"{ROWS}.jsonl").is_file() or not (folder / RECORD_FILE).is_file():
        return dataset_id
    return str(files.read_json(folder / RECORD_FILE).get("base", dataset_id))


def changes_path(dataset_id: str) -> Path | None:
    """The file with the changes to the base; None where there are none."""
    path = files.dataset_folder(dataset_id) / f"{CHANGES}.jsonl"
    return path if path.is_file() else None


def opened(dataset_id: str) -> RowView:
    """All rows of a version by their places; raises StudioError when they are gone."""
    changes = changes_path(dataset_id)
    return view_of(rows_path(dataset_id).parent, None if changes is None else changes.parent)


def load_rows(dataset_id: str, split: str | None = None) -> list[Row]:
    """All usable rows, or those of one split ("train", "held_out", "left_out"), in the order of the source."""
    return list(iterate(dataset_id, split))


def iterate(dataset_id: str, split: str | None = None) -> Iterator[Row]:
    """The rows one after the other: all usable ones, those of one split, or with "any" also those left out."""
    wanted = SPLITS if split is None else KINDS if split == ANY else (split,)
    changes = changes_path(dataset_id)
    rows = read_lines(rows_path(dataset_id))
    if changes is not None:
        rows = changed(rows, read_lines(changes))
    return (row for row in rows if row["split"] in wanted)


def changed(rows: Iterable[Row], changes: Iterable[Row]) -> Iterator[Row]:
    """The rows with the changes in their places, without those that are gone."""
    return (row for row in over(rows, changes) if not row.get("gone"))


def over(rows: Iterable[Row], changes: Iterable[Row]) -> Iterator[Row]:
    """Both in the order of row numbers; where both have a row, the change counts."""
    new = iter(changes)
    change = next(new, None)
    for row in rows:
        while change is not None and change["row"] < row["row"]:
            yield change
            change = next(new, None)
        if change is None or change["row"] > row["row"]:
            yield row
    while change is not None:
        yield change
        change = next(new, None)


def page_of_rows(
    dataset_id: str,
    offset: int,
    limit: int,
    *,
    search: str = "",
    problem: str = "",
    split: str = "",
    numbers: Iterable[int] | None = None,
) -> RowsPage:
    """At most `limit` rows from the `offset`-th (0-based) of those that match; without a filter of all rows.

    `search` finds text in messages, whatever its case; `problem` is the code of a finding, and `numbers` are the
    rows of one that is not stored with the dataset.
    """
    view = opened(dataset_id)
    parts = []
    if split:
        parts.append(view.of_kind(split))
    if problem:
        parts.append(_named(view, dataset_id, problem))
    if search.strip():
        parts.append(_search(view, search))
    places = view.in_all(parts)
    shown = places[max(0, offset) : max(0, offset) + max(0, limit)]
    return RowsPage(view.read(shown), len(places))


def some_rows(dataset_id: str, split: str, most: int) -> list[Row]:
    """At most `most` rows of one split, evenly spread over it."""
    view = opened(dataset_id)
    places = view.of_kind(split)
    return view.read(places[:: max(1, -(-len(places) // most))])


def get_row(dataset_id: str, row: int) -> Row:
    """One row by its number.

    Raises StudioError when there is none.
    """
    found = opened(dataset_id).find(row)
    if found is None:
        raise StudioError(f"There is no row {row:,} in this version.", "Choose one from the table.")
    return found


def rows_of_problem(dataset_id: str, code: str) -> list[int]:
    """The numbers of all rows that a finding names; none for a finding that there is not."""
    folder = files.dataset_folder(dataset_id)
    path = folder / PROBLEMS_FILE
    if path.is_file():
        return list(_problems(path, path.stat().st_mtime_ns).get(code, ()))
    if not (folder / RECORD_FILE).is_file():
        return []
    # As the studio wrote them before there was a file for them.
    found = files.read_json(folder / RECORD_FILE)["problems"]
    return sorted({row for problem in found if problem["code"] == code for row in problem["rows"]})


@lru_cache(maxsize=4)
def _problems(path: Path, _changed: int) -> dict[str, list[int]]:
    return dict(files.read_json(path))


# What was found is kept for the next pages of it.
@lru_cache(maxsize=6)
def _search(view: RowView, search: str) -> Numbers:
    return view.matching(search)


@lru_cache(maxsize=6)
def _named(view: RowView, dataset_id: str, code: str) -> Numbers:
    return view.with_numbers(rows_of_problem(dataset_id, code))
