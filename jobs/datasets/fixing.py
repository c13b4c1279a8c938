"""Puts right what a rule can put right: repaired, masked, or taken away; the same way every time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from jobs.datasets.checks import damage, personal
from jobs.datasets.checks.context import FixContext
from jobs.datasets.checks.problems import FIX_ALL, FIXABLE, fix_all_codes
from jobs.datasets.checks.texts import Message, key, normal, opening

__all__ = ["FIXABLE", "FIX_ALL", "FixContext", "changes", "fix", "fix_all_codes"]

Row = dict[str, Any]
# Encoding before invisible characters, because wrongly read letters look like these; secrets before addresses,
# because "name:password@host" ends like an address; then what depends on the texts being right.
_ORDER = (
    "role_order",
    "mojibake",
    "control_characters",
    "html_remains",
    "system_spacing",
    "secret",
    "card_number",
    "email_address",
    "phone_number",
)
_COPIES = ("duplicate", "leak")


def fix(code: str, row: Row, context: FixContext) -> Row | None:
    """The row put right for one problem that names it, or None: it goes.

    A row that needs nothing comes back as it is. Raises KeyError for a code that has no fix.
    """
    label = FIXABLE[code]
    if code == "role_order":
        return _in_turns(row)
    if label not in ("Repair", "Mask"):
        return None
    if code == "system_spacing":
        return _with_texts(row, lambda text: context.systems.get(text, text), "system")
    if label == "Mask":
        return _with_texts(row, lambda text: personal.masked(code, text, context.known))
    return _with_texts(row, lambda text: damage.repaired(code, text))


def changes(
    codes: Collection[str],
    rows: Iterable[Row],
    listed: Mapping[str, Collection[int]],
    context: FixContext,
) -> Iterator[tuple[int, Row | None]]:
    """What the fixes of several problems change: row number and its new row, or None where it goes.

    `rows` are all rows of the version in any split, `listed` the row numbers of each problem. A row number may
    come twice: the last counts, because repaired texts can turn out to be copies of others.
    """
    named = {code: frozenset(listed.get(code, ())) for code in codes if code in FIXABLE}
    order = [code for code in (*sorted(set(named) - set(_ORDER)), *_ORDER) if code in named]
    copies = _Copies({code for code in _COPIES if code in named}) if len(named) > 1 else None
    for row in rows:
        new: Row | None = row
        for code in order:
            if new is not None and row["row"] in named[code]:
                new = fix(code, new, context)
        if new != row:
            yield row["row"], new
        if copies and new is not None and new["split"] != "left_out":
            copies.see(new, new is not row)
    if copies:
        for number in copies.to_go():
            yield number, None


class _Copies:
    """Rows that became copies of others by their repair, in a few bytes a row."""

    def __init__(self, codes: Collection[str]) -> None:
        self._codes = codes
        self._seen: dict[
            int, int
        ] = {}  # key of the whole → the row that stays, negative while a training row
        self._held_out: set[int] = set()
        self._repaired: list[tuple[int, int]] = []
        self._go: set[int] = set()

    def see(self, row: Row, changed: bool) -> None:
        """Note one row as it is after its repair."""
        messages = row["messages"]
        if "leak" in self._codes:
            first = key(*(normal(m["content"]) for m in opening(messages)))
            if row["split"] == "held_out":
                self._held_out.add(first)
            elif changed:
                self._repaired.append((row["row"], first))
        if "duplicate" in self._codes:
            whole = key(*(part for m in messages for part in (m["role"], m["content"])))
            number = row["row"] if row["split"] == "held_out" else -row["row"] - 1
            other = self._seen.setdefault(whole, number)
            if other != number:
                stays, goes = (number, other) if other < 0 <= number else (other, number)
                self._seen[whole] = stays
                self._go.add(goes if goes >= 0 else -goes - 1)

    def to_go(self) -> list[int]:
        """The rows to be taken away too."""
        leaking = {row for row, first in self._repaired if first in self._held_out}
        return sorted(self._go | leaking)


def _in_turns(row: Row) -> Row | None:
    """The row with one system prompt, then question and answer in turns; None where nothing of that is left."""
    messages = [m for m in row["messages"] if str(m.get("content", "")).strip()]
    system = [m["content"] for m in messages if m["role"] == "system"]
    turns: list[Message] = []
    for message in messages:
        if message["role"] == "system" or (not turns and message["role"] != "user"):
            continue  # what is answered before anything is asked teaches nothing
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1] = {**turns[-1], "content": f"{turns[-1]['content']}\n\n{message['content']}"}
        else:
            turns.append({"role": message["role"], "content": message["content"]})
    if turns and turns[-1]["role"] == "user":
        turns.pop()
    if not turns:
        return None
    once = list(dict.fromkeys(system))
    start = [{"role": "system", "content": "\n\n".join(once)}] if once else []
    return {"row": row["row"], "messages": [*start, *turns], "split": _split_of(row)}


def _split_of(row: Row) -> str:
    return "train" if row["split"] == "left_out" else str(row["split"])


def _with_texts(row: Row, change: Callable[[str], str], role: str = "") -> Row | None:
    """The row with its texts changed; None where nothing is left of one of them."""
    messages = [
        {**m, "content": change(m["content"])} if role in ("", m["role"]) else m for m in row["messages"]
    ]
    if any(not m["content"].strip() for m in messages) and messages != row["messages"]:
        return None
    return row if messages == row["messages"] else {**row, "messages": messages}
