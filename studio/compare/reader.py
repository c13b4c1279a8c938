"""The answers behind a scorecard → HTML: one row at a time, all sides, with the rules that each answer keeps. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from studio import tables
from studio.compare import card_view
from studio.compare.card_view import Card

EVERY = ""


def row_html(card: Card, rule: str, side: str, place: int) -> str:
    """Row `place` (from 0) of those where `side` breaks `rule`; of all rows where no rule is named."""
    rules = {str(one["name"]): one for one in card.get("rules") or ()}
    found = rows(card, rule, side)
    said = str(rules[rule]["words"]) if rule in rules else ""
    head = f"<h3>Rows that fail: {html.escape(said)}</h3>" if said else ""
    choice = _sides(card, rules[rule], side) if rule in rules else ""
    close = tables.button("Close", "the rows that fail", "word-button", do="close") if said else ""
    if not found:
        name = html.escape(_name(card, side))
        told = f'<p class="said" role="status">{name} breaks it in no row.</p>'
        return _framed(head, choice, told, close)
    place %= len(found)
    row = found[place]
    body = _asked(row, place, len(found)) + _answers(card, row, rule)
    return _framed(head, choice, body, _turns(rule, side, place, len(found)) + close)


def rows(card: Card, rule: str, side: str) -> list[Mapping[str, Any]]:
    """The answered rows where a side breaks a rule, or all of them."""
    if rule == EVERY:
        return list(card["answers"])
    failing = _failing(next((one for one in card.get("rules") or () if one["name"] == rule), {}), side)
    return [row for row in card["answers"] if row["row"] in failing]


def _failing(rule: Mapping[str, Any], side: str) -> set[int]:
    return set((rule.get("sides") or {}).get(side, {}).get("failing") or ())


def _name(card: Card, side: str) -> str:
    return next((card_view.name_of(one) for one in card["sides"] if one["side"] == side), side)


def _sides(card: Card, rule: Mapping[str, Any], chosen: str) -> str:
    """Whose failures are shown, and how many each side has."""
    buttons = []
    for one in card["sides"]:
        side = str(one["side"])
        count = len(_failing(rule, side))
        sends: dict[str, Any] = {"do": "read", "rule": rule["name"], "side": side}
        text = f"{card_view.name_of(one)}: {count}"
        pressed = ' aria-pressed="true"' if side == chosen else ' aria-pressed="false"'
        button = tables.button(text, "rows that fail", "small-button", **sends)
        buttons.append(button.replace('<button type="button"', f'<button type="button"{pressed}', 1))
    return f'<p class="does" role="group" aria-label="Whose rows">{"".join(buttons)}</p>'


def _turns(rule: str, side: str, place: int, total: int) -> str:
    if total < 2:
        return ""
    sends: dict[str, Any] = {"do": "read", "rule": rule, "side": side}
    return tables.button(
        "‹ Previous row", "", "small-button", **sends, place=(place - 1) % total
    ) + tables.button("Next row ›", "", "small-button", **sends, place=(place + 1) % total)


def _asked(row: Mapping[str, Any], place: int, total: int) -> str:
    return (
        f'<p class="held" role="status"><span class="pill">row {row["row"]}</span> '
        f'<span class="quiet">{place + 1} of {total}; training never saw it</span></p>'
        f'<div class="said">{html.escape(row["prompt"])}</div>'
        '<div class="wanted"><span class="quiet">Wanted answer</span>'
        f'<div class="text">{html.escape(row["wanted"])}</div></div>'
    )


def _answers(card: Card, row: Mapping[str, Any], first: str) -> str:
    rules = card_view.counting(card.get("rules") or ())
    if first and all(rule["name"] != first for rule in rules):
        rules = [rule for rule in card["rules"] if rule["name"] == first] + rules
    parts = [
        _answer(one, row["answers"][one["side"]], row["row"], rules)
        for one in card["sides"]
        if one["side"] in row["answers"]
    ]
    return f'<div class="every-answer">{"".join(parts)}</div>'


def _answer(side: Mapping[str, Any], text: str, row: int, rules: Sequence[Mapping[str, Any]]) -> str:
    label = html.escape(card_view.name_of(side))
    judged = [rule for rule in rules if side["side"] in (rule.get("sides") or {})]
    marks = "".join(mark(str(rule["words"]), row not in _failing(rule, side["side"])) for rule in judged)
    shown = html.escape(text) or '<span class="quiet">(nothing)</span>'
    return (
        f'<div class="side of-{html.escape(side["side"])}" role="group" aria-label="{label}">'
        f'<header><h4>{card_view.heading(side)}</h4></header><div class="text">{shown}</div>'
        f'<p class="checks">{marks}</p></div>'
    )


def mark(said: str, passed: bool) -> str:
    """A rule kept or broken, told by a sign, a word for those who hear it, and a colour."""
    look, sign, spoken = ("pass", "✓", "yes: ") if passed else ("fail", "✗", "no: ")
    signs = f'<span aria-hidden="true">{sign}</span><span class="sr">{spoken}</span>'
    return f'<span class="{look}">{signs} {html.escape(said)}</span>'


def _framed(head: str, choice: str, body: str, foot: str) -> str:
    return f'<div class="reader" tabindex="-1">{head}{choice}{body}<p class="does">{foot}</p></div>'
