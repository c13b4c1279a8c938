"""What was found in a set of examples → HTML: the answer in a sentence, each problem with its button, Undo. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from storage.datasets import Dataset
from studio import layout, tables, words

Problem = dict[str, Any]

MARKS = {"error": ("wrong", "left out"), "warning": ("tight", "look at it"), "info": ("", "note")}
FEW = 20
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def rows_of(problem: Problem) -> int:
    """How many rows a problem concerns; only the first thousand are listed."""
    return int(problem.get("count", len(problem["rows"])))


def fixable(problems: Sequence[Problem]) -> list[Problem]:
    """Those that one click repairs."""
    return [problem for problem in problems if problem.get("fix_label")]


def verdict(dataset: Dataset, problems: Sequence[Problem]) -> str:
    """The answer to the page's question in a sentence or three, as HTML."""
    left_out, to_fix = dataset.left_out_rows, len(fixable(problems))
    ready = words.many(dataset.rows, "example")
    aside = f"{dataset.held_out_rows:,} kept aside to test on; {dataset.train_rows:,} to learn from."
    if left_out or to_fix:
        all_rows = dataset.rows + left_out
        share = f"{dataset.rows:,} of {words.many(all_rows, 'example')}" if left_out else f"All {ready}"
        return (
            f"{layout.strong('Almost.')} {share} {'is' if dataset.rows == 1 else 'are'} ready. "
            f"{_clicks(to_fix)}{aside}"
        )
    if dataset.train_rows < FEW:
        return f"{layout.strong('A start.')} {ready} ready, which is few: 50 or more work better. {aside}"
    return f"{layout.strong('Yes.')} All {ready} are ready. {aside}"


def _clicks(problems: int) -> str:
    if not problems:
        return ""
    number = _NUMBERS[problems] if problems < len(_NUMBERS) else f"{problems:,}"
    if problems == 1:
        return "One small problem can be fixed with one click. "
    return f"{number.capitalize()} small problems can be fixed with one click each. "


def problems_html(problems: Sequence[Problem], all_codes: Sequence[str]) -> str:
    """Every problem with its severity, rows, and what can be done; `all_codes` are those that Fix all repairs."""
    if not problems:
        return '<h2>Found</h2><p class="quiet">No problems.</p>'
    entries = "".join(_entry(problem) for problem in problems)
    several = [problem for problem in fixable(problems) if problem["code"] in all_codes]
    fix_all = tables.applies("Fix all", "", "small-button strong", do="fix_all") if len(several) > 1 else ""
    # On top: below a long list nobody would see that one click does it.
    on_top = f'<p class="found-all">{fix_all}<span class="quiet">Undo any time</span></p>' if fix_all else ""
    return f'<h2>Found</h2>{on_top}<ul class="found">{entries}</ul>'


def _entry(problem: Problem) -> str:
    look, word = MARKS[problem["severity"]]
    code, message, count = problem["code"], problem["message"], rows_of(problem)
    buttons = ""
    if label := problem.get("fix_label"):
        buttons += tables.applies(label, message, "small-button", do="fix", code=code)
    if count:
        buttons += tables.button("Show rows", message, "word-button", do="show", code=code)
    where = words.rows_named(problem["rows"], most=6, total=count) if problem["rows"] else ""
    where = f"{where[:1].upper()}{where[1:]}. " if where else ""
    return (
        f'<li><div><span class="pill {look}">{word}</span> {html.escape(message)}'
        f'<div class="quiet">{html.escape(where + problem["fix"])}</div></div>'
        f'<div class="does">{buttons}</div></li>'
    )


def changed_html(dataset: Dataset, can_redo: bool) -> str:
    """What the last change did, with Undo and Redo; empty for a set that nothing was changed of."""
    undo = tables.applies("Undo", dataset.change, "small-button", do="undo") if dataset.parent_id else ""
    redo = tables.applies("Redo", "the change that was undone", "small-button", do="redo") if can_redo else ""
    check = ""
    said = f"Version {dataset.version}: {dataset.change}" if dataset.change else "As it was brought."
    if dataset.unchecked_changes:
        said += f" {words.many(dataset.unchecked_changes, 'change')} since all rows were checked."
        check = tables.applies("Check all rows", "", "small-button", do="check")
    if not undo and not redo:
        return ""
    return (
        f'<div class="changed"><p role="status">{html.escape(said)}</p>'
        f'<div class="does">{check}{undo}{redo}</div></div>'
    )
