"""Compare: the scorecard says whether it worked; below it one tries it, judges blind, or asks many prompts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gradio as gr

from storage import adapters
from storage.adapters import Adapter
from studio import layout, words
from studio.compare import blind, playground, prompt_sets, scorecard
from studio.compare.part import QUIET
from studio.notices import shown

PATH = "/compare"
NO_ADAPTER = "Here an adapter answers beside the model it came from. There is none yet."
SET_ADDRESS = "(id) => window.studioAddress({adapter: id, run: null})"
CARDS = {"Try it": playground.build, "Blind A/B": blind.build, "Many prompts": prompt_sets.build}


def asked_for(run_id: str | None, adapter_id: str | None, made: Sequence[Adapter]) -> Adapter | None:
    """The adapter that the address names, by run or by its own id, else the newest one."""
    named = (one for one in made if one.id == adapter_id or (adapter_id is None and one.job_id == run_id))
    return next(named, made[0] if made else None)


def open_page(request: gr.Request) -> tuple[Any, ...]:
    """What a visitor sees first: [teaching, content, dropdown]."""
    made = adapters.list_all()
    chosen = asked_for(layout.query(request, "run"), layout.query(request, "adapter"), made)
    now = time.time()
    choices = [(f"{one.name} · {words.duration(now - one.created_at)} ago", one.id) for one in made]
    return (
        gr.update(visible=not made),
        gr.update(visible=bool(made)),
        gr.update(choices=choices, value=chosen.id if chosen else None),
    )


def build(page: gr.Blocks) -> None:
    """Lay the page out; each part finds by itself what it shows of the chosen adapter."""
    layout.bar(PATH)
    said = layout.question(PATH)
    with gr.Column(elem_classes="room"):
        teaching = gr.HTML(layout.empty(NO_ADAPTER, "/train", "Train one"), visible=False)
        with gr.Column(visible=False, elem_id="compare") as content:
            adapter = gr.Dropdown([], label="Adapter", elem_id="compare-adapter", filterable=True)
            parts = [scorecard.build(adapter, said)]
            with gr.Tabs(elem_id="ways"):
                for title, build_card in CARDS.items():
                    with gr.Tab(title):
                        parts.append(build_card(adapter))

    opened = page.load(shown(open_page), None, [teaching, content, adapter], **QUIET)
    adapter.input(None, adapter, None, js=SET_ADDRESS, **QUIET)
    for part in parts:
        for happened in (opened.then, adapter.input):
            happened(shown(part.choose), adapter, part.outputs, **QUIET)
