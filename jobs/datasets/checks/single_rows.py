"""Findings that a row has by itself: personal data, secrets, damaged text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.datasets.checks.facts import BIT
from jobs.datasets.checks.mentions import CODES, Mentions
from jobs.datasets.checks.problems import Problem, Severity, counted, problem

_REPEATS = "A model can repeat what it learns."
_SENTENCES: dict[str, tuple[Severity, str, str]] = {
    "secret": ("warning", "a key, token or password", f"{_REPEATS} “Mask” writes “[secret]” instead."),
    "card_number": ("warning", "a card number", f"{_REPEATS} “Mask” writes “[card]” instead."),
    "email_address": ("info", "an e-mail address", f"{_REPEATS} “Mask” writes “[email]” instead."),
    "phone_number": ("info", "a phone number", f"{_REPEATS} “Mask” writes “[phone]” instead."),
    "mojibake": (
        "warning",
        "letters that were read in a wrong encoding, such as “Ã¼” for “ü”",
        "“Repair” writes the letters that were meant.",
    ),
    "lost_character": (
        "warning",
        "the sign “�”: a letter was lost there",
        "Nobody can tell which one. Write these words anew in the table, or read the file in another encoding.",
    ),
    "control_characters": (
        "warning",
        "control characters or signs that nobody sees",
        "“Repair” takes them out.",
    ),
    "html_remains": (
        "warning",
        "remains of a web page, such as “<br>” or “&amp;”",
        "“Repair” writes the text as a browser would show it.",
    ),
}
_MARKUP_IS_MEANT = 0.5  # of the answers: then that is what the model shall write


def problems(table: Any, mentions: Mentions) -> Iterator[Problem]:
    """One finding for each kind."""
    own = mentions.own(len(table))
    for code, (severity, what, fix) in _SENTENCES.items():
        named = (table["found"] & BIT[code]) != 0
        rows = mentions.rows_of(code, own) if code in CODES else table["row"][named]
        if code == "html_remains" and named.sum() > _MARKUP_IS_MEANT * len(table) > 10 * _MARKUP_IS_MEANT:
            continue
        if len(rows):
            yield problem(
                code, severity, rows, f"{counted(len(rows), 'row holds', 'rows hold')} {what}.", fix
            )
