"""What kinds of rows a set has, and whether one of them is hardly there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.datasets.checks.problems import Problem, problem
from jobs.datasets.checks.texts import words

FEWEST_ROWS = 40
MOST_KINDS = 12
_COVERED = 0.9  # of the rows belong to a kind, else the kinds are no kinds
_NO_ORDER = words(
    "what how why who whom whose when where which is are am was were can could may might shall should "
    "will would do does did has have had i we you he she it they my our your his her their the a an "
    "this that these those there if in on at for to please hello hi hey dear good thanks thank no yes "
    "not wie was warum wer wann wo wohin welche welcher welches ist sind kann können darf soll ich wir "
    "du sie er es mein meine der die das ein eine bitte hallo guten qui que quoi où quand comment "
    "pourquoi est je nous vous le la les un une mon ma"
)
_TIMES = 10  # the largest is so many times the smallest


def kinds_of(table: Any) -> tuple[str, Any, Any]:
    """What tells the kinds apart ("system", "label" or "task"; "" where nothing does), their keys and sizes."""
    import numpy as np

    for column, fewest in (("label", 2), ("system_alike", 1), ("task", 3)):
        values, counts = np.unique(table[column], return_counts=True)
        real = (values != 0) & (counts >= fewest)
        if 2 <= real.sum() <= MOST_KINDS and counts[real].sum() >= _COVERED * len(table):
            return column, values[real], counts[real]
    return "", np.empty(0, "u8"), np.empty(0, "i8")


def problems(table: Any, names: Mapping[int, str]) -> Iterator[Problem]:
    """The finding about kinds that are ten times rarer than the largest."""
    if len(table) < FEWEST_ROWS:
        return
    column, values, counts = kinds_of(table)
    if not column or counts.max() < _TIMES * counts.min():
        return
    import numpy as np

    rare = counts * _TIMES <= counts.max()
    rows = table["row"][np.isin(table[column], values[rare])]
    largest = shown(names.get(int(values[counts.argmax()]), ""))
    smallest = shown(names.get(int(values[counts.argmin()]), ""))
    what = {"label": "answers", "system_alike": "system prompts", "task": "kinds of prompts"}[column]
    yield problem(
        "unbalanced_kinds",
        "info",
        rows,
        f"The {what} are unbalanced: “{largest}” has {counts.max():,} rows, “{smallest}” only {counts.min():,}.",
        "The model learns the rare ones badly. Add rows of them if they matter.",
    )


def shown(text: str, most: int = 60) -> str:
    """A text short enough for a sentence."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def task_of(prompt: str) -> str:
    """What opens a prompt made from a template: up to a colon in its first line, else an order's first two words.

    "" for questions and statements: how they begin says nothing about the task.
    """
    first = prompt.lstrip()[:200].partition("\n")[0]
    before, colon, _ = first.partition(":")
    said = before.casefold().split()
    if colon and 0 < len(said) <= 12:
        return " ".join(said)
    return "" if len(said) < 3 or said[0] in _NO_ORDER or not said[0].isalpha() else " ".join(said[:2])
