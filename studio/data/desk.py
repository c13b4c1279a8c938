"""What is under way on the Data page, in one card that stays in sight: progress with Cancel, or what went wrong."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from storage.datasets import Dataset
from storage.errors import StudioError
from studio import imports, tables
from studio.data import mapping
from studio.data.material import Asked
from studio.imports import Task, Work

TICK_SECONDS = 1


@dataclass
class Desk:
    """The card's components; `work_id` is what it follows, `asked_id` the work whose question is open."""

    work_id: gr.Textbox
    asked_id: gr.Textbox
    card: gr.Column
    said: gr.HTML
    cancel: gr.Button
    close: gr.Button
    timer: gr.Timer

    @property
    def all(self) -> list[Any]:
        """What `told` fills."""
        return [self.card, self.said, self.cancel, self.close, self.timer]


def build(work_id: gr.Textbox, asked_id: gr.Textbox) -> Desk:
    """Lay the card out; unseen while nothing is under way."""
    with gr.Column(elem_classes="card", elem_id="under-way", visible=False) as card:
        said = gr.HTML(apply_default_css=False)
        with gr.Row(elem_classes="foot"):
            cancel = gr.Button("Cancel", variant="stop", elem_id="cancel-work", scale=0, min_width=100)
            close = gr.Button("Close", elem_id="close-problem", scale=0, min_width=100)
    return Desk(work_id, asked_id, card, said, cancel, close, gr.Timer(TICK_SECONDS, active=False))


def told(work: Work | None) -> tuple[Any, ...]:
    """The card for a piece of work: unseen when all is well."""
    if work is not None and work.is_alive():
        bar = tables.meter("Progress", work.share()) if work.total else ""
        body = f'<p role="status">{html.escape(work.sentence())}</p>{bar}'
        return _shown(body, cancel=not work.stopping.is_set())
    if work is not None and work.problem:
        return _shown(tables.problem(work.problem), close=True)
    return gr.Column(visible=False), "", gr.skip(), gr.skip(), gr.Timer(active=False)


def _shown(body: str, cancel: bool = False, close: bool = False) -> tuple[Any, ...]:
    return (
        gr.Column(visible=True),
        body,
        gr.Button(visible=cancel),
        gr.Button(visible=close),
        gr.Timer(active=not close),
    )


def follow(work_id: str, asked_id: str, dataset_id: str) -> tuple[Any, ...]:
    """What has come of the work: [work id, asked id, dataset id, editor, card…, mapping step…].

    A new dataset is shown, a question opens the mapping step, and what was asked stays open until it is answered.
    """
    work = imports.of(work_id)
    keep: tuple[Any, ...] = (gr.skip(),) * 4
    if work is None or work.is_alive() or work.problem:
        return *keep, *told(work), *mapping.kept()
    if isinstance(work.result, Asked):
        return "", work_id, gr.skip(), gr.skip(), *told(None), *mapping.opened(work.result)
    if isinstance(work.result, Dataset):
        came_from_editor = "" if work.origin == "editor" else gr.skip()
        return "", "", work.result.id, came_from_editor, *told(None), *mapping.closed()
    return "", gr.skip(), gr.skip(), gr.skip(), *told(None), *mapping.kept()  # cancelled


def begin_change(dataset_id: str, task: Task, said: str, origin: str = "") -> str:
    """Change a dataset in the background; the work's id.

    Raises StudioError while another change of it is under way: one of the two would be lost from sight.
    """
    if imports.under_way("change", dataset_id):
        raise StudioError("Another change of these examples is under way.", "Wait a moment, then try again.")
    work = imports.start("change", task, said, dataset_id, origin)
    work.ends_soon()
    return work.id


def begin_import(task: Task, said: str) -> str:
    """Import something in the background; the work's id."""
    work = imports.start("import", task, said)
    work.ends_soon()
    return work.id
