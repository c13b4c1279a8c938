"""Would more examples help? A quick study with fewer examples, its curve, and what it says of more."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go

from jobs.evaluation import study
from storage.errors import StudioError
from studio import charts, tables, words
from studio.compare.seen import Seen

WAITS = ("training", "measuring")
EXPLAINED = (
    '<p class="quiet">Two short trainings, with a quarter and with half of your examples, tell how much the number '
    "of examples matters. It takes about three quarters of the time of the run itself, and can be stopped on Runs.</p>"
)
LINE, AHEAD = "#0d9488", "#b45309"


@dataclass
class StudyCard:
    """The components; the timer runs while the study is under way."""

    said: gr.HTML
    chart: gr.Plot
    start: gr.Button

    @property
    def drawn(self) -> list[Any]:
        """Outputs of `drawn`."""
        return [self.said, self.chart, self.start]


def build() -> StudyCard:
    """Lay the fold out."""
    with gr.Accordion("Would more examples help?", open=False, elem_id="study-fold"):
        said = gr.HTML(apply_default_css=False, elem_id="study")
        # Unseen until there is one: Gradio's sign for an empty plot has a label where none is allowed.
        chart = gr.Plot(show_label=False, container=False, elem_id="study-chart", visible=False)
        with gr.Row(elem_classes="foot tight"):
            start = gr.Button("Find out", size="sm", scale=0, min_width=120, elem_id="start-study")
    return StudyCard(said, chart, start)


def drawn(now: Seen | None) -> tuple[Any, ...]:
    """The fold as it is now, in the order of `StudyCard.drawn`."""
    if now is None:
        return "", gr.Plot(visible=False), gr.skip()
    try:
        found = study.of(now.adapter.id)
    except StudioError as error:
        return tables.problem(str(error)), gr.Plot(visible=False), gr.Button(visible=False)
    points, status = found.get("points") or [], found["status"]
    ended = status in ("none", "failed", "finished")
    return (
        view(found),
        gr.Plot(value=figure(found) if len(points) > 1 else None, visible=len(points) > 1),
        gr.Button(
            "Find out" if status == "none" else "Find out again", visible=ended and status != "finished"
        ),
    )


def begin(adapter_id: str) -> None:
    """Queue the study; one that is under way goes on."""
    study.start(adapter_id)


def is_under_way(adapter_id: str) -> bool:
    """Whether a study runs or waits."""
    try:
        return study.of(adapter_id)["status"] in WAITS
    except StudioError:
        return False


def view(found: Mapping[str, Any]) -> str:
    """What the study says, and its points as a table for those who cannot see the curve."""
    status, sentence = found["status"], html.escape(str(found.get("sentence") or ""))
    if status == "none":
        return EXPLAINED
    if status == "failed":
        return tables.problem(str(found.get("sentence") or "The study ended with a problem."))
    if status in WAITS:
        doing = "Training with fewer examples." if status == "training" else "Measuring what was learned."
        return f'<p class="said" role="status">{sentence or doing} <a href="/runs">See it on Runs</a></p>'
    fit = html.escape(str((found.get("fit") or {}).get("words") or ""))
    if fit in sentence:
        fit = ""
    return f"<p><b>{sentence}</b></p>" + (f'<p class="quiet">{fit}</p>' if fit else "") + _points(found)


def _points(found: Mapping[str, Any]) -> str:
    rows = [
        [
            words.many(point["rows"], "example"),
            f"{point['loss']:.2f}",
            f"{point['low']:.2f}–{point['high']:.2f}",
        ]
        for point in found.get("points") or ()
    ]
    if not rows:
        return ""
    table = tables.table(
        "Held-out loss by the number of examples", ["trained on", "held-out loss", "95 % interval"], rows
    )
    return f"<details><summary>The numbers</summary>{table}</details>"


def figure(found: Mapping[str, Any]) -> go.Figure:
    """Held-out loss by the number of examples, with intervals, and what is expected of twice as many, dashed."""
    points = found["points"]
    drawing = go.Figure(_line(points, LINE, "solid"))
    ahead = (found.get("fit") or {}).get("at_double")
    last = points[-1]
    if ahead:
        expected = {**ahead, "rows": ahead.get("rows") or 2 * last["rows"]}
        drawing.add_trace(
            _line([{**last, "low": last["loss"], "high": last["loss"]}, expected], AHEAD, "dash")
        )
        points = [*points, expected]
    ticks = [point["rows"] for point in points]
    drawing.update_xaxes(
        type="log", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks], showgrid=False, fixedrange=True,
        title={"text": "examples", "standoff": 4},
    )  # fmt: skip
    drawing.update_yaxes(
        title={"text": "held-out loss", "standoff": 4}, fixedrange=True, gridcolor="rgba(120,113,108,.2)"
    )
    return charts.plain(drawing, 260)


def _line(points: Sequence[Mapping[str, Any]], colour: str, dash: str) -> go.Scatter:
    loss = np.array([point["loss"] for point in points])
    above = np.array([point["high"] for point in points]) - loss
    below = loss - np.array([point["low"] for point in points])
    return go.Scatter(
        x=np.array([point["rows"] for point in points]), y=loss, mode="lines+markers",
        line={"color": colour, "dash": dash, "width": 2}, marker={"size": 8},
        error_y={"type": "data", "array": above, "arrayminus": below, "color": colour, "thickness": 1.5},
        hovertemplate="%{x:,} examples: %{y:.2f}<extra></extra>",
    )  # fmt: skip
