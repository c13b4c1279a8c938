"""All checks of a dataset in one pass over its rows, with memory bounded by a few hundred bytes a row."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from jobs.datasets.checks import (
    copies,
    formats,
    kinds,
    languages,
    near,
    outliers,
    single_rows,
    summaries,
    systems,
)
from jobs.datasets.checks.context import FixContext
from jobs.datasets.checks.facts import BIT, Names, facts_of
from jobs.datasets.checks.left_out import LeftOutRows, why_left_out
from jobs.datasets.checks.mentions import CODES, Mentions
from jobs.datasets.checks.problems import Problem, counted, in_order, problem
from jobs.datasets.checks.table import Table

FEW_EXAMPLES = 20
_MOST_KEPT_BYTES = 64 * 2**20
_MENTIONS = {code: BIT[code] for code in CODES}


class Checker:
    """Sees every row of a dataset once, in any order, then says what is worth knowing about it.

    `left_out` are rows that no line of rows.jsonl stands for. `fetch` gives a row back by its number: near
    copies are compared word by word with it; without it the checker keeps up to 64 MB of rows itself.
    """

    def __init__(
        self, left_out: Iterable[Any] = (), fetch: Callable[[int], dict[str, Any] | None] | None = None
    ) -> None:
        self._fetch = fetch
        self._kept: dict[int, bytes] = {}
        self._kept_bytes = 0
        self._left_out = LeftOutRows()
        self._table = Table()
        self._names = Names()
        self._mentions = Mentions()
        self._resumed = False
        for entry in left_out:
            self._left_out.see(entry.row, entry.code, entry.reason)

    def see(self, row: dict[str, Any]) -> None:
        """Take in one line of rows.jsonl, usable or left out."""
        if self._resumed:
            self.forget(row["row"])
        if row["split"] == "left_out":
            self._left_out.see(row["row"], *why_left_out(row))
            return
        facts = facts_of(row, self._names)
        self._table.add(facts)
        for code, bit in _MENTIONS.items():
            if facts[2] & bit:
                self._mentions.see(row["row"], code, row["messages"])
        if self._fetch is None and self._kept_bytes < _MOST_KEPT_BYTES:
            packed = zlib.compress(json.dumps(row["messages"]).encode(), 1)
            self._kept[row["row"]] = packed
            self._kept_bytes += len(packed) + 100

    def forget(self, row: int) -> None:
        """Drop a row that is no longer there."""
        self._table.forget(row)
        self._left_out.forget(row)
        self._mentions.forget(row)
        self._kept.pop(row, None)

    def problems(self) -> list[Problem]:
        """All findings: errors first, then warnings, then what is only worth knowing."""
        return in_order([*self._left_out.problems(), *self._about_usable_rows()])

    def context(self) -> FixContext:
        """What fixes need to know of the whole; to be stored beside the problems."""
        table = self._table.all()
        meant = self._meant(table)
        return FixContext(
            {self._names[variant]: self._names[usual] for variant, usual in meant.items()},
            self._mentions.own(len(table)),
        )

    def summary(self) -> dict[str, Any]:
        """What the set consists of: kinds, languages, openings, lengths, turns, system prompts."""
        return summaries.summary(self._table.all(), self._names, len(self._left_out))

    def save(self, folder: Path) -> None:
        """Write what is known of the rows to facts.npy and facts.json in a folder."""
        self._table.save(folder / "facts.npy")
        names = {str(number): text for number, text in self._names.items()}
        state = {"names": names, "left_out": self._left_out.as_json(), "mentions": self._mentions.as_json()}
        (folder / "facts.json").write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, fetch: Callable[[int], dict[str, Any] | None]) -> Checker:
        """The checker as it was saved; then only changed rows need to be seen, and gone ones forgotten.

        Raises OSError or ValueError where nothing was saved or another version of the studio saved it.
        """
        checker = cls(fetch=fetch)
        checker._table.load(folder / "facts.npy")
        state = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        checker._names = Names({int(number): text for number, text in state["names"].items()})
        checker._left_out = LeftOutRows.from_json(state["left_out"])
        checker._mentions = Mentions.from_json(state["mentions"])
        checker._resumed = True
        return checker

    def _about_usable_rows(self) -> Iterator[Problem]:
        table = self._table.all()
        yield from single_rows.problems(table, self._mentions)
        alike = _without(table, copies.leaks(table) | copies.copies(table))
        nearly = near.near_copies(alike, self._fetch or self._own_copy)
        yield from copies.problems(table, {int(row) for row in alike["row"][nearly]})
        yield from near.problems(alike, nearly)
        yield from systems.problems(table, self._meant(table))
        once = _without(alike, nearly)
        del alike
        yield from languages.problems(once)
        yield from formats.problems(once, self._names, self._names)
        yield from outliers.problems(once)
        yield from kinds.problems(once, self._names)
        if len(table) < FEW_EXAMPLES:
            yield problem(
                "few_examples",
                "warning",
                [],
                f"{counted(len(table), 'example is', 'examples are')} few.",
                "50 or more usually work better, and make the test on held-out rows mean something.",
            )

    def _meant(self, table: Any) -> dict[int, int]:
        meant = systems.wanted(table)
        return {a: b for a, b in meant.items() if a in self._names and b in self._names}

    def _own_copy(self, row: int) -> dict[str, Any] | None:
        packed = self._kept.get(row)
        return {"row": row, "messages": json.loads(zlib.decompress(packed))} if packed else None


def _without(table: Any, mask: Any) -> Any:
    """The rows that are not marked; of a million rows a copy is only made where it is needed."""
    return table[~mask] if mask.any() else table
