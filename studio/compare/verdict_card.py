"""The top of the scorecard: the sentence, the first table, and the check that is under way."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from storage import adapters, plans, waiting
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
NONE_CHOSEN = "No adapter is chosen."
OF_BEFORE = "Checked by an earlier version of the studio, which measured less. Check it again."
CHANGED = "{what} changed since these answers were given. Check again to know."
STRENGTH = "The kept strength is now {now}, and these answers were given at {then}. Check again to know."
# What a card's answers depend on, in words.
DEPENDS_ON = {
    "instruction": "The instruction has",
    "must_not_change": "The prompts that must not change have",
    "weights_sha256": "The adapter has",
    "version": "The way of measuring has",
}
# What somebody does next who has read the verdict.
NEXT = {
    "works": "Next: try it below with questions of your own. You find its files under Runs.",
    "prompting_does_as_well": "Next: take the prompt from “Would asking well do?”, or keep the adapter where calls "
    "have to be short.",
    "no_effect": "Next: train longer, or with more examples of what shall change.",
    "worse": "Next: read the answers that fail under “Rules”, and whether your examples are right on Data; then train "
    "again.",
    "cannot_tell": "Next: bring more examples on Data, of which more are kept aside to test on.",
}
BEHIND = "Behind it, with other settings: {count} more."
ASIDE = (
    "Your rules, your instruction and your prompts for these examples could not be read, so the check goes on without "
    "them. Nothing is deleted: they were put aside as {file}."
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
        # Nothing is known before the page has asked.
        check = gr.Button("Check it", elem_id="check", size="md", scale=0, min_width=200, interactive=False)
        stop = gr.Button(
            "Stop checking", variant="stop", size="md", visible=False, elem_id="check-stop", scale=0
        )
    return VerdictCard(said, table, note, check, stop, gr.Timer(TICK_SECONDS, active=False))


def drawn(now: Seen | None, keeps_looking: bool = False) -> tuple[Any, ...]:
    """How well it does, in the order of `VerdictCard.drawn`; `keeps_looking` where something else is under way."""
    if now is None:
        none = NONE_CHOSEN if adapters.list_all() else NO_ADAPTER
        return layout.answered(PATH, none), "", "", gr.skip(), gr.skip(), gr.skip()
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
    count = words.many(now.card["rows"], "example")
    last = f'<p class="quiet">So far: {count} answered.</p>' if now.is_partial else _checked(now)
    title = '<h2 class="sr">Scorecard</h2>'
    return title + card_view.scorecard(now.card) + card_view.limits(now.card) + last + _next(now)


def note(now: Seen) -> str:
    """What becomes of the check, and what was put aside because nobody could read it."""
    return _of_check(now) + _aside(now)


def _of_check(now: Seen) -> str:
    """The check that is under way, or why it ended without a card, or why the card holds no more."""
    if now.job is not None and now.is_running:
        more = f'<p class="quiet">{BEHIND.format(count=now.waiting)}</p>' if now.waiting else ""
        return progress(now.job, waiting.place(now.job.id)) + more
    if now.job is not None and now.job.status == "failed":
        return tables.problem(f"{now.job.error_message or ''} {now.job.error_remedy or ''}".strip())
    if not now.can_check:
        return f'<p class="quiet">{NO_EXAMPLES}</p>'
    if now.job is not None and now.job.status == "stopped":
        return f'<p class="said" role="status">{GOES_ON}</p>'
    return f'<p class="said" role="status">{html.escape(_outdated(now))}</p>' if now.outdated_by else ""


def _outdated(now: Seen) -> str:
    """What has changed since the card's answers were given."""
    assert now.card is not None
    if "strength" in now.outdated_by:
        then = float(now.card["asked_about"].get("strength", 1.0))
        return STRENGTH.format(now=words.times(now.adapter.strength), then=words.times(then))
    return CHANGED.format(what=DEPENDS_ON.get(now.outdated_by[0], "Something has"))


def _next(now: Seen) -> str:
    """What to do with such a verdict."""
    if now.card is None or now.is_partial or now.outdated_by:
        return ""
    return f'<p class="next">{NEXT.get(now.card["verdict"]["code"], "")}</p>'


def _aside(now: Seen) -> str:
    """Where the settings lie that could not be read, until others are set."""
    file = plans.aside(now.dataset_id)
    if file is None:
        return ""
    return f'<p class="said" role="status">{html.escape(ASIDE.format(file=file))}</p>'


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
    if now.is_running:
        return BEING_MEASURED
    return OF_BEFORE if now.is_of_before else NOT_MEASURED


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
