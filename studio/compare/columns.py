"""The sides of a comparison → HTML: columns that fill while the model writes, with checks and marks. Pure."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping, Sequence
from functools import lru_cache

from jobs.evaluation.rules import Rule
from jobs.serving.schema import SideAnswer
from jobs.serving.side_names import NAMED_SIDES
from studio import tables, words
from studio.compare import differences
from studio.compare.differences import Marked
from studio.compare.scene import Scene, Turn

# What a blend is made of would be too long a heading.
HEADINGS = {"adapted": "Adapter", "blend": "Blend"}
# A longer answer scrolls in its own box, which the keyboard can reach.
LONG, LONG_BEFORE = 1600, 500
LONGEST_QUOTED = 120
ENDS = {"length": "Cut at the longest answer.", "stopped": "Stopped."}
# What an answer is marked against: the wanted answer, or the base model's where nobody knows one.
AUTO, BASE, NOTHING = "auto", "base", ""

Check = tuple[str, bool]


def checks(text: str, rules: Sequence[Rule], wanted: str | None, prompt: str = "") -> list[Check]:
    """Which of the dataset's rules an answer keeps; without a wanted answer only those that need none."""
    usable = tuple(rule for rule in rules if wanted is not None or not rule.needs_wanted)
    return [*_checked(text, usable, wanted or "", prompt)]


# While one side still writes, the others are drawn again and again.
@lru_cache(maxsize=64)
def _checked(text: str, rules: tuple[Rule, ...], wanted: str, prompt: str) -> tuple[Check, ...]:
    return tuple((rule.words, rule.passes(text, wanted, prompt)) for rule in rules)


def drawn(scene: Scene, rules: Sequence[Rule], marks: str = AUTO) -> str:
    """The conversation so far and, below it, the answers side by side; an answer is checked when it is done."""
    if scene.now is None or not scene.now.answers:
        return _before(scene)
    turn = scene.now
    parts = [_column(answer, turn, rules, marks) for answer in turn.answers]
    ended = '<p class="sr" role="status">All have answered.</p>' if turn.done else ""
    return _before(scene) + _question(scene) + _sides(parts) + ended


def waiting(scene: Scene, names: Mapping[str, str], said: str) -> str:
    """The empty columns before the first token, with what happens meanwhile; `names` are by side."""
    body = f'<p class="quiet">{html.escape(said)}</p>'
    parts = [_side(side, name, "", body) for side, name in names.items()]
    return _before(scene) + _question(scene) + _sides(parts)


def held_up(scene: Scene, names: Mapping[str, str], said: str) -> str:
    """The empty columns of a question that waits, under the sentence that says why."""
    parts = [_side(side, name, "", "") for side, name in names.items()]
    return _before(scene) + _question(scene) + notice(said) + _sides(parts)


def refused(scene: Scene, said: str, rules: Sequence[Rule] = (), marks: str = AUTO) -> str:
    """Why there are no answers, in their place; over those of now, which are said to be of their own question."""
    if scene.now is not None and scene.now.answers:
        asked = textwrap.shorten(scene.now.prompt, LONGEST_QUOTED, placeholder=" …")
        still = f'<p class="quiet">Below are still the answers to “{html.escape(asked)}”.</p>'
        return tables.problem(said) + still + drawn(scene, rules, marks)
    return _before(scene) + tables.problem(said)


def stopped(scene: Scene) -> str:
    """The turns before a question that was stopped before its first word."""
    return _before(scene) + notice("Stopped before the answer.")


def notice(said: str) -> str:
    """A sentence about what goes on, read out once; no problem, as nothing has to be done."""
    return f'<p class="said" role="status">{html.escape(said)}</p>' if said else ""


def held_out(number: int, total: int, wanted: str, earlier: Sequence[Mapping[str, str]] = ()) -> str:
    """Which held-out example is asked, what was said before in it, and the wanted answer, outlined green."""
    said = "".join(
        f"<p><b>{html.escape(turn['role'])}</b> {html.escape(turn['content'])}</p>" for turn in earlier
    )
    before = f'<details class="earlier"><summary>Said before it</summary>{said}</details>' if said else ""
    return (
        f'<p class="held"><span class="pill">held-out {number:,} of {total:,}</span> '
        f'<span class="quiet">training never saw it</span></p>{before}'
        '<div class="wanted"><span class="quiet">Wanted answer</span>'
        f'<div class="text">{html.escape(wanted)}</div></div>'
    )


def kind(side: str) -> str:
    """What a side is, as the style sheet knows it: a name of its own, "adapter", "look" or "blend"."""
    if side in NAMED_SIDES:
        return side
    if "+" in side:
        return "blend"
    return "look" if "@" in side else "adapter"


def name_of(answer: SideAnswer) -> str:
    """A side's heading."""
    return HEADINGS.get(kind(answer["side"]), answer["label"])


def short(weights: str) -> str:
    """The first four letters of each hash: "3f9a12cd+c21e00aa" -> "3f9a+c21e"."""
    return "+".join(part[:4] for part in weights.split("+"))


def _before(scene: Scene) -> str:
    """The turns before, each with its question over the answers to it."""
    shown = ['<h2 class="sr">Answers</h2>'] if scene.now is not None else []
    for number, turn in enumerate(scene.before, start=1):
        parts = [
            _side(
                answer["side"],
                name_of(answer),
                "",
                _text(html.escape(answer["text"]), LONG_BEFORE),
                f"{name_of(answer)}, turn {number}",
            )
            for answer in turn.answers
        ]
        shown.append(_asked(turn.prompt) + _sides(parts))
    return "".join(shown)


def _question(scene: Scene) -> str:
    """The question of now, where the prompt box is needed for the next one."""
    return _asked(scene.now.prompt) if scene.goes_on and scene.now is not None else ""


def _asked(prompt: str) -> str:
    return f'<p class="said asked"><span class="quiet">You</span> {html.escape(prompt)}</p>'


def _column(answer: SideAnswer, turn: Turn, rules: Sequence[Rule], marks: str) -> str:
    name = name_of(answer)
    facts = [html.escape(answer["label"])] if name == HEADINGS["blend"] else []
    strength = answer["weights"].partition("*")[2]
    if name == HEADINGS["adapted"] and strength:
        facts.append(f"at {html.escape(strength)}×")
    facts += [f"reads {answer['prompt_tokens']:,}, wrote {answer['tokens']:,} tokens"]
    if answer["done"] and answer["seconds"] > 0 and answer["tokens"]:
        speed = answer["tokens"] / answer["seconds"]
        facts.append(
            words.hover(f"{speed:.{0 if speed >= 10 else 1}f} tokens/s", f"{answer['seconds']:.1f} s in all")
        )
    if answer["weights"]:
        facts.append(
            words.hover(f"weights {short(answer['weights'])}", f"weights that answered: {answer['weights']}")
        )
    if not answer["done"]:
        body = _text(html.escape(answer["text"]))
        return _side(answer["side"], name, " · ".join(facts), body)
    beside = _marked(answer, turn, marks)
    found = "".join(
        _mark(said, passed) for said, passed in checks(answer["text"], rules, turn.wanted, turn.prompt)
    )
    said = " ".join(filter(None, (ENDS.get(answer["finish_reason"]), beside.said)))
    body = _text(beside.text or EMPTY)
    body += f'<p class="checks">{found}</p>' if found else ""
    body += f'<p class="quiet">{html.escape(said)}</p>' if said else ""
    whose = "the adapter’s answer" if answer["side"] == "adapted" else f"the answer of {name}"
    body += correct_button(whose, answer["side"])
    return _side(answer["side"], name, " · ".join(facts), body)


EMPTY = '<span class="quiet">(an empty answer)</span>'


def _text(shown: str, long: int = LONG) -> str:
    """What a side has written, as HTML already."""
    box = (
        f'class="text long" tabindex="0" style="max-height: {long // 50}em"'
        if len(shown) > long
        else 'class="text"'
    )
    return f"<div {box}>{shown}</div>"


def correct_button(whose: str, side: str) -> str:
    """The button that opens one side's answer to be corrected."""
    spoken = f'Correct<span class="sr"> {html.escape(whose)}</span><span aria-hidden="true"> it</span>'
    data = html.escape(f'{{"correct": "{side}"}}')
    return f'<button type="button" class="word-button" data-sends="{data}">{spoken}</button>'


def _marked(answer: SideAnswer, turn: Turn, marks: str) -> Marked:
    """The answer with what differs marked."""
    plain = Marked(html.escape(answer["text"]), "")
    if marks == NOTHING:
        return plain
    if marks == AUTO and turn.wanted is not None:
        return differences.marked(answer["text"], turn.wanted, "the wanted answer", with_missing=True)
    base = turn.answer("base") or turn.answers[0]
    if base is answer or not base["done"]:
        return plain
    name = "the base model’s answer" if base["side"] == "base" else f"the answer of {name_of(base)}"
    return differences.marked(answer["text"], base["text"], name, with_missing=False)


def _mark(said: str, passed: bool) -> str:
    look, mark, spoken = ("pass", "✓", "yes: ") if passed else ("fail", "✗", "no: ")
    signs = f'<span aria-hidden="true">{mark}</span><span class="sr">{spoken}</span>'
    return f'<span class="{look}">{signs} {html.escape(said)}</span>'


def _side(side: str, name: str, facts: str, body: str, label: str = "") -> str:
    heading = html.escape(name)
    return (
        f'<section class="side of-{kind(side)}" aria-label="{html.escape(label) or heading}">'
        f'<header><h3>{heading}</h3><span class="quiet">{facts}</span></header>{body}</section>'
    )


def _sides(parts: Sequence[str]) -> str:
    return f'<div class="sides">{"".join(parts)}</div>'
