"""What the Data page shows of one dataset: the answer, examples, problems, lengths, versions."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs.datasets import checks, diffs, lengths, rows, versions
from storage import datasets
from storage.datasets import Dataset
from studio import examples, layout, words
from studio.data import found, history, lengths_card, rows_card, see
from studio.data.found import Problem
from studio.data.history import MOST_CHANGES
from studio.data.lengths_card import LengthsCard
from studio.data.rows_card import RowsCard

PATH = "/"
PREVIEW_ROWS = 3
TEACHING = (
    "Bring a few dozen examples of how an answer should look: a message and the answer you want. "
    "Or start from a sample set."
)
OLD_VERSION = "This is an older version. The newest is under Versions."


@dataclass
class View:
    """The components that `drawn` fills, in the order of `all`."""

    answer: gr.HTML
    card: gr.Row
    preview: gr.HTML
    problems: gr.HTML
    changed: gr.HTML
    summary: gr.HTML
    versions_card: gr.Column
    versions: gr.HTML
    diff: gr.HTML
    onward: gr.HTML
    # Not filled by `drawn`.
    earlier: gr.Button
    later: gr.Button
    exactly: gr.Button
    edit: gr.Button
    differently: gr.Button

    @property
    def all(self) -> list[Any]:
        """Outputs of `drawn`."""
        return [
            *(self.answer, self.card, self.preview, self.problems, self.changed, self.summary),
            *(self.versions_card, self.versions, self.diff, self.onward),
        ]


def build(answer: gr.HTML) -> tuple[View, LengthsCard, RowsCard]:
    """Lay it out under the answer; unseen before there are examples."""
    with gr.Row(equal_height=False, visible=False) as card:
        with gr.Column(scale=3, min_width=320):
            with gr.Column(elem_classes="card"):
                preview = gr.HTML(apply_default_css=False, elem_id="examples")
                with gr.Row(elem_classes="foot tight"):
                    earlier = _small("‹ Previous", "previous-examples", 90)
                    later = _small("Next examples ›", "next-examples", 130)
                    exactly = _small("Exact text the model reads", "exact-text", 190)
                    edit = _small("Edit rows", "edit-rows", 90)
                    differently = _small("Read it differently", "read-differently", 140)
            with gr.Column(elem_classes="card"):
                summary = gr.HTML(apply_default_css=False, elem_id="summary")
        with gr.Column(scale=2, min_width=300):
            with gr.Column(elem_classes="card"):
                problems = gr.HTML(apply_default_css=False, elem_id="problems", js_on_load=layout.SENDS)
                changed = gr.HTML(apply_default_css=False, elem_id="changed", js_on_load=layout.SENDS)
            lengths = lengths_card.build()
    table = rows_card.build()
    with gr.Column(visible=False) as versions_card, gr.Accordion("Versions", open=False, elem_id="versions"):
        listed = gr.HTML(apply_default_css=False, elem_id="version-list", js_on_load=layout.SENDS)
        diff = gr.HTML(apply_default_css=False, elem_id="diff")
    onward = gr.HTML(apply_default_css=False, elem_id="onward", visible=False)
    view = View(
        answer, card, preview, problems, changed, summary, versions_card, listed, diff, onward,
        earlier, later, exactly, edit, differently,
    )  # fmt: skip
    return view, lengths, table


def _small(text: str, elem_id: str, min_width: int) -> gr.Button:
    return gr.Button(text, size="sm", elem_id=elem_id, scale=0, min_width=min_width)


def drawn(dataset_id: str, first: int, exact: bool, model_id: str) -> tuple[Any, ...]:
    """Everything for one dataset (or for none yet), in the order of `View.all`."""
    if not dataset_id:
        return layout.answered(PATH, TEACHING), *[gr.skip()] * 9
    dataset = datasets.get(dataset_id)
    problems = lengths_card.problems(dataset, model_id)
    family = versions.history(dataset_id)
    can_redo = any(one.parent_id == dataset_id for one in family)
    return (
        layout.answered(PATH, verdict(dataset, problems)),
        gr.Row(visible=True),
        preview_of(dataset_id, first, exact, model_id),
        problems_html(dataset, problems),
        found.changed_html(dataset, can_redo),
        f"<h2>What is in it</h2>{see.summary_html(dataset.summary)}",
        gr.Column(visible=len(family) > 1),
        history.versions_html(family, dataset_id, time.time()),
        "",
        gr.HTML(onward_html(dataset), visible=True),
    )


def verdict(dataset: Dataset, problems: Sequence[Problem]) -> str:
    """The answer to the page's question; an old version says that it is one."""
    old = "" if dataset.is_current else f" {OLD_VERSION}"
    return found.verdict(dataset, problems) + old


def problems_html(dataset: Dataset, problems: Sequence[Problem]) -> str:
    """The problems of a dataset, with those that hang on the base model's tokens where they are known."""
    return found.problems_html(problems, checks.fix_all_codes(problems, dataset.rows))


def preview_of(dataset_id: str, first: int, exact: bool, model_id: str) -> str:
    """Three examples to learn from, as conversations or as the exact text with the learned tokens coloured."""
    if not dataset_id:
        return ""
    dataset = datasets.get(dataset_id)
    page = rows.page_of_rows(dataset_id, first, PREVIEW_ROWS, split="train")
    body = (
        examples.exact_html(page.rows, model_id, lengths.limit(dataset_id, model_id))
        if exact
        else "".join(examples.conversation_html(row) for row in page.rows)
    )
    title = "What the model will read" if exact else "What the model will learn"
    source = f"{dataset.source_name} · {dataset.format.upper()} · {words.many(dataset.rows, 'row')}"
    return (
        f'<div class="from"><h2>{title}</h2><span class="pill">{html.escape(source)}</span></div>{body}'
        f'<p class="quiet">Examples {first + 1:,}–{first + len(page.rows):,} of {page.total:,} to learn from · '
        f"{dataset.held_out_rows:,} more are kept aside to test on, locked</p>"
    )


def onward_html(dataset: Dataset) -> str:
    """The page's one primary button, and the way to other examples."""
    link = html.escape(layout.address("/model", dataset=dataset.id))
    return (
        '<p class="onward"><a class="quiet" href="#bring">Bring other examples</a>'
        f'<a class="button" href="{link}">Next: choose a model</a></p>'
    )


def listed(dataset_id: str) -> gr.Dropdown:
    """The examples from before: the current version of each, and the one that is shown."""
    choices = [(f"{one.name} ({words.many(one.rows, 'example')})", one.id) for one in datasets.families()]
    if dataset_id and dataset_id not in {id for _, id in choices}:
        old = datasets.get(dataset_id)
        choices.insert(0, (f"{old.name}, version {old.version}", old.id))
    return gr.Dropdown(choices=choices, value=dataset_id or None, visible=bool(choices))


def counted(dataset_id: str, model_id: str) -> tuple[Any, ...]:
    """What the tokens tell once they are counted: [answer, problems]."""
    dataset = datasets.get(dataset_id)
    problems = lengths_card.problems(dataset, model_id)
    return layout.answered(PATH, verdict(dataset, problems)), problems_html(dataset, problems)


def diff_of(version_id: str) -> str:
    """What a version changed of its parent."""
    dataset = datasets.get(version_id)
    if dataset.parent_id is None:
        return ""
    one = diffs.diff(dataset.parent_id, dataset.id, 0, MOST_CHANGES)
    return history.diff_html(
        f"What version {dataset.version} changed", one.added, one.removed, one.changed, one.totals
    )
