"""A finding in words: which rows, how grave, what to do, and whether a button can do it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from storage.errors import printable

Severity = Literal["error", "warning", "info"]
MOST_ROWS = 1000  # how many row numbers a stored or returned finding lists; `count` has them all
LARGEST_SHARE = 0.2  # "Fix all" never takes more than this share of the rows away for one problem
_ORDER = {"error": 0, "warning": 1, "info": 2}

# The button of each problem that can be put right by a rule. Where two wishes are possible there is none.
FIXABLE = {
    "blank_row": "Delete",
    "empty_answer": "Delete",
    "empty_prompt": "Delete",
    "one_sided": "Delete",
    "broken_json": "Delete",
    "broken_row": "Delete",
    "broken_character": "Delete",
    "bad_messages": "Delete",
    "unknown_role": "Delete",
    "duplicate_key": "Delete",
    "not_text": "Delete",
    "not_an_object": "Delete",
    "too_large": "Delete",
    "tool_call": "Delete",
    "nul_byte": "Delete",
    "weight": "Delete",
    "role_order": "Repair",
    "mojibake": "Repair",
    "control_characters": "Repair",
    "html_remains": "Repair",
    "system_spacing": "Repair",
    "secret": "Mask",
    "card_number": "Mask",
    "email_address": "Mask",
    "phone_number": "Mask",
    "duplicate": "Keep one",
    "near_duplicate": "Keep one",
    "leak": "Leave out",
    "too_long": "Leave out",
    "nothing_to_learn": "Leave out",
    "format_outlier": "Leave out",
    "style_outlier": "Leave out",
    "length_outlier": "Leave out",
    "mixed_language": "Leave out",
}
# What a careful person would do without looking at every row. The rest waits for its own button.
FIX_ALL = frozenset(
    {
        "blank_row",
        "empty_answer",
        "empty_prompt",
        "one_sided",
        "role_order",
        "mojibake",
        "control_characters",
        "html_remains",
        "system_spacing",
        "secret",
        "card_number",
        "email_address",
        "phone_number",
        "duplicate",
        "leak",
    }
)
# These take usable rows away; the others change text, or remove rows that are left out anyway.
TAKES_ROWS_AWAY = frozenset(code for code, label in FIXABLE.items() if label in ("Keep one", "Leave out"))


@dataclass(frozen=True)
class Problem:
    """One finding; rows of an "error" are left out, those of a "warning" or "info" are kept.

    `fix` says what to do, `fix_label` is the button that does it ("" where only a person can).
    """

    code: str
    severity: Severity
    rows: list[int]
    message: str
    fix: str
    fix_label: str = ""

    def as_json(self, most_rows: int = MOST_ROWS) -> dict[str, Any]:
        """The finding as it is stored and returned by the endpoints."""
        return {
            "code": self.code,
            "severity": self.severity,
            "rows": self.rows[:most_rows],
            "count": len(self.rows),
            "message": printable(self.message),
            "fix": printable(self.fix),
            "fix_label": self.fix_label,
        }


def problem(code: str, severity: Severity, rows: Iterable[int], message: str, fix: str) -> Problem:
    """A finding with its rows in order and the button of its code."""
    listed = sorted({int(row) for row in rows})
    return Problem(code, severity, listed, message, fix, FIXABLE.get(code, "") if listed else "")


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Errors first, then warnings, then the rest; the larger finding first."""
    return sorted(problems, key=lambda found: (_ORDER[found.severity], -len(found.rows), found.code))


def fix_all_codes(problems: Iterable[Mapping[str, Any]], usable_rows: int) -> list[str]:
    """What "Fix all" puts right: `problems` as JSON; nothing that would take a large part of the rows away."""
    codes = []
    for found in problems:
        code, count = found["code"], found.get("count", len(found["rows"]))
        if code not in FIX_ALL or not found.get("fix_label"):
            continue
        if code not in TAKES_ROWS_AWAY or count <= LARGEST_SHARE * usable_rows:
            codes.append(code)
    return codes


def counted(rows: int, one: str, many: str) -> str:
    """“1 row holds”, “1,200 rows hold”."""
    return f"{rows:,} {one if rows == 1 else many}"
