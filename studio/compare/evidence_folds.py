"""What else stands behind a verdict, folded away: how it learned, other measures, the answers, and another check."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from storage import adapters, datasets
from storage.adapters import Adapter
from storage.datasets import Dataset
from studio import layout, words
from studio.compare import card_view, film_strip, reader
from studio.compare.seen import Seen

ROWS = [("20, quickest", 20), ("40", 40), ("100", 100), ("200, narrowest intervals", 200)]
USUAL_ROWS = 40
MOST_OTHERS = 4
NO_FILM = '<p class="quiet">No answers were kept while it learned.</p>'


@dataclass
class EvidenceFolds:
    """The components; `dataset`, `rows` and `others` say what the next check is made of."""

    learned: gr.HTML
    measures: gr.HTML
    answers_fold: gr.Accordion
    answers: gr.HTML
    dataset: gr.Dropdown
    rows: gr.Dropdown
    others: gr.Dropdown

    @property
    def drawn(self) -> list[Any]:
        """Outputs of `drawn`."""
        return [self.learned, self.measures, self.answers_fold, self.answers]

    @property
    def check(self) -> list[Any]:
        """Outputs of `offered`."""
        return [self.dataset, self.others]


def build() -> EvidenceFolds:
    """Lay the folds out."""
    with gr.Accordion("While it learned", open=False, elem_id="learned-fold"):
        learned = gr.HTML(apply_default_css=False, elem_id="learned")
    with gr.Accordion("Other measures", open=False, elem_id="measures-fold"):
        measures = gr.HTML(apply_default_css=False, elem_id="measures")
    with gr.Accordion("The answers, row by row", open=False, elem_id="answers-fold") as answers_fold:
        answers = gr.HTML(apply_default_css=False, elem_id="all-answers", js_on_load=layout.SENDS)
    with gr.Accordion(
        "Check on other examples, on more, or beside other adapters", open=False, elem_id="check-fold"
    ):
        with gr.Row():
            dataset = gr.Dropdown([], label="Examples", elem_id="check-dataset", min_width=220)
            rows = gr.Dropdown(
                ROWS,
                value=USUAL_ROWS,
                label="Held-out examples to answer",
                elem_id="check-rows",
                min_width=220,
            )
        others = gr.Dropdown(
            [], multiselect=True, max_choices=MOST_OTHERS, value=[], label="Other adapters beside it",
            info="Adapters of the same base model.", elem_id="check-others",
        )  # fmt: skip
    return EvidenceFolds(learned, measures, answers_fold, answers, dataset, rows, others)


def drawn(now: Seen | None) -> tuple[Any, ...]:
    """The folds as they are now, in the order of `EvidenceFolds.drawn`."""
    card = now.card if now else None
    if card is None:
        none = '<p class="quiet">It is known as soon as there is a scorecard.</p>'
        return none, none, gr.Accordion(label="The answers, row by row"), none
    count = words.many(len(card["answers"]), "row")
    return (
        learned(card.get("curve"), card.get("film")),
        card_view.measures(card) or '<p class="quiet">Nothing else was measured yet.</p>',
        gr.Accordion(label=f"The answers, row by row: {count}"),
        read(card, 0),
    )


def learned(curve: Any, film: Any) -> str:
    """What the curve says, in words, and the same prompts answered while it learned."""
    said = f"<p><b>{html.escape(curve['sentence'])}</b></p>" if curve else ""
    return said + (film_strip.strip(film) or NO_FILM)


def read(card: card_view.Card, place: int) -> str:
    """One of all answered rows."""
    return reader.row_html(card, reader.EVERY, "adapted", place) if card["answers"] else ""


def offered(now: Seen | None) -> tuple[Any, ...]:
    """What a check can be made on: [examples, other adapters]; the adapter's own examples are chosen."""
    if now is None:
        return gr.skip(), gr.skip()
    found = {one.id: one for one in datasets.families() if one.held_out_rows}
    if now.dataset is not None:
        found = {now.dataset.id: now.dataset} | found
    choices = [(_named(one, now.adapter), one.id) for one in found.values()]
    beside = [one for one in adapters.list_all() if one.base_model_id == now.adapter.base_model_id]
    others = [(one.name, one.id) for one in beside if one.id != now.adapter.id]
    return (
        gr.Dropdown(choices=choices, value=now.dataset_id if now.dataset else None),
        gr.Dropdown(choices=others, value=[], visible=bool(others)),
    )


def _named(dataset: Dataset, adapter: Adapter) -> str:
    own = ", its own" if dataset.id == adapter.dataset_id else ""
    return f"{dataset.name}: {words.many(dataset.held_out_rows, 'held-out example')}{own}"
