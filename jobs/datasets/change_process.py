"""The process that makes a new version: `python -m jobs.datasets.change_process FOLDER`, see `child`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.datasets import changes, child, rows
from jobs.datasets.changes import ChangedRows
from jobs.datasets.child import Report
from jobs.datasets.rechecking import Rechecked
from jobs.datasets.row_files import CHANGES, KINDS, RowsWriter, open_lines, read_lines
from jobs.datasets.row_view import RowView, view_of
from storage import files
from storage.errors import StudioError

# Changes are kept apart from the rows up to this share of them; then the version is written whole.
MOST_CHANGED_SHARE = 0.2
LEAST_CHANGED_ROWS = 1000
_REPORT_EVERY = 1000

Row = dict[str, Any]


def work(spec: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Fill `folder` with the version that a change makes of another; returns what is to be remembered of it.

    The spec has "id" and "parent", "change" as `changes.checked` returns it, and "first_row" for new rows.
    """
    parent, change = spec["parent"], spec["change"]
    with ChangedRows(folder / "changed") as changed:
        sentence = changes.collect(change, parent, spec["first_row"], changed, report)
        base, earlier = rows.base_of(parent), rows.changes_path(parent)

        def since_base() -> Iterator[Row]:
            return rows.over([] if earlier is None else read_lines(earlier), changed)

        view, written = _write(parent, base, earlier, changed, folder, report)
        if not len(view.of_kind("train")) and not len(view.of_kind("held_out")):
            raise StudioError("Nothing to learn from would be left.", "Keep at least one example.")
        version = Rechecked(parent, view, files.dataset_folder(base), since_base, [*changed.numbers])
        found = version.recheck(change["kind"], folder, report)
        changed_rows = len(changed)
    counts = {kind: len(view.of_kind(kind)) for kind in KINDS}
    return {
        **found,
        **written,
        "base": spec["id"] if written else base,
        "change": sentence,
        "changed_rows": changed_rows,
        "rows": counts["train"] + counts["held_out"],
        "train_rows": counts["train"],
        "held_out_rows": counts["held_out"],
        "left_out_rows": counts["left_out"],
    }


def _write(
    parent: str, base: str, earlier: Path | None, changed: ChangedRows, folder: Path, report: Report
) -> tuple[RowView, dict[str, Any]]:
    """The new version's rows: how they are looked at, and the hash where they are written whole."""
    of_base = open_lines(files.dataset_folder(base))
    count = len(changed) + (0 if earlier is None else len(open_lines(earlier.parent, CHANGES).numbers))
    if count <= max(LEAST_CHANGED_ROWS, MOST_CHANGED_SHARE * len(of_base.numbers)):
        with RowsWriter(folder, CHANGES) as writer:
            for row in rows.over([] if earlier is None else read_lines(earlier), changed):
                writer.add(row)
        return view_of(files.dataset_folder(base), folder), {}
    with RowsWriter(folder) as writer:
        for done, row in enumerate(rows.changed(rows.iterate(parent, rows.ANY), changed)):
            if done % _REPORT_EVERY == 0:
                report("Writing the new version", done, len(of_base.numbers))
            writer.add(row)
    return view_of(folder), {"rows_sha256": writer.sha256}


if __name__ == "__main__":
    child.main(work)
