"""The checks of a new version: only what has changed is looked at again, and what it means for all the rest.

What the checks remember of each row (its facts) lies in the base's folder. Of a large set even comparing the facts
of all rows takes seconds: there a small change is checked by itself, and the version says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.datasets import fixing, rows
from jobs.datasets.checks import FIXABLE, Checker, Problem
from jobs.datasets.checks.context import FixContext
from jobs.datasets.checks.facts import FOUND
from jobs.datasets.checks.problems import counted, in_order, problem
from jobs.datasets.child import Report
from jobs.datasets.row_files import ROWS, read_lines
from jobs.datasets.row_view import RowView
from storage import files
from storage.errors import StudioError

CONTEXT_FILE = "context.json"
FACTS_FILES = ("facts.npy", "facts.json")  # the second says that both are there
# Up to so many rows, all are compared again after every change: that takes about a second of one core.
ALWAYS_ROWS = 20_000
# A change of more rows than this is worth the time that comparing a very large set takes.
FEW_ROWS = 1000
# What reading the source has said of it as a whole stays true.
_READING = ("no_header", "column_guess", "unused_columns", "reading", "chosen_only")
_REPORT_EVERY = 100

Row = dict[str, Any]


@dataclass(frozen=True)
class Rechecked:
    """A version that is being made: its parent, its rows, the base that it was made from, what is different there.

    `since_base` are all changes to the base in order, `changed` the numbers of those rows that differ from the
    parent.
    """

    parent: str
    view: RowView
    base: Path
    since_base: Callable[[], Iterator[Row]]
    changed: Collection[int]

    def recheck(self, kind: str, folder: Path, report: Report) -> dict[str, Any]:
        """Write what was found beside the rows in `folder`; returns problems, summary and `unchecked_changes`."""
        told = files.read_json(files.dataset_folder(self.parent) / rows.RECORD_FILE)
        unchecked = int(told.get("unchecked_changes", 0))
        if kind == "check" and not unchecked:
            raise StudioError("All rows of this version have been checked.", "Nothing to do.")
        if kind != "check" and len(self.view) > ALWAYS_ROWS and len(self.changed) <= FEW_ROWS:
            found, summary = self._of_changed(told), told.get("summary", {})
            context = files.dataset_folder(self.parent) / CONTEXT_FILE
            if context.is_file():
                shutil.copyfile(context, folder / CONTEXT_FILE)
            unchecked += 1
        else:
            checker = self._checker(folder, report)
            report("Comparing the rows with each other", None, None)
            found, summary = in_order([*checker.problems(), *self._notes(told)]), checker.summary()
            files.write_json(folder / CONTEXT_FILE, checker.context().as_json())
            unchecked = 0
        files.write_json(folder / rows.PROBLEMS_FILE, {one.code: one.rows for one in found})
        return {
            "problems": [one.as_json() for one in found],
            "summary": summary,
            "unchecked_changes": unchecked,
        }

    def _checker(self, folder: Path, report: Report) -> Checker:
        """What is known of all rows: as it was known of the base, with the changes."""
        try:
            checker = Checker.load(self.base, self.view.find)
        except (OSError, ValueError, KeyError):
            _write_facts(self.base, report)
            checker = Checker.load(self.base, self.view.find)
        for row in self.since_base():
            if row.get("gone"):
                checker.forget(row["row"])
            else:
                checker.see(row)
        if self.view.base.path.parent == folder:  # it is the base of what will be made of it
            checker.save(folder)
        return checker

    def _of_changed(self, told: Mapping[str, Any]) -> list[Problem]:
        """The parent's findings, with what the changed rows show by themselves; where all rows count, they do not."""
        checker, lost = Checker(), set()
        for row in self.view.each(self.view.with_numbers(self.changed)):
            checker.see(row)
            lost |= {row["code"]} if row["split"] == "left_out" else set()
        context = self._context()
        fresh = {one.code: one for one in checker.problems() if one.code in lost}
        for one in checker.problems():
            if one.code in FOUND:
                meant = [row for row in one.rows if self._is_wrong(one.code, row, context)]
                if meant:
                    message = _recounted(one.message, len(one.rows), len(meant))
                    fresh[one.code] = problem(one.code, one.severity, meant, message, one.fix)
        found, changed = [], set(self.changed)
        for old in told["problems"]:
            code, before = old["code"], rows.rows_of_problem(self.parent, old["code"])
            now = [*(set(before) - changed), *(fresh.pop(code).rows if code in fresh else ())]
            if now or not before:
                message = _recounted(old["message"], len(before), len(now))
                found.append(problem(code, old["severity"], now, message, old["fix"]))
        return in_order([*found, *fresh.values()])

    def _context(self) -> FixContext:
        path = files.dataset_folder(self.parent) / CONTEXT_FILE
        return FixContext.from_json(files.read_json(path) if path.is_file() else {})

    def _is_wrong(self, code: str, number: int, context: FixContext) -> bool:
        """Whether what a row holds counts in this set: an address that all answers name is the user's own."""
        row = self.view.find(number)
        return row is not None and (code not in FIXABLE or fixing.fix(code, row, context) != row)

    def _notes(self, told: Mapping[str, Any]) -> Iterator[Problem]:
        """What was said of the source as a whole, and whether anything is left to test on."""
        before = {old["code"]: old for old in told["problems"]}
        for code in _READING:
            if code in before:
                old = before[code]
                yield Problem(code, old["severity"], [], old["message"], old["fix"])
        if not len(self.view.of_kind("held_out")):
            message = "No row is kept aside to test on any more."
            fix = "Undo the change that took the last of them away."
            old = before.get("no_held_out", {"message": message, "fix": fix})
            yield Problem("no_held_out", "warning", [], old["message"], old["fix"])


def _write_facts(base: Path, report: Report) -> None:
    """Look at all rows of a base from before facts were kept, or of another version of the studio."""
    checker = Checker(fetch=lambda number: None)
    for done, row in enumerate(read_lines(base / f"{ROWS}.jsonl")):
        if done % _REPORT_EVERY == 0:
            report("Checking the rows", done, None)
        checker.see(row)
    made = files.temporary_folder()
    try:
        checker.save(made)
        (base / FACTS_FILES[1]).unlink(missing_ok=True)
        for name in FACTS_FILES:
            os.replace(made / name, base / name)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _recounted(message: str, before: int, now: int) -> str:
    """A finding's sentence about another number of rows."""
    if not before or before == now or not message.startswith(f"{before:,} row"):
        return message
    one, many = ("row", "rows") if "left out" in message else ("row holds", "rows hold")
    was, is_now = counted(before, one, many), counted(now, one, many)
    return (
        message.replace(was, is_now, 1) if was in message else message.replace(f"{before:,} ", f"{now:,} ", 1)
    )
