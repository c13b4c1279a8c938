"""Of the defects that are known to be in a set, at least 95 of 100 are found, and hardly anything else."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from jobs.datasets.checks import Checker
from jobs.datasets.conversations import Unusable, example_of
from jobs.datasets.records import Record
from tests.jobs.datasets import clean_sets, defects

SEEDS = (0, 1, 2)


def read_again(row: dict[str, Any]) -> dict[str, Any]:
    """The row as reading a file would give it: usable, or left out with its reason."""
    try:
        example_of(Record(row["row"], {"messages": row["messages"]}), {"messages": "messages"})
    except Unusable as unusable:
        return {**row, "split": "left_out", "code": unusable.code, "reason": unusable.reason}
    return row


def found_in(rows: list[dict[str, Any]]) -> dict[str, set[int]]:
    checker = Checker()
    for row in rows:
        checker.see(read_again(row))
    return {problem.code: set(problem.rows) for problem in checker.problems()}


@pytest.mark.parametrize("code", [*defects.ADDED, *defects.CHANGED])
def test_known_defects_are_found_and_little_else(code: str) -> None:
    wanted = hit = false = 0
    missed = []
    for name in defects.FITS.get(code, tuple(clean_sets.SETS)):
        for seed in SEEDS:
            rng = Random(f"{code} {name} {seed}")
            rows, expected = defects.put_in(code, clean_sets.lines(clean_sets.SETS[name](Random(seed))), rng)
            found = found_in(rows).get(code, set())
            wanted, hit, false = (
                wanted + len(expected),
                hit + len(expected & found),
                false + len(found - expected),
            )
            texts = {row["row"]: [m["content"] for m in row["messages"]][-2:] for row in rows}
            missed += [(name, seed, texts[row]) for row in sorted(expected - found)]
    assert hit >= 0.95 * wanted, (f"{hit} of {wanted}", missed[:8])
    assert false <= 0.02 * wanted, false
