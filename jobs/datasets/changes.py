"""What a change makes of a version's rows: which are new, different or gone, and a sentence about it.

A held-out row never changes sides, is never edited by hand, and no other row becomes one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jobs.datasets import fixing, rows
from jobs.datasets.checks.context import FixContext
from jobs.datasets.checks.texts import normal
from jobs.datasets.child import Report
from jobs.datasets.conversations import Unusable, example_of
from jobs.datasets.records import Record
from storage import files
from storage.errors import StudioError

CONTEXT_FILE = "context.json"
# A corrected answer is looked for among so many of the last rows.
COMPARED_ROWS = 50_000
_REPORT_EVERY = 100

Row = dict[str, Any]
Change = dict[str, Any]


class ChangedRows:
    """New rows by their numbers, None for those that go; they wait on the disk, as there can be many."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[int, int] = {}

    def __enter__(self) -> ChangedRows:
        self._file = open(self._path, "w+b")  # closed in __exit__
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._places)

    def put(self, number: int, row: Row | None) -> None:
        """Take note of one row; a number that comes again replaces what was said of it."""
        self._places[number] = -1
        if row is not None:
            self._places[number] = self._file.seek(0, 2)
            self._file.write(json.dumps(row).encode() + b"\n")

    def forget(self, number: int) -> None:
        """Leave a row as it was."""
        self._places.pop(number, None)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the changed rows, in order."""
        return sorted(self._places)

    @property
    def gone(self) -> int:
        """How many rows go."""
        return sum(place < 0 for place in self._places.values())

    def __iter__(self) -> Iterator[Row]:
        """The changes in the order of row numbers: rows, and {"row", "gone"}."""
        for number in self.numbers:
            place = self._places[number]
            if place < 0:
                yield {"row": number, "gone": True}
            else:
                self._file.seek(place)
                yield json.loads(self._file.readline())


# -- on the page's side: is this a change at all? ------------------------------------------------------------


def checked(change: Any) -> Change:
    """The change in its one form.

    Raises StudioError when it is none.
    """
    kind = change.get("kind") if isinstance(change, dict) else None
    if kind == "fix":
        return {"kind": kind, "codes": [_code(code) for code in _list(change, "codes")]}
    if kind == "fix_rows":
        return {"kind": kind, "code": _code(change.get("code")), "rows": _numbers(change)}
    if kind == "edit":
        return {"kind": kind, "row": _number(change.get("row")), "messages": _list(change, "messages")}
    if kind == "add":
        return {
            "kind": kind,
            "messages": _list(change, "messages"),
            "origin": str(change.get("origin") or "grid"),
        }
    if kind == "add_many":
        return {"kind": kind, "rows": _list(change, "rows")}
    if kind == "delete":
        return {"kind": kind, "rows": _numbers(change)}
    if kind == "check":
        return {"kind": kind}
    raise StudioError(
        f"{kind!r:.60} is no kind of change.", "Use fix, fix_rows, edit, add, add_many, delete or check."
    )


def added_by(change: Change) -> int:
    """How many new row numbers it needs."""
    return {"add": 1, "add_many": len(change.get("rows", ()))}.get(change["kind"], 0)


def _list(change: Mapping[str, Any], name: str) -> list[Any]:
    value = change.get(name)
    if not isinstance(value, list) or not value:
        raise StudioError(f"The change names no {name}.", f"Give a list of {name} with at least one entry.")
    return value


def _code(value: Any) -> str:
    if not isinstance(value, str) or value not in fixing.FIXABLE:
        raise StudioError(
            f"There is no rule that fixes {value!r:.60}.", "Edit or delete these rows in the table."
        )
    return value


def _numbers(change: Mapping[str, Any]) -> list[int]:
    return sorted({_number(value) for value in _list(change, "rows")})


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 1:
        raise StudioError(f"{value!r:.60} is no row number.", "Use the numbers that the table shows.")
    return int(value)


# -- in the process of its own: what it does to the rows ------------------------------------------------------


def collect(change: Change, parent: str, first_row: int, changed: ChangedRows, report: Report) -> str:
    """Put what the change makes of the parent's rows into `changed`; returns the sentence about it.

    `first_row` is the number of the first new row. Raises StudioError when it cannot be, or changes nothing.
    """
    if change["kind"] == "edit":
        return _edit(parent, change["row"], change["messages"], changed)
    if change["kind"] == "add":
        return _add(parent, [change["messages"]], first_row, changed, change["origin"])
    if change["kind"] == "add_many":
        return _add(parent, change["rows"], first_row, changed, "grid")
    if change["kind"] == "delete":
        return _delete(parent, change["rows"], changed)
    if change["kind"] == "fix":
        listed = {code: rows.rows_of_problem(parent, code) for code in change["codes"]}
        return _fix(parent, listed, changed, report)
    if change["kind"] == "fix_rows":
        named = set(rows.rows_of_problem(parent, change["code"]))
        listed = {change["code"]: [row for row in change["rows"] if row in named]}
        return _fix(parent, listed, changed, report)
    return "All rows were checked again."


def _edit(parent: str, number: int, messages: Any, changed: ChangedRows) -> str:
    old = rows.get_row(parent, number)
    if old["split"] == "held_out":
        raise StudioError(
            f"Row {number:,} is kept aside to test on, so it stays as it is: every version is tested on the same rows.",
            "Edit another row, or delete this one if it should not be tested on.",
        )
    new = _row(number, usable(messages, f"Row {number:,}"), "train", old)
    if new["messages"] == old["messages"] and old["split"] == "train":
        raise StudioError(f"Row {number:,} says exactly this already.", "Change something in it first.")
    changed.put(number, new)
    return f"Row {number:,} was {'edited' if old['split'] == 'train' else 'repaired'}."


def _add(parent: str, added: list[Any], first_row: int, changed: ChangedRows, origin: str) -> str:
    for number, messages in enumerate(added, start=first_row):
        name = "The new row" if len(added) == 1 else f"New row {number - first_row + 1:,}"
        conversation = usable(messages, name)
        if origin == "compare":
            _check_corrected(parent, conversation)
        changed.put(number, {**_row(number, conversation, "train", {}), "added": True})
    if origin == "compare":
        return f"Row {first_row:,} was added: an answer corrected in Compare."
    if len(added) == 1:
        return f"Row {first_row:,} was added."
    return f"{len(added):,} rows were added."


def _check_corrected(parent: str, messages: list[dict[str, str]]) -> None:
    """Raises StudioError when the test asks this too, or the rows say it already."""
    asked = _asked(messages)
    view = rows.opened(parent)
    for row in view.each(view.of_kind("held_out")):
        if _asked(row["messages"]) == asked:
            raise StudioError(
                f"This prompt is kept aside to test on (row {row['row']:,}). Learning its answer would make the test "
                "too easy, so it was not added.",
                f"Correct an answer to another prompt, or delete row {row['row']:,} first: then it is not tested on.",
            )
    for row in view.each(view.everything[-COMPARED_ROWS:]):
        if row["messages"] == messages:
            raise StudioError(
                f"Row {row['row']:,} says exactly this already.", "Nothing to do: it is learned from."
            )


def _asked(messages: list[dict[str, str]]) -> str:
    """What is asked first, whatever its case, spacing and punctuation, and whatever the system prompt."""
    return next((normal(message["content"]) for message in messages if message["role"] == "user"), "")


def _delete(parent: str, numbers: list[int], changed: ChangedRows) -> str:
    view = rows.opened(parent)
    known = set(view.numbers[view.with_numbers(numbers)].tolist())
    for number in numbers:
        if number not in known:
            raise StudioError(f"There is no row {number:,} in this version.", "Choose rows from the table.")
        changed.put(number, None)
    return f"Row {numbers[0]:,} was deleted." if len(numbers) == 1 else f"{len(numbers):,} rows were deleted."


def _fix(parent: str, listed: dict[str, list[int]], changed: ChangedRows, report: Report) -> str:
    if not any(listed.values()):
        raise StudioError("There is nothing left to fix.", "Nothing to do.")
    path = files.dataset_folder(parent) / CONTEXT_FILE
    context = FixContext.from_json(files.read_json(path) if path.is_file() else {})
    total = len(rows.opened(parent))
    seen: Row = {"row": 0}

    def every() -> Iterator[Row]:
        nonlocal seen
        for done, seen in enumerate(rows.iterate(parent, rows.ANY)):
            if done % _REPORT_EVERY == 0:
                report("Fixing the rows", done, total)
            yield seen

    for number, new in fixing.changes(list(listed), every(), listed, context):
        old = seen if seen["row"] == number else rows.get_row(parent, number)
        kept = None if new is None else settled(old, new)
        if kept == old:
            changed.forget(number)
        else:
            changed.put(number, kept)
    if not len(changed):
        raise StudioError("There is nothing left to fix.", "Nothing to do.")
    gone = changed.gone
    fixed = len(changed) - gone
    done = [f"{_counted(fixed)} put right"] * bool(fixed) + [f"{_counted(gone)} taken out"] * bool(gone)
    named = ", ".join(code.replace("_", " ") for code in listed)
    return f"Fixed {named}: {' and '.join(done)}."


def settled(old: Row, new: Row) -> Row:
    """A row that a rule has changed, on the side where it belongs.

    One that was left out and can be used now is learned from. One that nothing can be learned from any more is
    left out, but a held-out one stays as it was: what is tested on does not go because of a rule.
    """
    try:
        messages = usable(new["messages"], "")
    except StudioError:
        if old["split"] == "held_out":
            return old
        code, reason = _fault(new)
        return {**_row(old["row"], new["messages"], "left_out", old), "code": code, "reason": reason}
    return _row(old["row"], messages, "train" if old["split"] == "left_out" else old["split"], old)


def usable(messages: Any, name: str) -> list[dict[str, str]]:
    """The messages as rows hold them.

    Raises StudioError when nothing can be learned from them.
    """
    try:
        return _conversation(messages)
    except Unusable as unusable:
        raise StudioError(
            f"{name} cannot be learned from: {unusable.reason}.",
            "Let user and assistant take turns, with an answer at the end and text in each.",
        ) from unusable


def _conversation(messages: Any) -> list[dict[str, str]]:
    return example_of(Record(1, {"messages": messages}), {"messages": "messages"}).messages


def _fault(row: Row) -> tuple[str, str]:
    try:
        _conversation(row["messages"])
    except Unusable as unusable:
        return unusable.code, unusable.reason
    raise AssertionError("the row is usable")


def _row(number: int, messages: list[dict[str, str]], split: str, old: Row) -> Row:
    row = {"row": number, "messages": messages, "split": split}
    return {**row, "added": True} if old.get("added") else row


def _counted(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"
