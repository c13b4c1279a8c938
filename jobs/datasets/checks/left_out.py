"""Rows that cannot be used: one finding for each kind, with what is wrong in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.datasets.checks.problems import Problem, Severity, counted, problem

_FIXES = {
    "broken_json": "Correct these lines in the table, or delete them; the other rows were taken.",
    "broken_row": "Put cells with commas or line breaks in double quotes, or correct the rows in the table.",
    "empty_answer": "Write the answers you want in the table, or delete these rows.",
    "empty_prompt": "Write what is asked in the table, or delete these rows.",
    "one_sided": "Write the side that is missing, or delete these rows.",
    "role_order": "“Repair” joins what one side says twice in a row and drops what has no answer.",
    "blank_row": "Nothing to do.",
    "unknown_role": "Use the roles system, user and assistant.",
}
_MOST_REASONS = 10_000
_MANY = "it cannot be read"


class LeftOutRows:
    """The rows that are left out, by kind."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}  # the row → the place of its code and reason below
        self._places: dict[tuple[str, str], int] = {}

    def see(self, row: int, code: str, reason: str) -> None:
        """Note one row; `reason` is the end of a sentence."""
        if len(self._places) >= _MOST_REASONS and (code, reason) not in self._places:
            reason = _MANY
        self._rows[row] = self._places.setdefault((code, reason), len(self._places))

    def forget(self, row: int) -> None:
        """Drop one row."""
        self._rows.pop(row, None)

    def __len__(self) -> int:
        return len(self._rows)

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "kinds": [list(kind) for kind in self._places],
            "rows": [list(pair) for pair in self._rows.items()],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LeftOutRows:
        """As it was stored."""
        kept = cls()
        kept._places = {(code, reason): place for place, (code, reason) in enumerate(value["kinds"])}
        kept._rows = dict(value["rows"])
        return kept

    def problems(self) -> Iterator[Problem]:
        """One finding for each kind, with the first row's reason where they differ."""
        kinds = list(self._places)
        by_code: dict[str, list[int]] = {}
        for row, place in self._rows.items():
            by_code.setdefault(kinds[place][0], []).append(row)
        for code, rows in by_code.items():
            number = min(rows)
            reason = kinds[self._rows[number]][1].rstrip(".")
            count = counted(len(rows), "row", "rows")
            message = f"{count} left out: {reason}."
            if len({self._rows[row] for row in rows}) > 1:
                message = f"{count} left out. Row {number:,}: {reason}."
            severity: Severity = "info" if code == "blank_row" else "error"
            fix = _FIXES.get(code, "Correct these rows in the table, or delete them.")
            yield problem(code, severity, rows, message, fix)


def why_left_out(row: Mapping[str, Any]) -> tuple[str, str]:
    """The code and the reason of a line that is left out; a side that never speaks is a kind of its own."""
    code, reason = row.get("code", "bad_messages"), row.get("reason", "they cannot be used")
    sides = {message.get("role") for message in row.get("messages", ())}
    if code == "role_order" and sides and not {"user", "assistant"} <= sides:
        return "one_sided", "nobody answers" if "user" in sides else "nobody asks"
    return code, reason
