"""A blind comparison → HTML: the pair without names, the pair with them, how the votes stand. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping

from jobs.evaluation.blind import EVEN, Contest, Pair, Standing
from jobs.serving.schema import SideAnswer
from storage.votes import FIRST, SECOND, Vote
from studio.compare.columns import kind

ROLES = {"user": "Asked", "assistant": "Answered", "system": "Instruction"}
LOOK_OFTEN = " The interval holds however often you look: stop when you like."
TEACHING = (
    '<p class="quiet">Two answers to a held-out example stand side by side without names. Say which is better; '
    "then you see whose they were. Votes are kept with the adapter.</p>"
)


def pair(shown: Pair) -> str:
    """The prompt and the two answers, of which nothing says whose they are."""
    sides = [
        _side(f"Answer {number}", "", "", answer["text"], ended(answer))
        for number, answer in enumerate(shown.shown, 1)
    ]
    note = ""
    if shown.are_the_same:
        note = '<p class="said" role="status">Both answers are the same, word for word: a tie.</p>'
    wanted = f"<details><summary>Wanted answer</summary>{_text(shown.row.reference)}</details>"
    return _whole(shown, "Which answer is better?", sides, note + wanted)


def revealed(shown: Pair, vote: Vote) -> str:
    """The same pair once it has been voted on: each answer with its side, in that side's colour."""
    places = (FIRST, SECOND) if shown.shown_left == FIRST else (SECOND, FIRST)
    sides = []
    for number, (place, answer) in enumerate(zip(places, shown.shown, strict=True), 1):
        chosen = '<span class="pill good">✓ your choice</span>' if vote.winner == place else ""
        label = html.escape(answer["label"])
        title = f'Answer {number} · <span class="whose">{label}</span>'
        sides.append(_side(title, f"of-{kind(answer['side'])}", chosen, answer["text"], ended(answer)))
    wanted = f'<div class="wanted"><span class="quiet">Wanted answer</span>{_text(shown.row.reference)}</div>'
    said = "You called it a tie." if vote.winner not in (FIRST, SECOND) else "Your vote is counted."
    return _whole(shown, said, sides, wanted)


def waiting(words: str) -> str:
    """What happens until there is a pair."""
    return f'<p class="said" role="status">{html.escape(words)}</p>'


def standing(found: Standing, contest: Contest, labels: Mapping[str, str], links: str) -> str:
    """The share of the second side with its interval on a line whose middle is even, and in words."""
    said = html.escape(found.sentence(labels, contest))
    if not found.counts.total:
        return f'<div class="standing"><p class="quiet">{said}</p>{_others(found)}{links}</div>'
    left, right = (html.escape(name) for name in names(contest, labels))
    counts = f"{left}: {found.counts.first} · {right}: {found.counts.second} · ties: {found.counts.ties}."
    often = LOOK_OFTEN if found.is_telling else ""
    return (
        f'<div class="standing"><h3>So far</h3>{_line(found, left, right)}'
        f'<p role="status">{said}</p><p class="quiet">{counts} '
        f"Ties decide nothing and are left out of the share.{often}</p>{_others(found)}{links}</div>"
    )


def _line(found: Standing, left: str, right: str) -> str:
    """The share and its interval between both sides; nothing while the votes are too few to tell."""
    if found.share is None or not found.is_telling:
        return ""
    low, high, value = (100 * number for number in (found.share.low, found.share.high, found.share.value))
    return (
        f'<div class="duel" aria-hidden="true"><span>{left}</span><div class="line">'
        f'<i class="even" style="left:{100 * EVEN:.0f}%"></i>'
        f'<i class="band" style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
        f'<i class="point" style="left:{value:.1f}%"></i></div><span>{right}</span></div>'
    )


def _others(found: Standing) -> str:
    """How many votes on the same sides are not counted here, and why."""
    if not found.others:
        return ""
    one = found.others == 1
    return (
        f'<p class="quiet">{found.others:,} more vote{" is" if one else "s are"} not counted here: '
        f"{'it was' if one else 'they were'} given at another strength, temperature, longest answer or "
        f"instruction. {'It is' if one else 'They are'} in the files below.</p>"
    )


def names(contest: Contest, labels: Mapping[str, str]) -> tuple[str, str]:
    """Both sides for people; the same one twice is told apart by its draws."""
    if contest.is_against_itself:
        return f"{labels[contest.first]}, first draw", "second draw"
    return labels[contest.first], labels[contest.second]


def downloads(adapter_id: str) -> str:
    """Where the votes are to be had as files."""
    address = f"/download/votes/{html.escape(adapter_id)}"
    return (
        f'<p class="files"><a href="{address}.csv" download>All votes as CSV</a> '
        f'<a href="{address}.jsonl" download>as JSON lines</a></p>'
    )


def ended(answer: SideAnswer) -> str:
    """A note where an answer was cut."""
    cut = answer["finish_reason"] == "length"
    return '<p class="quiet">Cut at the longest answer.</p>' if cut else ""


def _whole(shown: Pair, question: str, sides: list[str], below: str) -> str:
    turns = [turn for turn in shown.row.messages[:-1] if turn["role"] != "system"]
    before = "".join(f'<p class="quiet">{ROLES[turn["role"]]}</p>{_text(turn["content"])}' for turn in turns)
    return (
        f'<section class="pair" tabindex="-1" aria-label="{html.escape(question)}">'
        f'<p class="held"><span class="pill">held-out {shown.number:,} of {shown.rows:,}</span> '
        '<span class="quiet">training never saw it</span></p>'
        f'{before}<div class="asked"><span class="quiet">Prompt</span>{_text(shown.row.prompt)}</div>'
        f'<h2 class="question">{html.escape(question)}</h2>'
        f'<div class="pair-of-two">{"".join(sides)}</div>{below}</section>'
    )


def _side(title: str, look: str, note: str, text: str, below: str) -> str:
    return (
        f'<section class="side {look}"><header><h3>{title}</h3>{note}</header>{_text(text)}{below}</section>'
    )


def _text(text: str) -> str:
    return f'<div class="text">{html.escape(text.rstrip())}</div>'
