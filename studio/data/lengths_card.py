"""How long the examples are: in tokens of the base model as soon as they are counted, until then in characters."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from jobs.base_models import catalogue
from jobs.datasets import lengths
from jobs.datasets.lengths import Counts
from storage import datasets
from storage.datasets import Dataset
from studio import charts, imports, tables
from studio.data.found import Problem
from studio.imports import Report, Task, Work

TICK_SECONDS = 1
# Problems that only the tokens of a base model tell.
OF_TOKENS = ("too_long", "nothing_to_learn")
NO_MODEL = "They are counted in tokens as soon as the base model is on this machine."


@dataclass
class LengthsCard:
    """The components; the timer runs while tokens are counted."""

    said: gr.HTML
    chart: gr.Plot
    button: gr.Button
    timer: gr.Timer

    @property
    def all(self) -> list[Any]:
        """Outputs of `drawn`."""
        return [self.said, self.chart, self.button, self.timer]


def build() -> LengthsCard:
    """Lay the card out."""
    with gr.Column(elem_classes="card"):
        said = gr.HTML(apply_default_css=False, elem_id="lengths-words")
        # Unseen until there is one: Gradio's sign for an empty plot has a label where none is allowed.
        chart = gr.Plot(show_label=False, container=False, elem_id="lengths", visible=False)
        with gr.Row(elem_classes="foot"):
            button = gr.Button(
                "Stop counting", size="sm", visible=False, elem_id="count-tokens", scale=0, min_width=140
            )
    return LengthsCard(said, chart, button, gr.Timer(TICK_SECONDS, active=False))


def begin(dataset_id: str, model_id: str) -> Work | None:
    """Count the tokens in the background where that takes a while; None where it is done, or cannot be."""
    if catalogue.find(model_id).folder is None or lengths.counts_at_once(dataset_id, model_id) is not None:
        return None
    return imports.count_once(
        _task(dataset_id, model_id), "Counting the tokens", _about(dataset_id, model_id)
    )


def pressed(dataset_id: str, model_id: str) -> tuple[Any, ...]:
    """Stop counting, or count after all."""
    work = imports.newest("count", _about(dataset_id, model_id))
    if work is not None and work.is_alive():
        imports.stop(work.id)
        work.ends_soon()
    else:
        begin(dataset_id, model_id)
    return drawn(dataset_id, model_id)


def _about(dataset_id: str, model_id: str) -> str:
    return f"{dataset_id} {model_id}"


def _task(dataset_id: str, model_id: str) -> Task:
    def task(report: Report, should_stop: Callable[[], bool]) -> Counts:
        return lengths.count(dataset_id, model_id, report, should_stop)

    return task


def problems(dataset: Dataset, model_id: str) -> list[Problem]:
    """What was found in a dataset, with what only its tokens tell, as far as they are counted."""
    of_tokens = [found.as_json() for found in lengths.problems(dataset.id, model_id)]
    return sorted(
        [*of_tokens, *dataset.problems], key=lambda one: ("error", "warning", "info").index(one["severity"])
    )


def rows_of(dataset_id: str, model_id: str, code: str) -> list[int]:
    """All rows of a problem that the tokens tell."""
    return next((one.rows for one in lengths.problems(dataset_id, model_id) if one.code == code), [])


def drawn(dataset_id: str, model_id: str) -> tuple[Any, ...]:
    """The card as it is now, in the order of `LengthsCard.all`."""
    counts = lengths.counts(dataset_id, model_id)
    if counts is not None and len(counts.tokens):
        return _in_tokens(counts, dataset_id, model_id)
    work = imports.newest("count", _about(dataset_id, model_id))
    counting = work is not None and work.is_alive()
    histogram = datasets.get(dataset_id).summary.get("characters") or {}
    figure = charts.characters(histogram["edges"], histogram["answers"]) if histogram else None
    offered = catalogue.find(model_id).folder is not None
    return (
        _titled("answers, in characters", _state(work, offered)),
        gr.Plot(value=figure, visible=figure is not None),
        gr.Button("Stop counting" if counting else "Count the tokens", visible=offered),
        gr.Timer(active=counting),
    )


def _state(work: Work | None, offered: bool) -> str:
    if work is None or not offered:
        return f'<p class="quiet">{"" if offered else NO_MODEL}</p>'
    if work.problem:
        return tables.problem(work.problem)
    if not work.is_alive():
        return '<p class="quiet">The tokens were not counted.</p>'
    bar = tables.meter("Counting tokens", work.share()) if work.total else ""
    return f'<p class="quiet" role="status">{html.escape(work.sentence())}</p>{bar}'


def _in_tokens(counts: Counts, dataset_id: str, model_id: str) -> tuple[Any, ...]:
    typical, longest = int(np.median(counts.tokens)), int(counts.tokens.max())
    limit = lengths.limit(dataset_id, model_id)
    cut = int((counts.tokens > limit).sum()) if limit else 0
    end = f"{cut:,} are cut at {limit:,}." if cut else "Nothing is cut."
    name = html.escape(catalogue.find(model_id).name)
    return (
        _titled(
            "examples, in tokens (pieces of words)",
            f'<p class="quiet">Typical {typical:,}, longest {longest:,}. {end} Counted as {name} reads them.</p>',
        ),
        gr.Plot(value=charts.lengths(counts.tokens, limit if cut else None), visible=True),
        gr.Button(visible=False),
        gr.Timer(active=False),
    )


def _titled(unit: str, body: str) -> str:
    return f"<h2>Length of {unit}</h2>{body}"
