"""A scorecard → HTML: the verdict, the table under it, what prompting does, and the other measures. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.evaluation.verdict import PROMPTING
from studio import tables, words

Card = Mapping[str, Any]
# Up to so many sides stand in the first table; of more, the best way of prompting stands for the others.
MOST_SIDES = 3
NEEDLE = {"hardly": "good", "some": "tight", "strong": "wrong"}
# What could not be asked has no label of its own on a card.
NOT_ASKED = {
    "instruction": "Base + instruction",
    "few_shot": "Base + examples",
    "similar": "Base + similar examples",
    "constrained": "Base held to JSON",
}
AMONG_ALL = (
    "Of many rows one changes by chance: whether one may be chance is judged among all rows of the table "
    "(Holm's correction)."
)
# How the adapter stands against a way of prompting; a lead that chance explains is not a draw, unless it is small.
STANDINGS = {"ahead": "better", "behind": "worse", "alike": "as good", "unclear": "cannot tell"}
WORKING = ("works", "prompting_does_as_well")
MINUS = "\N{MINUS SIGN}"


def verdict(card: Card) -> str:
    """The card's sentence; its first words stand out, in red when the adapter made things worse."""
    found = card["verdict"]
    sentence, short = str(found["sentence"]), str(found.get("short") or "")
    if not short or not sentence.startswith(short):
        short = sentence[: sentence.find(":") + 1]
    look = {"works": "yes", "prompting_does_as_well": "yes", "worse": "wrong"}.get(
        found["code"], "plain-words"
    )
    said = html.escape(sentence[len(short) :] + _harm(card)).replace(" %", "\u00a0%")
    return f'<strong class="{look}">{html.escape(short)}</strong>{said}'


def _harm(card: Card) -> str:
    """What an adapter that works does beside its task, where that is much."""
    effects = card.get("side_effects") or {}
    if card["verdict"]["code"] not in WORKING or effects.get("code") != "strong":
        return ""
    changed = f"{effects['prompts'] - effects['unchanged']} of {effects['prompts']}"
    return f" Beside its task it changed strongly: {changed} other questions are answered differently."


def counting(rules: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rules that a verdict is made of."""
    return [rule for rule in rules if rule.get("counts", True) and rule.get("on", True)]


def rival(card: Card) -> str | None:
    """The way of prompting that comes closest to the adapter; of several, the one that costs the fewest tokens."""
    there = {side["side"] for side in card["sides"]}
    found = [one for one in card.get("comparisons") or () if one["side"] in there]
    if not found:
        return next((side for side in ("few_shot", *PROMPTING) if side in there), None)
    return str(min(found, key=lambda one: (one["difference"]["value"], one["tokens_per_call"]))["side"])


def first_sides(card: Card) -> list[Mapping[str, Any]]:
    """The sides of the first table: base, adapter, and what the verdict speaks of, else the closest rival."""
    sides = list(card["sides"])
    if len(sides) <= MOST_SIDES:
        return sides
    named = (card.get("verdict") or {}).get("speaks_of")
    kept = {"base", "adapted", *(named or [rival(card)])}
    return [side for side in sides if side["side"] in kept]


def scorecard(card: Card) -> str:
    """The first table: a row for each rule that counts, a column for a few sides, and the change from the base."""
    sides = first_sides(card)
    headings = [f"on {words.many(card['rows'], 'held-out example')}, with 95 % intervals"]
    headings += [heading(side) for side in sides]
    rules = counting(card.get("rules") or ())
    rows = [_rule(rule, sides) for rule in rules]
    if not rules:
        rows = [_measure(measure, sides) for measure in card.get("measures") or ()]
    changes = any(row[-1] != tables.NOTHING for row in rows)
    # A narrow page leaves this column away.
    against = words.hover("adapter against base", AMONG_ALL)
    headings += [f'<span class="change">{against}</span>'] if changes else []
    rows = [[*row[:-1], f'<span class="change">{row[-1]}</span>'] if changes else row[:-1] for row in rows]
    empty = [tables.NOTHING] * (len(sides) - 1)
    last = ['<span class="change"></span>'] if changes else []
    if effects := card.get("side_effects"):
        rows.append(["other questions answered differently", *empty, _left(effects), *last])
    rows.append(["tokens to read for each call", *(f"{s['prompt_tokens_mean']:,.0f}" for s in sides), *last])
    return tables.table("Scorecard", headings, rows)


def limits(card: Card) -> str:
    """What the numbers do not hold, in a line: rows that were left out, answers that were cut; "" for nothing."""
    said = []
    left_out = card.get("left_out") or {}
    if isinstance(left_out, Mapping):  # older cards have a list without reasons
        why = {
            "learned": "that the adapter was trained on",
            "too_long": "too long for the base model to read",
        }
        found = [
            f"{words.many(len(left_out[one]), 'held-out example')} {why[one]}"
            for one in why
            if left_out.get(one)
        ]
        said += [f"Left out: {' and '.join(found)}."] if found else []
    cut = [f"{name_of(side)} {side['cut']}" for side in card["sides"] if side.get("cut")]
    if cut:
        said.append(
            f"Answers cut off because they became too long, of {card['rows']} each: {', '.join(cut)}."
        )
    for side in card["sides"]:
        fewest, most = side.get("examples") or (0, 0)
        if fewest < most:
            said.append(f"{name_of(side)}: from {fewest} to {most}, as many as fitted before each question.")
    return f'<p class="quiet limits">{html.escape(" ".join(said))}</p>' if said else ""


def not_asked(card: Card) -> str:
    """The ways of asking that could not be asked, and why; "" where all could."""
    found = [(NOT_ASKED.get(one["side"], one["side"]), one["why"]) for one in card.get("not_asked") or ()]
    said = "".join(
        f"<li><b>{html.escape(name)}</b> was not asked. {html.escape(why)}</li>" for name, why in found
    )
    return f'<ul class="quiet">{said}</ul>' if said else ""


def every_side(card: Card) -> str:
    """The whole table: all sides, with what each reads and writes."""
    sides = card["sides"]
    rows = [_rule(rule, sides)[:-1] for rule in counting(card.get("rules") or ())]
    for name, said in (
        ("prompt_tokens_mean", "tokens to read for each call"),
        ("tokens_mean", "tokens of an answer"),
    ):
        rows.append([said, *(f"{side[name]:,.0f}" for side in sides)])
    return tables.table("Every way of asking", ["rule", *map(heading, sides)], rows)


def prompting(card: Card) -> str:
    """What the adapter has over each way of asking the base model better, and what that way costs; "" for none."""
    labels = {side["side"]: heading(side) for side in card["sides"]}
    found = [one for one in card.get("comparisons") or () if one["side"] in labels]
    if not found:
        return ""
    by = {"tone": "in tone", "chrf": "in closeness to the wanted answer"}.get(
        found[0].get("by", ""), "in rules kept"
    )
    unit = "chrf" if found[0].get("by") == "chrf" else "share"
    rows = [
        [
            labels[one["side"]],
            change(one["difference"], unit),
            STANDINGS[one["standing"]],
            _more(one["tokens_per_call"]),
        ]
        for one in sorted(found, key=lambda one: float(one["difference"]["value"]))
    ]
    return tables.table(
        "Prompting instead",
        ["way of asking", f"adapter ahead {by}", "so the adapter is", "tokens a call"],
        rows,
    )


def measures(card: Card) -> str:
    """What was measured beside the rules, with a note on each; "" where nothing was."""
    found = card.get("measures") or ()
    if not found:
        return ""
    sides = first_sides(card)
    rows = [_measure(measure, sides) for measure in found]
    notes = "".join(
        f"<li><b>{html.escape(measure['words'])}</b>: {html.escape(measure['note'])}</li>"
        for measure in found
        if measure.get("note")
    )
    headings = ["measure", *map(heading, sides), words.hover("adapter against base", AMONG_ALL)]
    return tables.table("Other measures", headings, rows) + (
        f'<ul class="quiet">{notes}</ul>' if notes else ""
    )


def heading(side: Mapping[str, Any]) -> str:
    """A side's name in its colour."""
    return f'<span class="of-side of-{html.escape(_look(side["side"]))}">{html.escape(name_of(side))}</span>'


def name_of(side: Mapping[str, Any]) -> str:
    """What a side is called on this page: as everywhere, but short enough for a column."""
    if side["side"] == "adapted":
        return "Adapter"
    return (
        str(side["label"]).replace("Base model ", "Base ")
        if side["side"] in PROMPTING
        else str(side["label"])
    )


def _look(side: str) -> str:
    return side if side in ("base", "adapted", *PROMPTING) else "other"


def percent(share: float) -> str:
    """A share as per cent; only what is exactly none or all is 0 % or 100 %."""
    rounded = round(100 * share)
    if 0 < share < 1:
        rounded = min(99, max(1, rounded))
    return f"{rounded} %"


def is_real(difference: Mapping[str, Any]) -> bool:
    """Whether a difference is more than chance."""
    outside = difference["low"] > 0 or difference["high"] < 0
    return bool(outside and difference.get("p", 0.0) <= 0.05)


def change(difference: Mapping[str, Any] | None, unit: str = "share") -> str:
    """A difference with its interval, and whether chance explains it: "+92 points, 82 to 98"."""
    if not difference:
        return tables.NOTHING
    if difference["value"] == 0 and not is_real(difference):
        return '<span class="quiet">none seen</span>'
    value, low, high = (_points(difference[name], unit) for name in ("value", "low", "high"))
    sign = "+" if difference["value"] > 0 else ""
    noun = {"share": " points"}.get(unit, "")
    doubt = "" if is_real(difference) else ", may be chance"
    return f'{sign}{value}{noun} <span class="quiet">{low} to {high}{doubt}</span>'


def _points(number: float, unit: str) -> str:
    text = f"{number:.2f}" if unit == "nats" else f"{100 * number if unit == 'share' else number:.0f}"
    return text.replace("-", MINUS) if float(text) else "0"


def _rule(rule: Mapping[str, Any], sides: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [_rate(rule["sides"].get(side["side"]), side["side"]) for side in sides]
    return [html.escape(rule["words"]), *cells, change(rule.get("difference"))]


def _rate(score: Mapping[str, Any] | None, side: str) -> str:
    if score is None:
        return tables.NOTHING
    interval = f"{100 * score['low']:.0f}–{100 * score['high']:.0f}"
    tag = "b" if side == "adapted" else "span"
    exact = f"{score['passed']} of {score['rows']}"
    return f'<{tag} title="{exact}">{percent(score["rate"])}</{tag}> <span class="quiet">{interval}</span>'


def _measure(measure: Mapping[str, Any], sides: Sequence[Mapping[str, Any]]) -> list[str]:
    unit = measure["unit"]
    cells = []
    for side in sides:
        found = measure["sides"].get(side["side"])
        tag = "b" if side["side"] == "adapted" else "span"
        cells.append(
            f'<{tag}>{_amount(found["value"], unit)}</{tag}> <span class="quiet">{_span(found, unit)}</span>'
            if found
            else tables.NOTHING
        )
    better = ' <span class="quiet">lower is better</span>' if measure["better"] == "lower" else ""
    return [html.escape(measure["words"]) + better, *cells, change(measure.get("difference"), unit)]


def _amount(value: float, unit: str) -> str:
    return percent(value) if unit == "share" else f"{value:.2f}" if unit == "nats" else f"{value:.0f}"


def _span(found: Mapping[str, float], unit: str) -> str:
    if unit == "share":
        return f"{100 * found['low']:.0f}–{100 * found['high']:.0f}"
    return f"{_amount(found['low'], unit)}–{_amount(found['high'], unit)}"


def _left(effects: Mapping[str, Any]) -> str:
    pill = f'<span class="pill {NEEDLE.get(effects["code"], "")}">{html.escape(effects["words"])}</span>'
    return f"{effects['prompts'] - effects['unchanged']} of {effects['prompts']} {pill}"


def _more(tokens: float) -> str:
    return f"{tokens:+,.0f}".replace("-", MINUS) if round(tokens) else "no more"
