"""What a set of examples consists of → HTML: kinds, languages, common openings, system prompts. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from studio import words

MOST = 6
LONGEST = 90


def summary_html(summary: Mapping[str, Any]) -> str:
    """The card's inside; a part that says nothing (one kind, all rows the same) is left away."""
    kinds, languages = summary.get("kinds") or {}, summary.get("languages") or {}
    parts = [
        _shares(f"Kinds, by {kinds.get('by')}", dict(kinds.get("groups") or [])) if kinds.get("by") else "",
        _shares("Answers are", kinds.get("answers") or {}),
        _shares("Language of the answers", _known(languages.get("answers") or {})),
        _shares("Turns of a conversation", summary.get("turns") or {}, least=2),
        _texts("Most common openings of the prompts", summary.get("openings") or []),
        _texts("Most common openings of the answers", summary.get("answer_openings") or []),
        _texts("Instructions (system prompts)", summary.get("systems") or []),
    ]
    found = "".join(f"<div>{part}</div>" for part in parts if part)
    return f'<div class="two">{found}</div>' if found else '<p class="quiet">Nothing stands out.</p>'


def _known(languages: Mapping[str, int]) -> Mapping[str, int]:
    """Nothing where mostly no language could be told, as with answers in JSON."""
    return {} if 2 * languages.get("not sure", 0) > sum(languages.values()) else languages


def _shares(title: str, counts: Mapping[str, int], least: int = 1) -> str:
    if len(counts) < least:
        return ""
    total = sum(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda one: -one[1])
    if len(ordered) > MOST:
        ordered = [*ordered[: MOST - 1], ("other", sum(count for _, count in ordered[MOST - 1 :]))]
    rows = "".join(
        f'<dt>{html.escape(str(name))}</dt><dd class="meter" aria-hidden="true">'
        f'<i style="width:{100 * count / total:.1f}%"></i></dd>'
        f"<dd>{words.hover(words.share(count, total), words.many(count, 'row'))}</dd>"
        for name, count in ordered
    )
    return f'<h3>{html.escape(title)}</h3><dl class="shares">{rows}</dl>'


def _texts(title: str, found: Sequence[Sequence[Any]]) -> str:
    if not found:
        return ""
    entries = "".join(
        f'<li>{html.escape(_short(str(text)))} <span class="quiet">{int(count):,}×</span></li>'
        for text, count in found[:MOST]
    )
    return f'<h3>{title}</h3><ul class="openings">{entries}</ul>'


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
