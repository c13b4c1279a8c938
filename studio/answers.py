"""The sides of a comparison → HTML: columns that fill while the model writes, checks, the scorecard. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.evaluation.rules import Rule
from jobs.serving.schema import SideAnswer
from jobs.serving.sides import SHOTS
from studio import tables, words

# As the model server labels them, so that nothing changes when its first words come.
NAMES = {"base": "Base model", "few_shot": f"Base model + {SHOTS} examples", "adapted": "Adapter"}
# These compare with the wanted answer, so they say nothing about a prompt of one's own.
NEED_WANTED = {"same_keys", "values_equal", "exact_match"}
ENDS = {"length": "Cut at the longest answer.", "stopped": "Stopped."}

Check = tuple[str, bool]


def checks(text: str, rules: Sequence[Rule], wanted: str | None) -> list[Check]:
    """Which of the dataset's rules an answer keeps; without a wanted answer only those that need none."""
    usable = [rule for rule in rules if wanted is not None or rule.name not in NEED_WANTED]
    return [(rule.words, rule.passes(text, wanted or "")) for rule in usable]


def columns(answers: Sequence[SideAnswer], rules: Sequence[Rule], wanted: str | None) -> str:
    """The answers side by side; a side is checked when it is done."""
    return _sides([_column(answer, checks(answer["text"], rules, wanted)) for answer in answers])


def waiting(sides: Sequence[str], said: str) -> str:
    """The empty columns before the first token, with what happens meanwhile."""
    body = f'<p class="quiet">{html.escape(said)}</p>'
    return _sides([_side(side, NAMES[side], "", body) for side in sides])


def held_up(sides: Sequence[str], said: str) -> str:
    """The empty columns of a question that waits, under the sentence that says why."""
    return notice(said) + _sides([_side(side, NAMES[side], "", "") for side in sides])


def notice(said: str) -> str:
    """A sentence about what goes on, read out once; no problem, as nothing has to be done."""
    return f'<p class="said" role="status">{html.escape(said)}</p>' if said else ""


def held_out(number: int, total: int, wanted: str) -> str:
    """Which held-out example is asked, and the answer that was wanted, outlined green."""
    return (
        f'<p class="held"><span class="pill">held-out {number:,} of {total:,}</span> '
        '<span class="quiet">training never saw it</span></p>'
        '<div class="wanted"><span class="quiet">Wanted answer</span>'
        f'<div class="text">{html.escape(wanted)}</div></div>'
    )


def verdict(card: Mapping[str, Any]) -> str:
    """The card's sentence with its first words, up to the colon, in the accent or (when worse) in red."""
    first, colon, rest = card["verdict"]["sentence"].partition(":")
    look = "wrong" if card["verdict"]["code"] == "worse" else "yes"
    return f'<strong class="{look}">{html.escape(first + colon)}</strong>{html.escape(rest)}'


def scorecard(card: Mapping[str, Any]) -> str:
    """A card as a table: a row for each rule, a column for each side, rates with their 95 % intervals."""
    sides = card["sides"]
    headings = [f"on {card['rows']} held-out examples, with 95 % intervals"]
    headings += [f'<span class="of-{side["side"]}">{html.escape(_heading(side))}</span>' for side in sides]
    rows = [
        [html.escape(rule["words"]), *(_rate(rule["sides"][side["side"]], side["side"]) for side in sides)]
        for rule in card["rules"]
    ]
    rows.append(["tokens to read for each call", *(f"{side['prompt_tokens_mean']:,.0f}" for side in sides)])
    rows.append(["tokens of an answer", *(f"{side['tokens_mean']:,.0f}" for side in sides)])
    return tables.table("Scorecard", headings, rows)


def _heading(side: Mapping[str, Any]) -> str:
    return NAMES["adapted"] if side["side"] == "adapted" else str(side["label"])


def _rate(score: Mapping[str, float], side: str) -> str:
    interval = f"{100 * score['low']:.0f}–{100 * score['high']:.0f}"
    exact = f"{score['passed']} of {score['rows']}"
    tag = "b" if side == "adapted" else "span"
    return f'<{tag} title="{exact}">{100 * score["rate"]:.0f} %</{tag}> <span class="quiet">{interval}</span>'


def _column(answer: SideAnswer, found: Sequence[Check]) -> str:
    facts = [f"reads {answer['prompt_tokens']:,}, wrote {answer['tokens']:,} tokens"]
    if answer["weights"]:
        facts.append(words.hover(_short(answer["weights"]), f"weights that answered: {answer['weights']}"))
    if answer["done"]:
        facts.append(f"{answer['seconds']:.1f} s")
    body = f'<div class="text">{html.escape(answer["text"])}</div>'
    if answer["done"]:
        marks = "".join(_mark(said, passed) for said, passed in found)
        body += f'<p class="checks">{marks}</p>' if marks else ""
        ended = ENDS.get(answer["finish_reason"])
        body += f'<p class="quiet">{ended}</p>' if ended else ""
    return _side(answer["side"], _heading(answer), " · ".join(facts), body)


def _short(weights: str) -> str:
    """The first four letters of each hash: "3f9a12cd+c21e00aa" -> "3f9a+c21e"."""
    return "+".join(part[:4] for part in weights.split("+"))


def _mark(said: str, passed: bool) -> str:
    look, mark, spoken = ("pass", "✓", "yes: ") if passed else ("fail", "✗", "no: ")
    signs = f'<span aria-hidden="true">{mark}</span><span class="sr">{spoken}</span>'
    return f'<span class="{look}">{signs} {html.escape(said)}</span>'


def _side(side: str, name: str, facts: str, body: str) -> str:
    label = html.escape(name)
    return (
        f'<section class="side of-{html.escape(side)}" aria-label="{label}">'
        f'<header><h3>{label}</h3><span class="quiet">{facts}</span></header>{body}</section>'
    )


def _sides(parts: Sequence[str]) -> str:
    return f'<div class="sides">{"".join(parts)}</div>'
