"""Blind A/B: two sides answer unseen, and the reader says which is better."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gradio as gr

from jobs.evaluation import blind
from jobs.evaluation.blind import Contest, Standing
from jobs.serving import sides
from storage import adapters, votes
from storage.errors import StudioError
from studio import layout, tables
from studio.compare import blind_view, rounds
from studio.compare.part import QUIET, Part
from studio.notices import shown

POLL_SECONDS = 0.2
STOPPED = "Stopped. Start again when you like."
GETTING_READY = "Both sides answer. The first pair takes a while, as the model may have to be loaded."
# Which parts of the card are to be seen: the votes' buttons, or the one that goes on.
START, WAITING, READING, VOTED = "start", "waiting", "reading", "voted"
GO_ON = {START: "Start", WAITING: "Start", READING: "Another pair", VOTED: "Next pair"}
KEYS = '<p class="quiet keys">Keys: <kbd>1</kbd> or <kbd>2</kbd> for the better answer, <kbd>0</kbd> for neither.</p>'
# Keys are heard while the focus is in the card (studio/assets/blind.js).
FOCUS_PAIR = layout.focus("#blind .pair")
FOCUS_NEXT = layout.focus("#blind-next")


def choose(adapter_id: str | None) -> tuple[Any, ...]:
    """All that belongs to one adapter: [one side, other side, pair, pair's id, standing, *buttons]."""
    if adapter_id is None:
        return (gr.skip(), gr.skip(), "", None, "", *_buttons(START))
    offered = sides.offered(adapters.get(adapter_id))
    return (
        gr.update(choices=offered, value="base"),
        gr.update(choices=offered, value="adapted"),
        blind_view.TEACHING,
        None,
        _standing(adapter_id, "base", "adapted", "0"),
        *_buttons(START),
    )


def another_contest(
    request: gr.Request,
    adapter_id: str | None,
    one: str | None,
    other: str | None,
    temperature: str,
    pair_id: str | None,
) -> tuple[Any, ...]:
    """What is to be seen when a side or the temperature was changed: [temperature, pair, id, standing, *buttons].

    All stays where nothing has changed, as when somebody only searched in the list of sides.
    """
    if adapter_id is None or one is None or other is None:
        return (gr.skip(),) * 10
    drawn = gr.skip()
    if one == other and temperature.strip() in ("", "0", "0.0"):
        temperature = drawn = "0.7"  # the likeliest answer, twice, would be the same answer twice
    with suppress(StudioError):
        if rounds.contest_of(pair_id) == _contest(adapter_id, one, other, temperature):
            return (gr.skip(),) * 10
    rounds.end(request.session_hash)
    return (
        drawn,
        blind_view.TEACHING,
        None,
        _standing(adapter_id, one, other, temperature),
        *_buttons(START),
    )


def next_pair(
    request: gr.Request, adapter_id: str, one: str, other: str, temperature: str
) -> Iterator[tuple[Any, ...]]:
    """Show the next pair, which may be ready, and let the one after it be made: [pair, pair's id, *buttons]."""
    tab = request.session_hash
    try:
        contest = _contest(adapter_id, one, other, temperature)
        if blind.is_over(contest):
            yield (
                blind_view.waiting(f"{blind.ALL_VOTED} {blind.AT_ANOTHER_TEMPERATURE}"),
                None,
                *_buttons(START),
            )
            return
        making = rounds.begin(tab, contest)
        said = ""
        while making.is_alive() and not making.ended.is_set():
            words = making.words or GETTING_READY
            if words != said:
                yield blind_view.waiting(words), None, *_buttons(WAITING)
            said = words
            making.wanted_until = time.monotonic() + rounds.PATIENCE_SECONDS
            making.join(POLL_SECONDS)
        if making.ended.is_set():  # another contest was chosen meanwhile
            yield (gr.skip(),) * 8  # without a word from it Gradio would empty all that it fills
            return
        pair = rounds.hand_out(tab, making)
        yield blind_view.pair(pair), pair.id, *_buttons(READING, only_tie=pair.are_the_same)
        rounds.begin(tab, contest, is_awaited=False)
    except (StudioError, gr.Error) as error:
        said = error.message if isinstance(error, gr.Error) else str(error)
        yield tables.problem(said), None, *_buttons(START)


def stop(request: gr.Request) -> tuple[Any, ...]:
    """Nobody wants the pair that is being made any more: [pair, pair's id, *buttons]."""
    rounds.end(request.session_hash)
    return (blind_view.waiting(STOPPED), None, *_buttons(START))


def leave(request: gr.Request) -> None:
    """Another adapter is chosen: nobody waits for this one's pair."""
    rounds.end(request.session_hash)


def cast(pair_id: str | None, choice: str) -> tuple[Any, ...]:
    """Count a vote and say whose the answers were: [pair, standing, *buttons]."""
    if pair_id is None:
        raise StudioError("There is no pair to vote on.", "Ask for one first.")
    pair, vote = rounds.vote(pair_id, choice)
    found = _said(blind.standing(pair.contest, pair.key), pair.contest)
    return blind_view.revealed(pair, vote), found, *_buttons(VOTED)


def _contest(adapter_id: str, one: str, other: str, temperature: str) -> Contest:
    return Contest.of(adapter_id, [one, other], temperature.strip() or 0.0)


def _standing(adapter_id: str, one: str, other: str, temperature: str) -> str:
    try:
        contest = _contest(adapter_id, one, other, temperature)
        return _said(blind.standing(contest), contest)
    except StudioError as error:
        return tables.problem(str(error))


def _said(found: Standing, contest: Contest) -> str:
    offered = sides.offered(adapters.get(contest.adapter_id))
    labels = {contest.first: contest.first, contest.second: contest.second}
    labels |= {side: label for label, side in offered}
    any_votes = votes.list_of(contest.adapter_id, limit=1)
    links = blind_view.downloads(contest.adapter_id) if any_votes else ""
    return blind_view.standing(found, contest, labels, links)


def _buttons(state: str, only_tie: bool = False) -> tuple[Any, ...]:
    """What can be done: [the row of votes, left, tie, right, next, stop]."""
    reading = state == READING
    return (
        gr.update(visible=reading),
        gr.update(interactive=reading and not only_tie),
        gr.update(interactive=reading),
        gr.update(interactive=reading and not only_tie),
        gr.update(value=GO_ON[state], variant="secondary" if reading else "primary"),
        gr.update(visible=state == WAITING),
    )


def build(adapter: gr.Dropdown) -> Part:
    """Lay the card out and wire it."""
    pair_id = gr.State(None)
    with gr.Column(elem_classes="card", elem_id="blind"):
        with gr.Row():
            one = gr.Dropdown([], label="One side", elem_id="blind-one", min_width=200)
            other = gr.Dropdown([], label="Other side", elem_id="blind-other", min_width=200)
            temperature = gr.Textbox(
                "0", label="Temperature", elem_id="blind-temperature", max_lines=1, min_width=120, scale=0
            )
        pair = gr.HTML(elem_id="blind-pair")
        with gr.Row(elem_classes="foot votes", visible=False) as row:
            left = gr.Button("Answer 1 is better", elem_id="blind-1", size="md")
            tie = gr.Button("Neither", elem_id="blind-0", size="md")
            right = gr.Button("Answer 2 is better", elem_id="blind-2", size="md")
        with gr.Row(elem_classes="foot"):
            on = gr.Button(
                "Start", variant="primary", elem_id="blind-next", size="md", scale=0, min_width=140
            )
            halt = gr.Button(
                "Stop",
                variant="stop",
                visible=False,
                elem_id="blind-stop",
                size="md",
                scale=0,
                min_width=90,
            )
            gr.HTML(KEYS)
        standing = gr.HTML(elem_id="blind-standing")
    adapter.input(shown(leave), None, None, **QUIET)
    buttons = [row, left, tie, right, on, halt]
    asked = [adapter, one, other, temperature]
    on.click(shown(next_pair), asked, [pair, pair_id, *buttons], **QUIET).then(
        None, None, None, js=FOCUS_PAIR
    )
    halt.click(shown(stop), None, [pair, pair_id, *buttons], **QUIET).success(
        None, None, None, js=FOCUS_NEXT, **QUIET
    )
    for button, choice in ((left, blind.LEFT), (tie, blind.NEITHER), (right, blind.RIGHT)):
        vote = button.click(
            shown(lambda id, choice=choice: cast(id, choice)),
            pair_id,
            [pair, standing, *buttons],
            **QUIET,
        )
        vote.success(None, None, None, js=FOCUS_NEXT)
    for changed in (one.input, other.input, temperature.input):
        changed(
            shown(another_contest),
            [*asked, pair_id],
            [temperature, pair, pair_id, standing, *buttons],
            **QUIET,
        )
    return Part([one, other, pair, pair_id, standing, *buttons], choose)
