"""What is worth knowing about a set of examples: rows left out and why, duplicates, too few."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jobs.datasets.conversations import Example
from jobs.datasets.records import LeftOut

FEW_EXAMPLES = 20
_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{2,63}\b")
_FIXES = {
    "broken_json": "Correct these lines in the file and add it again; the other rows were taken.",
    "broken_row": "Put cells with commas or line breaks in double quotes, and double the quotes inside.",
    "empty_answer": "Write the answers you want, or delete these rows.",
    "empty_prompt": "Write what is asked, or delete these rows.",
    "role_order": "Let user and assistant take turns, system only at the start, an answer at the end.",
    "blank_row": "Nothing to do.",
}


@dataclass(frozen=True)
class Problem:
    """One finding; rows of an "error" are left out, those of a "warning" or "info" are kept."""

    code: str
    severity: Literal["error", "warning", "info"]
    rows: list[int]
    message: str
    fix: str

    def as_json(self) -> dict[str, Any]:
        """The finding as it is stored and returned by the endpoints."""
        return asdict(self)


def rows_left_out(left_out: Iterable[LeftOut]) -> list[Problem]:
    """One problem for each kind of row that cannot be used, with the first row's reason where they differ."""
    by_code: dict[str, list[LeftOut]] = defaultdict(list)
    for entry in left_out:
        by_code[entry.code].append(entry)
    return [_left_out(code, entries) for code, entries in by_code.items()]


def _left_out(code: str, entries: Sequence[LeftOut]) -> Problem:
    rows = sorted(entry.row for entry in entries)
    first = min(entries, key=lambda entry: entry.row)
    message = f"{_count(rows, 'row', 'rows')} left out: {first.reason}."
    if len({entry.reason for entry in entries}) > 1:
        message = f"{_count(rows, 'row', 'rows')} left out. Row {first.row}: {first.reason}."
    fix = _FIXES.get(code, "Correct these rows and add the file again.")
    return Problem(code, "info" if code == "blank_row" else "error", rows, message, fix)


def check(examples: Sequence[Example]) -> list[Problem]:
    """Findings about usable examples; none of them is left out for it."""
    problems = [*_duplicates(examples)]
    personal = [example.row for example in examples if _names_an_address(example)]
    if personal:
        problems.append(
            Problem(
                "email_address",
                "info",
                personal,
                f"{_count(personal, 'row holds', 'rows hold')} an e-mail address.",
                "A model can repeat what it learns: replace addresses that are personal.",
            )
        )
    if len(examples) < FEW_EXAMPLES:
        problems.append(
            Problem(
                "few_examples",
                "warning",
                [],
                f"{len(examples)} examples are few.",
                "50 or more usually work better, and make the test on held-out rows mean something.",
            )
        )
    return problems


def prompt_key(example: Example) -> Hashable:
    """The same for examples that open with the same prompt, whatever the case and spacing.

    Conversations that grow out of one another share their opening, so they share this key.
    """
    asked = (n for n, message in enumerate(example.messages, start=1) if message["role"] == "user")
    opening = next(asked, len(example.messages))
    return tuple(" ".join(message["content"].casefold().split()) for message in example.messages[:opening])


def _duplicates(examples: Sequence[Example]) -> Iterable[Problem]:
    copies: set[int] = set()
    for same in _groups(examples, lambda example: tuple(m["role"] + m["content"] for m in example.messages)):
        copies.update(example.row for example in same[1:])
    if copies:
        rows = sorted(copies)
        yield Problem(
            "duplicate",
            "warning",
            rows,
            f"{_count(rows, 'row repeats', 'rows repeat')} an earlier one exactly.",
            "They are kept and weigh more. Delete them if that is not wanted.",
        )
    repeated: list[int] = []
    for same in _groups([e for e in examples if e.row not in copies], prompt_key):
        repeated.extend(example.row for example in same)
    if repeated:
        yield Problem(
            "same_prompt",
            "warning",
            sorted(repeated),
            f"{len(repeated)} rows ask the same as another row and answer differently.",
            "They are kept, on one side of the split. Check that both answers are wanted.",
        )


def _groups(examples: Iterable[Example], key: Any) -> list[list[Example]]:
    """The groups of two or more examples with the same key."""
    groups: dict[Hashable, list[Example]] = defaultdict(list)
    for example in examples:
        groups[key(example)].append(example)
    return [group for group in groups.values() if len(group) > 1]


def _names_an_address(example: Example) -> bool:
    return any("@" in m["content"] and _EMAIL.search(m["content"]) for m in example.messages)


def _count(rows: Sequence[int], one: str, many: str) -> str:
    return f"{len(rows):,} {one if len(rows) == 1 else many}"
