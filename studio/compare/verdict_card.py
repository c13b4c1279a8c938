"""The top of the scorecard: the sentence, the first table, and the check that is under way."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from storage import waiting
from storage.jobs import Job
from studio import layout, tables, words
from studio.compare import card_view
from studio.compare.seen import Seen

PATH = "/compare"
NO_ADAPTER = "No adapter yet: train one, then compare it here with the model it came from."
NOT_MEASURED = "Not measured yet. Ask something, or check it on the held-out examples."
BEING_MEASURED = "Being checked now, on examples that training never saw."
NO_CARD = (
    '<h2>Scorecard</h2><p class="quiet">The base model, the base model asked as well as one can, and the adapter '
    "answer examples that training never saw. Rules found in your own answers count who keeps them. It takes a few "
    "minutes.</p>"
)
NO_EXAMPLES = "Its examples are gone, or none of them was kept aside, so it cannot be checked."
CHANGED = (
    "The instruction, the prompts or the examples have changed since these answers were given. "
    "Check again to know."
)
GOES_ON = "Stopped. The answers so far are kept: checking again goes on from there."
TICK_SECONDS = 1


@dataclass
class VerdictCard:
    """The components; the timer runs while a check is under way."""

    said: gr.HTML
    table: gr.HTML
    note: gr.HTML
    check: gr.Button
    stop: gr.Button
    timer: gr.Timer

    @property
    def drawn(self) -> list[Any]:
        """Outputs of `drawn`."""
        return [self.said, self.table, self.note, self.check, self.stop, self.timer]


def build(said: gr.HTML) -> VerdictCard:
    """Lay it out; `said` is the page's answer, above everything."""
    table = gr.HTML(elem_id="scorecard", apply_default_css=False)
    note = gr.HTML(elem_id="check-progress", apply_default_css=False)
    with gr.Row(elem_classes="foot"):
        check = gr.Button("Check it", elem_id="check", size="md", scale=0, min_width=200)
        stop = gr.Button(
            "Stop checking", variant="stop", size="md", visible=False, elem_id="check-stop", scale=0
        )
    return VerdictCard(said, table, note, check, stop, gr.Timer(TICK_SECONDS, active=False))


def drawn(now: Seen | None, keeps_looking: bool = False) -> tuple[Any, ...]:
    """How well it does, in the order of `VerdictCard.drawn`; `keeps_looking` where something else is under way."""
    if now is None:
        return layout.answered(PATH, NO_ADAPTER), "", "", gr.skip(), gr.skip(), gr.skip()
    return (
        layout.answered(PATH, _sentence(now)),
        table(now),
        note(now),
        gr.Button(_check_words(now), visible=not now.is_running, interactive=now.can_check),
        gr.Button(visible=now.is_running, interactive=now.job is None or now.job.status != "stopping"),
        gr.Timer(active=now.is_running or keeps_looking),
    )


def progressed(now: Seen) -> tuple[Any, ...]:
    """Only what moves while a check is under way, in the same order: nothing else is disturbed."""
    return (gr.skip(), table(now) if now.is_partial else gr.skip(), note(now), *[gr.skip()] * 3)


def table(now: Seen) -> str:
    """The first table with its last line, or what there will be."""
    if now.card is None:
        return NO_CARD
    title = '<h2 class="sr">Scorecard</h2>'
    if now.is_partial:
        count = words.many(now.card["rows"], "example")
        return title + card_view.scorecard(now.card) + f'<p class="quiet">So far: {count} answered.</p>'
    return title + card_view.scorecard(now.card) + _checked(now)


def note(now: Seen) -> str:
    """The check that is under way, or why it ended without a card, or why the card holds no more."""
    if now.job is not None and now.is_running:
        return progress(now.job, waiting.place(now.job.id))
    if now.job is not None and now.job.status == "failed":
        return tables.problem(f"{now.job.error_message or ''} {now.job.error_remedy or ''}".strip())
    if not now.can_check:
        return f'<p class="quiet">{NO_EXAMPLES}</p>'
    if now.job is not None and now.job.status == "stopped":
        return f'<p class="said" role="status">{GOES_ON}</p>'
    if now.card is not None and not now.is_fresh:
        return f'<p class="said" role="status">{CHANGED}</p>'
    return ""


def progress(job: Job, place: int | None) -> str:
    """How far a check is, as a bar and a sentence, or what it waits for."""
    if job.status == "stopping":
        return '<p class="quiet" role="status">Stopping. The answers so far are kept.</p>'
    if waits := words.standing(job, place):
        return f'<p class="quiet" role="status">{html.escape(waits)}</p>'
    said = job.phase or "Getting ready: the model may have to be loaded first"
    if not job.phase_total:
        ending = "" if said.endswith(".") else "."
        return f'<p class="quiet" role="status">{html.escape(said)}{ending}</p>'
    done = job.phase_done or 0
    left = f", about {words.duration(job.seconds_left)} left" if job.seconds_left else ""
    return (
        f"{tables.meter('Scorecard', min(1.0, done / job.phase_total))}"
        f'<p class="quiet">{html.escape(said)}: {done:,} of {job.phase_total:,}{left}.</p>'
    )


def _sentence(now: Seen) -> str:
    if now.card is not None and not now.is_partial:
        return card_view.verdict(now.card)
    return BEING_MEASURED if now.is_running else NOT_MEASURED


def _checked(now: Seen) -> str:
    """When this was measured, on what, and how long it took."""
    assert now.card is not None
    parts = []
    if made := now.card.get("created_at"):
        parts.append(f"checked {tables.when(made, time.time())}")
    if now.dataset is not None:
        parts.append(f"on “{html.escape(now.dataset.name)}”")
    if seconds := now.card.get("seconds"):
        parts.append(f"in {words.duration(seconds)}")
    said = " ".join(parts)
    return f'<p class="quiet checked">{said[:1].upper()}{said[1:]}.</p>' if said else ""


def _check_words(now: Seen) -> str:
    return "Check again" if now.card is not None else "Check it on the held-out examples"
