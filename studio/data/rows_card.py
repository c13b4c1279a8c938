"""The table of rows: search, filter, pages and jump on the server; a row opens in the editor below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs.datasets import lengths, rows
from storage import datasets
from storage.errors import StudioError
from studio import examples, layout
from studio.data import forms, lengths_card, table
from studio.data.found import Problem
from studio.data.table import PAGE_ROWS

EVERY = ""


@dataclass
class RowsCard:
    """The components; `view` is what the table is drawn from, `first` the place of its first row."""

    card: gr.Column
    search: gr.Textbox
    problem: gr.Dropdown
    split: gr.Dropdown
    jump: gr.Textbox
    first: gr.State
    table: gr.HTML
    earlier: gr.Button
    later: gr.Button
    add: gr.Button
    shut: gr.Button
    editor: gr.HTML
    tokens: gr.HTML

    @property
    def view(self) -> list[Any]:
        """Inputs of `drawn` after the dataset and the base model."""
        return [self.first, self.search, self.problem, self.split]

    @property
    def drawn(self) -> list[Any]:
        """Outputs of `drawn`."""
        return [self.first, self.table, self.earlier, self.later]


def build() -> RowsCard:
    """Lay the card out; unseen until rows are to be seen."""
    with gr.Column(elem_classes="card", elem_id="rows-card", visible=False) as card:
        gr.HTML('<h2 tabindex="-1" id="rows-title">Rows</h2>', apply_default_css=False)
        search, problem, split, jump = _filters()
        first = gr.State(0)
        found = gr.HTML(apply_default_css=False, elem_id="rows", js_on_load=layout.SENDS)
        with gr.Row(elem_classes="foot tight"):
            earlier = gr.Button("‹ Previous rows", elem_id="rows-earlier", size="sm", scale=0, min_width=130)
            later = gr.Button("Next rows ›", elem_id="rows-later", size="sm", scale=0, min_width=120)
            add = gr.Button("Add a row", elem_id="add-row", size="sm", scale=0, min_width=110)
            shut = gr.Button("Close the table", elem_id="close-rows", size="sm", scale=0, min_width=130)
        editor = gr.HTML(apply_default_css=False, elem_id="editor", js_on_load=forms.TYPED)
        tokens = gr.HTML(apply_default_css=False, elem_id="row-tokens")
    return RowsCard(
        card, search, problem, split, jump, first, found, earlier, later, add, shut, editor, tokens
    )


def _filters() -> tuple[gr.Textbox, gr.Dropdown, gr.Dropdown, gr.Textbox]:
    with gr.Row(elem_classes="parts"):
        splits = [(words, split) for split, words in table.SPLITS.items()]
        return (
            gr.Textbox(label="Search", max_lines=1, elem_id="row-search", min_width=180, scale=2),
            gr.Dropdown(
                [("any", EVERY)], value=EVERY, label="Problem", elem_id="row-problem", min_width=180, scale=2
            ),
            gr.Dropdown(splits, value=EVERY, label="Show", elem_id="row-split", min_width=130),
            gr.Textbox(label="Go to row", max_lines=1, elem_id="row-jump", min_width=90),
        )


def drawn(
    dataset_id: str, model_id: str, first: int, search: str, problem: str, split: str
) -> tuple[Any, ...]:
    """The page of rows from `first` on: [first, table, earlier, later]; beyond the end, the last page.

    A problem that is gone filters nothing.
    """
    if not dataset_id:
        return (gr.skip(),) * 4
    if problem not in {one["code"] for one in lengths_card.problems(datasets.get(dataset_id), model_id)}:
        problem = EVERY
    page = _page(dataset_id, model_id, first, search, problem, split)
    if not page.rows and page.total:
        first = (page.total - 1) // PAGE_ROWS * PAGE_ROWS
        page = _page(dataset_id, model_id, first, search, problem, split)
    filtered = bool(search or problem or split)
    return (
        first,
        table.table_html(page.rows, first, page.total, filtered),
        gr.Button(interactive=first > 0),
        gr.Button(interactive=first + PAGE_ROWS < page.total),
    )


def _page(
    dataset_id: str, model_id: str, first: int, search: str | None, problem: str | None, split: str | None
) -> rows.RowsPage:
    # What hangs on the base model's tokens is not stored with the dataset.
    numbers = None
    if problem in lengths_card.OF_TOKENS:
        numbers = lengths_card.rows_of(dataset_id, model_id, problem)
    return rows.page_of_rows(
        dataset_id,
        first,
        PAGE_ROWS,
        search=search or "",
        problem=problem or "",
        split=split or "",
        numbers=numbers,
    )


def searched(
    dataset_id: str, model_id: str, _: int, search: str, problem: str, split: str
) -> tuple[Any, ...]:
    """The first page of another search."""
    return drawn(dataset_id, model_id, 0, search, problem, split)


def turned(by: int) -> Any:
    """A handler that turns the page."""

    def turn(
        dataset_id: str, model_id: str, first: int, search: str, problem: str, split: str
    ) -> tuple[Any, ...]:
        return drawn(dataset_id, model_id, max(0, first + by * PAGE_ROWS), search, problem, split)

    return turn


def problems_of(problems: Sequence[Problem], chosen: str) -> gr.Dropdown:
    """The filter by problem, for the problems that there are."""
    named = [(problem["message"], problem["code"]) for problem in problems if problem["rows"]]
    value = chosen if chosen in {code for _, code in named} else EVERY
    return gr.Dropdown([("any", EVERY), *named], value=value)


def opened(dataset_id: str, number: int, model_id: str) -> tuple[str, str]:
    """A row in the editor, and what the model will read of it."""
    row = rows.get_row(dataset_id, number)
    family = datasets.get(dataset_id).family
    return table.editor_html(family, row), tokens_html(dataset_id, row, model_id)


def new(dataset_id: str) -> tuple[str, str]:
    """An empty row in the editor."""
    return table.editor_html(datasets.get(dataset_id).family, None), ""


def tokens_html(dataset_id: str, row: table.Row, model_id: str) -> str:
    """The row token by token, learned ones coloured, cut ones struck out; nothing for a row that nobody learns."""
    if row["split"] == "left_out":
        return ""
    exact = examples.exact_html([row], model_id, lengths.limit(dataset_id, model_id))
    return f"<details><summary>What the model will read</summary>{exact}</details>"


def jumped(dataset_id: str, typed: str, model_id: str) -> tuple[Any, ...]:
    """The row that was asked for by number: [editor, tokens].

    Raises StudioError when there is none.
    """
    digits = typed.strip().replace(",", "")
    if not digits.isdecimal():
        raise StudioError(f"“{typed[:40]}” is no row number.", "Type a number, for example 17.")
    return opened(dataset_id, int(digits), model_id)
