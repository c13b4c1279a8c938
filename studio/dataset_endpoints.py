"""The public contract's part about examples: bring them, see what was found, change them, go back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.datasets import checks, diffs, importing, rows, versions
from jobs.datasets.records import ReadOptions
from storage import datasets
from storage.datasets import Dataset
from storage.errors import StudioError

MOST_ROWS = 1000


def described(dataset: Dataset) -> dict[str, Any]:
    """A version of a dataset as every endpoint answers it."""
    return {
        "dataset_id": dataset.id,
        "name": dataset.name,
        "format": dataset.format,
        "rows": dataset.rows,
        "columns": dataset.columns,
        "problems": dataset.problems,
        "train_rows": dataset.train_rows,
        "held_out_rows": dataset.held_out_rows,
        "left_out_rows": dataset.left_out_rows,
        "family": dataset.family,
        "version": dataset.version,
        "parent_id": dataset.parent_id,
        "change": dataset.change,
        "is_current": dataset.is_current,
        "summary": dataset.summary,
    }


def add_dataset(file: str, name: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Import a file of examples: {dataset_id, rows, columns, problems, …}; `options` say how to read it."""
    path = Path(file)
    return described(importing.add_dataset(path, name or path.name, options=ReadOptions.from_json(options)))


def inspect_file(file: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Look at a file before it is imported: {format, detected, choices, columns, mapping, certain, rows, problems}."""
    path = Path(file)
    return asdict(importing.inspect(path, path.name, ReadOptions.from_json(options)))


def add_text(text: str, name: str = "", options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Import pasted text or a spreadsheet range; answers as /add_dataset."""
    return described(importing.add_pasted(str(text), name, options=ReadOptions.from_json(options)))


def add_rows(given: list[Any], name: str = "") -> dict[str, Any]:
    """Import rows, each [prompt, answer] or {"messages": […]}; answers as /add_dataset."""
    if not isinstance(given, list):
        raise StudioError("The rows are not a list.", "Give a list of [prompt, answer] pairs.")
    return described(importing.add_rows([_row(number, one) for number, one in enumerate(given, 1)], name))


def _row(number: int, given: Any) -> Any:
    if isinstance(given, list) and len(given) == 2 and all(isinstance(part, str) for part in given):
        return [{"role": "user", "content": given[0]}, {"role": "assistant", "content": given[1]}]
    if isinstance(given, dict) and isinstance(given.get("messages"), list):
        return given["messages"]
    raise StudioError(
        f"Row {number} is neither a pair of texts nor an object with messages.",
        'Write ["prompt", "answer"] or {"messages": [{"role": …, "content": …}, …]}.',
    )


def add_hub_dataset(hub_id: str, name: str = "", options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Import a dataset of the Hugging Face hub, subset and split in `options`; answers as /add_dataset."""
    return described(importing.add_hub(str(hub_id), name, options=ReadOptions.from_json(options)))


def read_differently(dataset_id: str, options: dict[str, Any]) -> dict[str, Any]:
    """Import the file of a dataset once more, read in another way; answers as /add_dataset."""
    return described(importing.reread(dataset_id, options=ReadOptions.from_json(options)))


def all_datasets() -> list[dict[str, Any]]:
    """The current version of every dataset, newest first: [{dataset_id, name, rows, version, …}]."""
    return [described(one) for one in datasets.families()]


def page_of_rows(
    dataset_id: str, offset: int = 0, limit: int = 25, search: str = "", problem: str = "", split: str = ""
) -> dict[str, Any]:
    """Some rows that fit a search, a problem's code and a split: {rows, total}."""
    datasets.get(dataset_id)
    wanted = min(MOST_ROWS, max(0, int(limit)))
    page = rows.page_of_rows(
        dataset_id, max(0, int(offset)), wanted, search=search, problem=problem, split=split
    )
    return {"rows": page.rows, "total": page.total}


def get_row(dataset_id: str, row: int) -> dict[str, Any]:
    """One row: {row, messages, split}, and for one that is left out its code, reason and raw text."""
    datasets.get(dataset_id)
    return rows.get_row(dataset_id, int(row))


def _changed(dataset_id: str, change: dict[str, Any]) -> dict[str, Any]:
    return described(versions.apply(dataset_id, change))


def edit_row(dataset_id: str, row: int, messages: list[dict[str, str]]) -> dict[str, Any]:
    """Replace what one row says, in a new version; answers as /add_dataset."""
    return _changed(dataset_id, {"kind": "edit", "row": row, "messages": messages})


def add_row(dataset_id: str, messages: list[dict[str, str]]) -> dict[str, Any]:
    """Add a row to learn from, in a new version; answers as /add_dataset."""
    return _changed(dataset_id, {"kind": "add", "messages": messages, "origin": "grid"})


def delete_rows(dataset_id: str, numbers: list[int]) -> dict[str, Any]:
    """Leave rows away, in a new version; answers as /add_dataset."""
    return _changed(dataset_id, {"kind": "delete", "rows": numbers})


def fix(dataset_id: str, codes: list[str] | str = "all", numbers: list[int] | None = None) -> dict[str, Any]:
    """Fix problems by their codes ("all": what Fix all does), or only some rows of one; answers as /add_dataset."""
    dataset = datasets.get(dataset_id)
    if codes == "all":
        codes = checks.fix_all_codes(dataset.problems, dataset.rows)
    named = [codes] if isinstance(codes, str) else list(codes)
    if numbers:
        if len(named) != 1:
            raise StudioError("Rows were named for more than one problem.", "Name one code with its rows.")
        return _changed(dataset_id, {"kind": "fix_rows", "code": named[0], "rows": numbers})
    return _changed(dataset_id, {"kind": "fix", "codes": named})


def undo(dataset_id: str) -> dict[str, Any]:
    """Go back to the version before this one; answers as /add_dataset."""
    return described(versions.undo(dataset_id))


def redo(dataset_id: str) -> dict[str, Any]:
    """Go on again to the newest version that was made of this one; answers as /add_dataset."""
    return described(versions.redo(dataset_id))


def go_to_version(dataset_id: str) -> dict[str, Any]:
    """Let any version be the current one of its dataset; answers as /add_dataset."""
    return described(versions.go_to(dataset_id))


def all_versions(dataset_id: str) -> list[dict[str, Any]]:
    """Every version of a dataset: [{dataset_id, version, parent_id, change, rows, …}]."""
    return [described(one) for one in versions.history(dataset_id)]


def diff(old_id: str, new_id: str, offset: int = 0, limit: int = 50) -> dict[str, Any]:
    """What differs between two versions: {added, removed, changed: [{row, before, after}], totals}."""
    found = diffs.diff(old_id, new_id, max(0, int(offset)), min(MOST_ROWS, max(0, int(limit))))
    changed = [{"row": row, "before": before, "after": after} for row, before, after in found.changed]
    return {"added": found.added, "removed": found.removed, "changed": changed, "totals": found.totals}


def add_corrected(dataset_id: str, messages: list[dict[str, str]]) -> dict[str, Any]:
    """Add a corrected answer as a row to learn from, never to test on; answers as /add_dataset."""
    return described(versions.add_corrected(dataset_id, messages))


FUNCTIONS = {
    "datasets": all_datasets,
    "add_text": add_text,
    "add_rows": add_rows,
    "add_hub_dataset": add_hub_dataset,
    "read_differently": read_differently,
    "rows": page_of_rows,
    "row": get_row,
    "edit_row": edit_row,
    "add_row": add_row,
    "delete_rows": delete_rows,
    "add_corrected": add_corrected,
    "fix": fix,
    "undo": undo,
    "redo": redo,
    "go_to_version": go_to_version,
    "versions": all_versions,
    "diff": diff,
}
