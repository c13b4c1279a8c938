"""The versions of a dataset → HTML: what changed, when, what exactly, and the way back. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from storage.datasets import Dataset
from studio import tables, words
from studio.data.table import ROLES

MOST_CHANGES = 50
Row = dict[str, Any]


def versions_html(versions: Sequence[Dataset], shown_id: str, now: float) -> str:
    """Every version, the newest first, each with what was done, its differences and the way back to it."""
    rows = [_version(one, shown_id, now) for one in sorted(versions, key=lambda one: -one.version)]
    headings = ["Version", "What was done", "Examples", "When", '<span class="sr">Action</span>']
    return tables.table("Versions", headings, rows) + (
        '<p class="quiet">Nothing is ever overwritten. Runs keep the version that they were started with.</p>'
    )


def _version(one: Dataset, shown_id: str, now: float) -> list[str]:
    said = html.escape(one.change) if one.change else f"Brought: {html.escape(one.source_name)}"
    if one.id == shown_id:
        said += ' <span class="pill good">shown here</span>'
    elif one.is_current:
        said += ' <span class="pill">current</span>'
    of = f"version {one.version}"
    buttons = [tables.button("What changed", of, do="diff", version=one.id)] if one.parent_id else []
    if one.id != shown_id:
        buttons.append(tables.applies("Go to it", of, do="go", version=one.id))
    return [
        str(one.version),
        said,
        f"{one.rows:,}",
        tables.when(one.created_at, now),
        " ".join(buttons),
    ]


def diff_html(
    title: str,
    added: Sequence[Row],
    removed: Sequence[Row],
    changed: Sequence[tuple[int, Row, Row]],
    totals: dict[str, int],
) -> str:
    """What differs between two versions: rows that came, went, and changed from this to that."""
    parts = [
        _part("added", totals["added"], [_one_sided(row, "after") for row in added]),
        _part("removed", totals["removed"], [_one_sided(row, "before") for row in removed]),
        _part("changed", totals["changed"], [_both(*one) for one in changed]),
    ]
    body = "".join(parts) or '<p class="quiet">Every row is the same.</p>'
    name = html.escape(title)
    return f'<section class="diff" aria-label="{name}"><h3 tabindex="-1">{name}</h3>{body}</section>'


def _part(word: str, total: int, entries: Sequence[str]) -> str:
    if not total:
        return ""
    more = f'<p class="quiet">And {total - len(entries):,} more.</p>' if total > len(entries) else ""
    return f"<h4>{words.many(total, 'row')} {word}</h4>{''.join(entries)}{more}"


def _one_sided(row: Row, look: str) -> str:
    return f'<div class="differs"><b>Row {row["row"]}</b>{_turns(row["messages"], look)}</div>'


def _both(number: int, before: Row, after: Row) -> str:
    """Only the turns that differ, each as it was and as it is."""
    was, now = before["messages"], after["messages"]
    pairs = [
        (was[n] if n < len(was) else None, now[n] if n < len(now) else None)
        for n in range(max(len(was), len(now)))
    ]
    turns = "".join(
        (_turns([old], "before") if old else "") + (_turns([new], "after") if new else "")
        for old, new in pairs
        if old != new
    )
    if before["split"] != after["split"]:
        turns += f'<p class="quiet">{_split(before)} before, {_split(after)} now.</p>'
    return f'<div class="differs"><b>Row {number}</b>{turns}</div>'


def _split(row: Row) -> str:
    return {"train": "learned from", "held_out": "kept aside", "left_out": "left out"}[row["split"]]


def _turns(messages: Sequence[dict[str, str]], look: str) -> str:
    mark, word = ("−", "before") if look == "before" else ("+", "now")
    tag = "del" if look == "before" else "ins"
    return "".join(
        f'<p class="{look}"><span aria-hidden="true">{mark}</span><span class="sr">{word}: </span> '
        f'<span class="quiet">{html.escape(ROLES.get(message["role"], message["role"]))}</span> '
        f"<{tag}>{html.escape(message['content'])}</{tag}></p>"
        for message in messages
    )
