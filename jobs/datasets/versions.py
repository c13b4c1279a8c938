"""The versions of a dataset: every change makes a new one, and going back is choosing another as the current one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.datasets import changes, child, rows
from jobs.datasets.child import Report
from jobs.datasets.diffs import Diff, diff
from jobs.datasets.families import delete
from jobs.datasets.publishing import publish
from storage import datasets, files
from storage.datasets import Dataset
from storage.errors import StudioError

__all__ = ["Diff", "add_corrected", "apply", "delete", "diff", "go_to", "history", "redo", "undo"]

Change = Mapping[str, Any]

_MODULE = "jobs.datasets.change_process"
# Comparing a million rows with each other says nothing for a while.
_LIMITS = child.Limits(stall_seconds=600)
# In the folder of the first version: the highest numbers that a row and a version of the family have had.
_GIVEN = "given.json"


def apply(
    dataset_id: str,
    change: Change,
    report: Report | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Dataset:
    """Make a new version by a change, and let it be the current one; nothing that was there is touched.

    Kinds: {"kind": "fix", "codes"}, {"kind": "fix_rows", "code", "rows"}, {"kind": "edit", "row", "messages"},
    {"kind": "add", "messages", "origin"}, {"kind": "add_many", "rows"} (each a list of messages),
    {"kind": "delete", "rows"}, {"kind": "check"} (all rows, where a large set's changes were not).
    Raises StudioError when it cannot be done or would change nothing, Cancelled once `should_stop` says so.
    """
    parent = datasets.get(dataset_id)
    spec = spec_of(parent, change)
    with child.staging() as folder:
        made = child.run(_MODULE, spec, folder, subject="The change", report=report, should_stop=should_stop)
        return published(parent, spec, made, folder)


def spec_of(parent: Dataset, change: Change) -> dict[str, Any]:
    """What `change_process` is asked to do; raises StudioError when that is no change."""
    checked = changes.checked(change)
    first_row = _new_rows(parent.family, changes.added_by(checked))
    return {"id": files.new_id(), "parent": parent.id, "change": checked, "first_row": first_row}


def published(parent: Dataset, spec: Change, made: Mapping[str, Any], folder: Path) -> Dataset:
    """The version in a filled folder, once it has its place; it is then the current one."""
    told = files.read_json(files.dataset_folder(parent.id) / rows.RECORD_FILE)
    # Two changes at a time are not to take the same number.
    with files.locked("dataset-versions"):
        if not datasets.versions(parent.family):
            raise StudioError(f"“{parent.name}” was deleted meanwhile.", "Put it back from the trash.")
        return publish(
            folder,
            {
                **datasets.complete(told),
                **made,
                "id": spec["id"],
                "name": parent.name,
                "created_at": time.time(),
                "family": parent.family,
                "version": _given(parent.family, "version"),
                "parent_id": parent.id,
            },
        )


def add_corrected(dataset_id: str, messages: Sequence[Mapping[str, str]]) -> Dataset:
    """Add an answer that was corrected in Compare to the current version's training rows.

    Raises StudioError when its prompt is kept aside to test on: learning it would make the test too easy.
    """
    current = _current(datasets.get(dataset_id).family)
    return apply(current.id, {"kind": "add", "messages": list(messages), "origin": "compare"})


def undo(dataset_id: str) -> Dataset:
    """Let the version before this one be the current one; raises StudioError when there is none."""
    dataset = datasets.get(dataset_id)
    if dataset.parent_id is None:
        raise StudioError("There is nothing to undo: this is how the examples came.", "Nothing to do.")
    return datasets.make_current(dataset.parent_id)


def redo(dataset_id: str) -> Dataset:
    """Let the newest version that was made of this one be the current one; raises StudioError when there is none."""
    dataset = datasets.get(dataset_id)
    made_of_it = [one for one in datasets.versions(dataset.family) if one.parent_id == dataset.id]
    if not made_of_it:
        raise StudioError("There is nothing to redo: this is the last version.", "Nothing to do.")
    return datasets.make_current(made_of_it[0].id)


def go_to(dataset_id: str) -> Dataset:
    """Let any version be the current one of its dataset."""
    return datasets.make_current(dataset_id)


def history(dataset_id: str) -> list[Dataset]:
    """All versions of a dataset, the newest first."""
    return datasets.versions(datasets.get(dataset_id).family)


def _current(family: str) -> Dataset:
    found = datasets.versions(family)
    return next((one for one in found if one.is_current), found[0])


def _new_rows(family: str, count: int) -> int:
    """The first of `count` row numbers that no row of the family has ever had, nor will have."""
    if not count:
        return 0
    with files.locked("dataset-versions"):
        return _given(family, "row", count)


def _given(family: str, what: str, count: int = 1) -> int:
    """The first of the next numbers, which nobody else gets, also when nothing comes of it."""
    path = files.dataset_folder(family) / _GIVEN
    given: dict[str, int] = {}
    with suppress(FileNotFoundError, StudioError):
        given = dict(files.read_json(path))
    if what == "version":
        last = max(given.get(what, 0), *(version.version for version in datasets.versions(family)))
    else:  # every row number since the import has been given out here
        last = given.get(what) or max(rows.opened(one.id).last_row for one in datasets.versions(family))
    files.write_json(path, {**given, what: last + count})
    return last + 1
