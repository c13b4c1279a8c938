"""From a source to the folder of a dataset, row by row: example → split → rows.jsonl → checks → problems, summary."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jobs.datasets.checks import Checker, Problem
from jobs.datasets.checks.left_out import LeftOutRows
from jobs.datasets.checks.problems import in_order
from jobs.datasets.child import Report
from jobs.datasets.conversations import Unusable, example_of
from jobs.datasets.records import Item, LeftOut, raw_of
from jobs.datasets.row_view import view_of
from jobs.datasets.rows import RowsWriter
from jobs.datasets.sources import Source
from jobs.datasets.splitting import Splitter
from storage import files
from storage.errors import StudioError

FEWEST_EXAMPLES = 2
ORIGINAL, PROBLEMS, CONTEXT = "original", "problems.json", "context.json"
_SPOOL = "spool.jsonl"
# A row that is left out may hold half a character.
_HALVES = "surrogatepass"
_REPORT_EVERY = 100
_COMPARING = "Comparing the rows with each other"

Row = dict[str, Any]


def build(source: Source, name: str, folder: Path, report: Report, seed: int = 0) -> dict[str, Any]:
    """Fill a folder with the rows of a source; returns what is to be remembered of it.

    However large the source, memory holds a few hundred bytes a row: the rows wait on the disk until it is known
    which of them are kept aside. Raises StudioError when fewer than two examples can be used.
    """
    spool = folder / _SPOOL
    splitter, lost, total = _spooled(source, name, spool, report, seed)
    if len(splitter) < FEWEST_EXAMPLES:
        raise _too_few(len(splitter), name, lost)
    report("Choosing what is kept aside", None, None)
    held_out = splitter.held_out()

    # Rows that look alike are compared word by word, in what has been written by then.
    written = cache(lambda: view_of(folder))

    def fetch(row: int) -> Row | None:
        report(_COMPARING, None, None)
        return written().find(row)

    checker = Checker(fetch=fetch)
    with RowsWriter(folder) as writer:
        for done, row in enumerate(_lines(spool)):
            if done % _REPORT_EVERY == 0:
                report("Checking the rows", done, total)
            if "split" not in row:
                row["split"] = "held_out" if row["row"] in held_out else "train"
            writer.add(row)
            checker.see(row)
    spool.unlink()
    report(_COMPARING, None, None)
    problems = in_order([*checker.problems(), *source.notes, *_split_notes(len(held_out))])
    checker.save(folder)
    files.write_json(folder / PROBLEMS, {problem.code: problem.rows for problem in problems})
    files.write_json(folder / CONTEXT, checker.context().as_json())
    return {
        "format": source.format,
        "columns": source.columns,
        "mapping": source.mapping,
        "detected": source.detected,
        "rows": len(splitter),
        "train_rows": len(splitter) - len(held_out),
        "held_out_rows": len(held_out),
        "left_out_rows": total - len(splitter),
        "problems": [problem.as_json() for problem in problems],
        "summary": checker.summary(),
        "rows_sha256": writer.sha256,
    }


def _spooled(
    source: Source, name: str, spool: Path, report: Report, seed: int
) -> tuple[Splitter, LeftOutRows, int]:
    """Write every row down, usable or not, and take note of both kinds; the last is how many there are."""
    splitter, lost = Splitter(seed), LeftOutRows()
    total = 0
    with spool.open("w", encoding="utf-8", errors=_HALVES) as file:
        for item in source.items:
            if total % _REPORT_EVERY == 0:
                report(f"Reading {name}", source.done_bytes(), source.total_bytes or None)
            total += 1
            row = _row_of(item, source, splitter)
            if "split" in row:
                lost.see(row["row"], row["code"], row["reason"])
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return splitter, lost, total


def _row_of(item: Item, source: Source, splitter: Splitter) -> Row:
    """A usable row still without its split, or one that is left out."""
    if isinstance(item, LeftOut):
        return _left_out(item, [])
    try:
        example = example_of(item, source.mapping)
    except Unusable as unusable:
        raw = "" if unusable.messages else raw_of(item.value)
        return _left_out(LeftOut(item.row, unusable.code, unusable.reason, raw), unusable.messages)
    splitter.see(example)
    return {"row": example.row, "messages": example.messages}


def _left_out(entry: LeftOut, messages: list[dict[str, str]]) -> Row:
    told = {"code": entry.code, "reason": entry.reason}
    raw = {"raw": entry.raw} if entry.raw else {}
    return {"row": entry.row, "messages": messages, "split": "left_out", **told, **raw}


def _lines(spool: Path) -> Iterator[Row]:
    with spool.open(encoding="utf-8", errors=_HALVES) as file:
        for line in file:
            yield json.loads(line)


def _too_few(usable: int, name: str, lost: LeftOutRows) -> StudioError:
    problems = list(lost.problems())
    found = " ".join(problem.message for problem in problems)
    counted = "Only one example" if usable else "No example"
    return StudioError(
        f"{counted} in {name} can be used; at least {FEWEST_EXAMPLES} are needed. {found}".rstrip(),
        problems[0].fix if problems else "Add more examples.",
    )


def _split_notes(held_out: int) -> list[Problem]:
    if held_out:
        return []
    message = "Nothing could be held out to test on: all rows ask the same."
    return [Problem("no_held_out", "warning", [], message, "Add examples with other prompts.")]
