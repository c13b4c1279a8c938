"""Answers that contradict the format of nearly all others: no JSON, other fields, no mark at the end, another label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.datasets.checks.majorities import most_common, settled
from jobs.datasets.checks.problems import Problem, problem
from jobs.datasets.checks.shapes import SHAPE

FEWEST_ROWS = 20
MAJORITY = 0.9
_WORDS = {
    "json_object": "a JSON object",
    "json_list": "a JSON list",
    "number": "a number",
    "tagged": "in tags (<…> … </…>)",
    "code_block": "a code block",
    "list": "a list",
}
_SHORT = 40  # characters of a label


def problems(table: Any, keys: Mapping[int, str], labels: Mapping[int, str]) -> Iterator[Problem]:
    """The finding, with every reason in its sentence; `keys` and `labels` give texts to the table's numbers."""
    import numpy as np

    if len(table) < FEWEST_ROWS:
        return
    marked = np.zeros(len(table), bool)
    reasons: list[str] = []
    for name, words in _WORDS.items():
        other = settled(lambda rows, bit=SHAPE[name]: _without(rows, bit), table)  # type: ignore[misc]
        if other.any():
            marked |= other
            reasons.append(_said(other, f"not {words}", table))
            break
    for find, words in (
        (lambda rows: _other_fields(rows, keys), "with other fields or kinds of values than the rest"),
        (_without_mark, "without the mark that the last line of the others begins with"),
        (lambda rows: _other_label(rows, labels), "not one of the labels that the others use"),
    ):
        # Among the rest only: what is no JSON has no fields either.
        rest = np.flatnonzero(~marked)
        other = np.zeros(len(table), bool)
        other[rest] = settled(find, table[rest])
        if other.any():
            marked |= other
            reasons.append(_said(other, words, table))
    if reasons:
        yield problem(
            "format_outlier",
            "warning",
            table["row"][marked],
            f"Of {len(table):,} answers {'; '.join(reasons)}.",
            "The model learns that the format is a matter of luck. Correct these answers, or leave the rows out.",
        )


def _said(other: Any, words: str, table: Any) -> str:
    count = int(other.sum())
    rows = ", ".join(f"{row:,}" for row in table["row"][other][:3]) + "…" * (count > 3)
    be, which = ("is", "row") if count == 1 else ("are", "rows")
    return f"{count:,} {be} {words} ({which} {rows})"


def _without(rows: Any, bit: int) -> Any:
    import numpy as np

    has = (rows["shape"] & bit) != 0
    return (
        ~has if len(rows) >= FEWEST_ROWS and MAJORITY * len(rows) <= has.sum() else np.zeros(len(rows), bool)
    )


def _without_mark(rows: Any) -> Any:
    import numpy as np

    value, count = most_common(rows["last_mark"])
    few = len(rows) < FEWEST_ROWS or count < MAJORITY * len(rows)
    return np.zeros(len(rows), bool) if few else rows["last_mark"] != value


def _other_fields(rows: Any, keys: Mapping[int, str]) -> Any:
    """JSON objects that lack a field nearly all have, hold another kind of value in it, or have one alone."""
    import numpy as np

    objects = (rows["shape"] & SHAPE["json_object"]) != 0
    none = np.zeros(len(rows), bool)
    total = int(objects.sum())
    if total < max(FEWEST_ROWS, MAJORITY * len(rows)):
        return none
    kinds, which, counts = np.unique(rows["keys"], return_inverse=True, return_counts=True)
    fields = [_fields(keys.get(int(kind), "")) for kind in kinds]
    names: Counter[str] = Counter()
    types: Counter[tuple[str, str]] = Counter()
    filled: Counter[str] = Counter()
    for known, count in zip(fields, counts.tolist(), strict=True):
        for name, kind in known.items():
            names[name] += count
            if kind != "null":
                types[name, kind] += count
                filled[name] += count
    needed = {name for name, count in names.items() if count >= 0.95 * total}
    fixed = sum(count for known, count in zip(fields, counts.tolist(), strict=True) if known.keys() == needed)
    rare = (
        {name for name, count in names.items() if count <= 0.02 * total} if fixed >= 0.95 * total else set()
    )
    odd = {
        (name, kind)
        for (name, kind), count in types.items()
        if count <= 0.05 * filled[name]
        and any(types[name, k] >= 0.95 * filled[name] for n, k in types if n == name)
    }
    wrong = np.array(
        [
            bool(f) and (bool(needed - f.keys()) or bool(rare & f.keys()) or bool(odd & f.items()))
            for f in fields
        ]
    )
    return wrong[which.ravel()] & objects


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.split("\n") if line)
    return {name: kind for kind, _, name in pairs}


def _other_label(rows: Any, labels: Mapping[int, str]) -> Any:
    """Where nearly all answers are a few labels: spelled differently, or no label at all."""
    import numpy as np

    none = np.zeros(len(rows), bool)
    if len(rows) < 1.5 * FEWEST_ROWS:
        return none
    values, which, counts = np.unique(rows["label"], return_inverse=True, return_counts=True)
    common = (values != 0) & (counts >= max(3, 0.02 * len(rows)))
    if not 0 < common.sum() <= 30 or counts[common].sum() < MAJORITY * len(rows):
        return none
    spelled = {_bare(labels.get(int(value), "")) for value in values[common]}
    wrong = np.array(
        [not is_common and (value == 0 or _bare(labels.get(int(value), "")) in spelled)
         for value, is_common in zip(values, common, strict=True)]
    )  # fmt: skip
    return wrong[which.ravel()]


def _bare(label: str) -> str:
    return "".join(c for c in label.casefold() if c.isalnum())


def label_of(answer: str) -> str:
    """An answer short enough to be a label, as it is; "" for others."""
    return answer.strip() if len(answer) <= _SHORT and "\n" not in answer.strip() else ""
