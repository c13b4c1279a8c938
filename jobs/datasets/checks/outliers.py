"""Answers much longer or shorter than the others, and answers in another style."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.datasets.checks.majorities import most_common, settled
from jobs.datasets.checks.problems import Problem, counted, problem
from jobs.datasets.checks.shapes import SHAPE

FEWEST_ROWS = 30
_PROSE = 0.8
_FEW = 0.05  # of the rows; more are no outliers
_TIMES_LONGER = 6
_TIMES_SHORTER = 12
_DEVIATIONS = 4.5
# What the majority does on purpose, since nobody does it by habit: most of the answers have it, few have not.
_MANNERS = {
    "emoji": "without an emoji",
    "exclaims": "without an exclamation mark",
    "bullets": "without a list",
    "no_capitals": "not in small letters",
    "all_capitals": "not in capitals",
    "one_sentence": "of more than one sentence",
    "one_line": "of more than one line",
}
# What hardly anybody does: few of the answers have it.
_ODDITIES = {"no_capitals": "in small letters only", "all_capitals": "in capitals only"}


def problems(table: Any) -> Iterator[Problem]:
    """The findings about length and style of answers."""
    if len(table) < FEWEST_ROWS:
        return
    yield from _lengths(table)
    yield from _styles(table)


def _lengths(table: Any) -> Iterator[Problem]:
    import numpy as np

    unusual = settled(_unusual_lengths, table)
    if not unusual.any():
        return
    middle = float(np.median(table["answer_chars"]))
    longer = int((unusual & (table["answer_chars"] > middle)).sum())
    shorter = int(unusual.sum()) - longer
    said = [f"{counted(longer, 'is', 'are')} far longer"] * bool(longer)
    said += [f"{counted(shorter, 'is', 'are')} far shorter"] * bool(shorter)
    yield problem(
        "length_outlier",
        "warning",
        table["row"][unusual],
        f"Half of the answers have up to {middle:,.0f} characters, but {' and '.join(said)}.",
        "Look at these rows: often two texts were joined, or one was cut off. Leave them out if they are not meant.",
    )


def _unusual_lengths(rows: Any) -> Any:
    """By the median and the median deviation of the logarithms, which outliers cannot move."""
    import numpy as np

    none = np.zeros(len(rows), bool)
    if len(rows) < FEWEST_ROWS:
        return none
    lengths = np.log(np.maximum(rows["answer_chars"], 1))
    asked = np.log(np.maximum(rows["prompt_chars"], 1))
    middle = np.median(lengths)
    spread = 1.4826 * np.median(np.abs(lengths - middle))
    away = lengths - middle
    far = np.abs(away) > np.maximum(_DEVIATIONS * spread, 0)
    long = far & (away > np.log(_TIMES_LONGER)) & (rows["answer_chars"] > 200)
    short = far & (away < -np.log(_TIMES_SHORTER))
    # A long text that is to be rewritten has a long answer: as far from the others as its question is.
    long &= (asked - np.median(asked)) < 0.7 * away
    found = long | short
    return found if found.sum() <= _FEW * len(rows) else none


def _styles(table: Any) -> Iterator[Problem]:
    import numpy as np

    marked = np.zeros(len(table), bool)
    said: list[str] = []
    if ((table["shape"] & SHAPE["prose"]) != 0).sum() < _PROSE * len(table):
        return  # labels, numbers, JSON have a format, no style
    finders: list[tuple[Any, str]] = [
        (lambda rows: _other_words(rows, "first_words"), "opening unlike nearly all others"),
        (lambda rows: _other_words(rows, "closing"), "closing unlike nearly all others"),
        *((lambda rows, bit=SHAPE[name]: _lacking(rows, bit), words) for name, words in _MANNERS.items()),
        *((lambda rows, bit=SHAPE[name]: _having(rows, bit), words) for name, words in _ODDITIES.items()),
        (_unfinished, "stopping in the middle of a sentence"),
    ]
    for find, words in finders:
        rest = np.flatnonzero(~marked)
        found = np.zeros(len(table), bool)
        found[rest] = settled(find, table[rest])
        if found.any():
            marked |= found
            said.append(f"{int(found.sum()):,} {words}")
    if said:
        yield problem(
            "style_outlier",
            "warning",
            table["row"][marked],
            f"{counted(int(marked.sum()), 'answer is', 'answers are')} in another style: {', '.join(said)}.",
            "A style is learned best from answers that all keep it. Rewrite these, or leave them out.",
        )


def _few(mask: Any, rows: Any, share: float = _FEW) -> Any:
    import numpy as np

    fits = len(rows) >= FEWEST_ROWS and 0 < mask.sum() <= share * len(rows)
    return mask if fits else np.zeros(len(rows), bool)


def _other_words(rows: Any, column: str) -> Any:
    value, count = most_common(rows[column])
    return _few(rows[column] != value, rows) if count else rows[column] != rows[column]


def _lacking(rows: Any, bit: int) -> Any:
    lacking = (rows["shape"] & bit) == 0
    return _few(lacking, rows)


def _having(rows: Any, bit: int) -> Any:
    return _few((rows["shape"] & bit) != 0, rows)


def _unfinished(rows: Any) -> Any:
    """Long answers without an end, where all others end: only prose counts, a list or a table may just stop."""
    prose = ((rows["shape"] & SHAPE["prose"]) != 0) & ((rows["shape"] & SHAPE["bullets"]) == 0)
    cut = prose & ((rows["shape"] & SHAPE["ends_sentence"]) == 0)
    return _few(cut, rows, 0.02) if prose.sum() >= 0.8 * len(rows) else cut & False
