"""Rows of a dataset → HTML: a page of the table, and one row in the editor. Pure; what the data says is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from studio import tables

Row = dict[str, Any]
Message = dict[str, str]

PAGE_ROWS = 25
SPLITS = {"": "All rows", "train": "To learn from", "held_out": "Kept aside", "left_out": "Left out"}
ROLES = {"system": "Instruction (system)", "user": "Prompt", "assistant": "Answer"}
LOCKED = (
    "This row is kept aside to test on. It stays as it is, so that every version is tested on the same rows. "
    "It can be deleted."
)
_CELL = 160
# data.js adds the text areas, since what has been typed in the others must stay.
_MORE = (
    '<p class="does"><button type="button" class="word-button" data-adds="turn">Add a turn</button>'
    '<button type="button" class="word-button" data-adds="system">Add an instruction</button></p>'
)


def table_html(rows: Sequence[Row], first: int, total: int, filtered: bool) -> str:
    """One page of rows, of which `first` is the 0-based place of the first and `total` those on all pages."""
    if not total:
        said = "No row fits this search." if filtered else "No rows."
        return f'<p class="quiet" role="status">{said}</p>'
    headings = ["Row", "Prompt", "Answer", "State"]
    cells = [[_opener(row), _said(row, "user"), _said(row, "assistant"), _state(row)] for row in rows]
    place = f"{first + 1:,}–{first + len(rows):,} of {total:,}"
    return (
        tables.table(f"Rows {place}", headings, cells)
        + f'<p class="quiet" role="status">Rows {place}{" that fit" if filtered else ""}.</p>'
    )


def _opener(row: Row) -> str:
    return tables.button(str(row["row"]), "open this row", "word-button", do="open", row=row["row"])


def _said(row: Row, role: str) -> str:
    """The first thing that a role says, or for an answer the last, cut to a line or two."""
    turns = [message["content"] for message in row["messages"] if message["role"] == role]
    text = (turns[0] if role == "user" else turns[-1]) if turns else ""
    if not turns and role == "user":
        text = str(row.get("raw", ""))
    text = " ".join(text[: 4 * _CELL].split())
    more = f' <span class="quiet">{len(turns)} turns</span>' if len(turns) > 1 and role == "user" else ""
    return (html.escape(text if len(text) <= _CELL else f"{text[:_CELL]}…") or tables.NOTHING) + more


def _state(row: Row) -> str:
    if row["split"] == "held_out":
        return '<span class="pill">kept aside</span>'
    if row["split"] == "left_out":
        reason = html.escape(str(row.get("reason", "")))
        return f'<span class="pill wrong">left out</span><div class="quiet">{reason}</div>'
    return '<span class="pill good">to learn</span>'


def editor_html(dataset_id: str, row: Row | None) -> str:
    """A row to read, edit, delete or repair; None is a new one. What is typed is kept by data.js until it is saved."""
    if row is None:
        empty = [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]
        fields = "".join(_field(message, f"{dataset_id}/new/{n}") for n, message in enumerate(empty))
        return _form("A new row", "", fields, {"do": "save"})
    number = row["row"]
    title = f"Row {number}"
    delete = tables.applies("Delete", f"row {number}", "small-button", do="delete", row=number)
    if row["split"] == "held_out":
        body = "".join(_locked(message) for message in row["messages"])
        return _frame(f"{title} · kept aside", f'<p class="quiet">{LOCKED}</p>', body, delete + _close(title))
    messages = _with_answer(row["messages"])
    fields = "".join(_field(message, f"{dataset_id}/{number}/{n}") for n, message in enumerate(messages))
    note = _why_left_out(row) if row["split"] == "left_out" else ""
    return _form(title, note, fields, {"do": "save", "row": number}, delete)


def _with_answer(messages: Sequence[Message]) -> list[Message]:
    """Messages that can become a whole example: what is missing is there, empty."""
    whole = [dict(message) for message in messages]
    if not any(message["role"] == "user" for message in whole):
        asked = sum(message["role"] == "system" for message in whole)
        whole.insert(asked, {"role": "user", "content": ""})
    if whole[-1]["role"] != "assistant":
        whole.append({"role": "assistant", "content": ""})
    return whole


def _why_left_out(row: Row) -> str:
    reason = html.escape(str(row.get("reason", "")))
    raw = html.escape(str(row.get("raw", "")))
    stood = f'<p class="quiet">As it stood:</p><pre class="log" tabindex="0">{raw}</pre>' if raw else ""
    return (
        f'<p><span class="pill wrong">left out</span> {reason}. '
        f"Correct it below, and it is learned from.</p>{stood}"
    )


def _field(message: Message, draft: str) -> str:
    """One turn as a labelled text area; `draft` names what is typed there, so that it survives a reload."""
    label, text = html.escape(ROLES.get(message["role"], message["role"])), html.escape(message["content"])
    lines = min(14, max(2, message["content"].count("\n") + 1 + len(message["content"]) // 90))
    return (
        f'<label class="turn"><span>{label}</span><textarea rows="{lines}" data-role="{html.escape(message["role"])}" '
        f'data-draft="{html.escape(draft)}" spellcheck="true">\n{text}</textarea></label>'
    )


def _locked(message: Message) -> str:
    label = html.escape(ROLES.get(message["role"], message["role"]))
    return f'<p class="quiet">{label}</p><div class="said">{html.escape(message["content"])}</div>'


def _form(title: str, note: str, fields: str, sent: dict[str, Any], delete: str = "") -> str:
    save = tables.applies("Save", title.lower(), "small-button strong", **sent)
    return _frame(title, note, f'<div class="turns">{fields}</div>{_MORE}', save + delete + _close(title))


def _close(title: str) -> str:
    return tables.button("Close", title.lower(), "small-button", do="close")


def _frame(title: str, note: str, body: str, buttons: str) -> str:
    return (
        f'<section class="editor" aria-label="{html.escape(title)}">'
        f'<h3 tabindex="-1">{html.escape(title)}</h3>{note}{body}'
        f'<p class="does" data-part="does">{buttons}</p></section>'
    )
