"""Compare: the scorecard says whether it worked; below it one tries it, judges blind, or asks many prompts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from jobs.evaluation import study_runs
from storage import adapters, jobs
from storage.adapters import Adapter
from storage.errors import StudioError
from studio import layout, tables, words
from studio.compare import blind, playground, prompt_sets, scorecard
from studio.compare.part import QUIET
from studio.notices import shown

PATH = "/compare"
NO_ADAPTER = "Here an adapter answers beside the model it came from. There is none yet."
UNKNOWN = "There is no adapter “{named}” here: it may have been deleted. Choose one below."
NOTHING_YET = "This run has no adapter yet, or ended without one. Choose an adapter below."
SET_ADDRESS = "(id) => window.studioAddress({adapter: id, run: null})"
CARDS = {"Try it": playground.build, "Blind A/B": blind.build, "Many prompts": prompt_sets.build}


def asked_for(
    run_id: str | None, adapter_id: str | None, made: Sequence[Adapter]
) -> tuple[Adapter | None, str]:
    """The adapter that the address names, by run or by its own id, or else why none; the newest for no name.

    The newest that somebody wanted: those that a study has made are means to its end.

    Never another one than the named: its verdict would be taken for that one's.
    """
    if adapter_id is None and run_id is None:
        return next((one for one in made if not _is_of_a_study(one)), made[0] if made else None), ""
    named = (one for one in made if one.id == adapter_id or (adapter_id is None and one.job_id == run_id))
    found = next(named, None)
    if found is not None or not made:
        return found, ""
    return None, UNKNOWN.format(named=adapter_id) if adapter_id else NOTHING_YET


def _is_of_a_study(adapter: Adapter) -> bool:
    with suppress(StudioError):  # its run may have been deleted
        return study_runs.is_study(jobs.get(adapter.job_id or ""))
    return False


def open_page(request: gr.Request) -> tuple[Any, ...]:
    """What a visitor sees first: [teaching, missing, content, dropdown]."""
    made = adapters.list_all()
    chosen, why_none = asked_for(layout.query(request, "run"), layout.query(request, "adapter"), made)
    now = time.time()
    choices = [(f"{one.name} · {words.duration(now - one.created_at)} ago", one.id) for one in made]
    return (
        gr.update(visible=not made),
        gr.update(value=tables.problem(why_none) if why_none else "", visible=bool(why_none)),
        gr.update(visible=chosen is not None),
        gr.update(choices=choices, value=chosen.id if chosen else None, visible=bool(made)),
    )


def build(page: gr.Blocks) -> None:
    """Lay the page out; each part finds by itself what it shows of the chosen adapter."""
    layout.bar(PATH)
    said = layout.question(PATH)
    with gr.Column(elem_classes="room"):
        teaching = gr.HTML(layout.empty(NO_ADAPTER, "/train", "Train one"), visible=False)
        missing = gr.HTML(visible=False, elem_id="compare-missing", apply_default_css=False)
        adapter = gr.Dropdown([], label="Adapter", elem_id="compare-adapter", filterable=True, visible=False)
        with gr.Column(visible=False, elem_id="compare") as content:
            parts = [scorecard.build(adapter, said)]
            with gr.Tabs(elem_id="ways"):
                for title, build_card in CARDS.items():
                    with gr.Tab(title):
                        parts.append(build_card(adapter))

    opened = page.load(shown(open_page), None, [teaching, missing, content, adapter], **QUIET)
    adapter.input(
        lambda: (gr.update(visible=False), gr.update(visible=True)), None, [missing, content], **QUIET
    )
    adapter.input(None, adapter, None, js=SET_ADDRESS, **QUIET)
    for part in parts:
        adapter.input(shown(part.choose), adapter, part.outputs, **QUIET)
        filled = opened.then(shown(part.choose), adapter, part.outputs, **QUIET)
        if part.comes_back:
            part.comes_back(filled.then)
    for happened in (change for part in parts for change in part.changes):
        for again, outputs in ((part.again, part.outputs) for part in parts if part.again):
            happened.success(shown(again), adapter, outputs, **QUIET)
