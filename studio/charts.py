"""Numbers → what plotly draws. Pure functions; the live chart sends points, never figures."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from jobs import recovery
from storage import jobs, metrics
from storage.metrics import Metric
from studio import offers, words

Point = tuple[int, float | None]

MAX_POINTS = 2000
BASE, ADAPTER, LIMIT = "#94a3b8", "#0d9488", "#b91c1c"
# The curves of the live chart, as points_json names them, and what a run calls them.
CURVES = {"l": "loss", "h": "held_out_loss"}
OPEN = {"queued", "running", "stopping"}


def thinned(points: Sequence[Point], most: int = MAX_POINTS) -> list[Point]:
    """At most `most` points (4 or more) with the same first, last, highest and lowest ones.

    Each bucket keeps its minimum and its maximum (in order), so that no spike vanishes; a bucket without any
    number keeps one None, so that a gap stays a gap.
    """
    if len(points) <= most:
        return list(points)
    inner, buckets = points[1:-1], (most - 2) // 2
    edges = np.linspace(0, len(inner), buckets + 1).astype(int)
    kept: list[Point] = [points[0]]
    for start, end in itertools.pairwise(edges):
        numbers = [(point[1], point) for point in inner[start:end] if point[1] is not None]
        kept += sorted({min(numbers)[1], max(numbers)[1]}) if numbers else [inner[start]]
    return [*kept, points[-1]]


def _points(found: Sequence[Metric], name: str) -> list[Point]:
    return [(m.step, None if m.value is None else float(f"{m.value:.4g}")) for m in found if m.name == name]


def points_json(job_id: str, after: int, told: int = 0) -> str:
    """What the live chart asks for every second: the points since a cursor (0 = all, thinned) and the state.

    `told` is how many sentences about the run's way of computing the page shows already.

    `c` cursor, `l` and `h` training and held-out loss as [step, value], `s`/`t` step and total,
    `e` seconds left, `k` tokens/s, `r` steps/s, `q` status, `p` what happens now, `b` its done and total,
    `n` all sentences when there are not `told` many, `f` what a rehearsal foresaw, `o` what is offered (a key that
    differs whenever that does), `v` the state that is more than its status, `w` why it does not get on,
    `i` what became of earlier attempts.

    Raises:
        StudioError: no job has this id.
    """
    job = jobs.get(job_id)
    most = 10_000_000 if after == 0 else 500
    found, cursor = metrics.after(job_id, after, most, CURVES.values())
    answer: dict[str, object] = {"c": cursor}
    for key, name in CURVES.items():
        points = _points(found, name)
        if points or after == 0:
            answer[key] = thinned(points)
    offered = offers.of(job)
    answer |= {"s": job.step, "t": job.total_steps, "q": job.status, "o": offered.key()}
    if (state := words.curve(job)) != job.status:
        answer["v"] = state
    if waits := words.standing(job, offered.place):
        answer["w"] = waits
    if job.interruptions or job.resumed_from is not None:
        answer["i"] = recovery.sentences(job)
    sentences = words.how(job)
    if len(sentences) != told:
        answer["n"] = sentences
    if foreseen := words.foreseen(job):
        answer["f"] = foreseen
    if job.status in OPEN:
        if job.seconds_left is not None:
            answer["e"] = round(job.seconds_left)
        if job.tokens_per_second:
            answer["k"] = round(job.tokens_per_second)
        if job.steps_per_second:
            answer["r"] = float(f"{job.steps_per_second:.2g}")
        answer["p"] = job.phase[:80]
        if job.phase_total:
            answer["b"] = [job.phase_done, job.phase_total]
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False)


def plain(figure: go.Figure, height: int) -> go.Figure:
    """Transparent, without tools and grid, text in a grey that is readable on light and dark."""
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#78716c", "size": 12},
        showlegend=False,
        dragmode=False,
    )


def to_scale(out_features: int, in_features: int, rank: int) -> go.Figure:
    """W (out × in) beside B (out × rank) and A (rank × in), all three in one scale, in plotly's own units.

    A strip thinner than 0.8 % of the longer side would vanish; it is drawn that thin and no thinner.
    """
    longest = max(out_features, in_features)
    height, width = out_features / longest, in_features / longest
    strip = max(rank / longest, 0.008)
    gap = 0.22
    figure = go.Figure()
    b_left, a_left = width + gap, width + gap + strip + gap

    def box(
        left: float, wide: float, high: float, colour: str, name: str, hover: str, label_below: str
    ) -> None:
        bottom = -high / 2
        figure.add_trace(
            go.Scatter(
                x=np.array([left, left + wide, left + wide, left, left]),
                y=np.array([bottom, bottom, bottom + high, bottom + high, bottom]),
                fill="toself", fillcolor=colour, line={"color": colour, "width": 1}, mode="lines",
                hoveron="fills", text=hover, hoverinfo="text", name=name,
            )
        )  # fmt: skip
        figure.add_annotation(
            x=left + wide / 2, y=bottom - 0.03, yanchor="top", text=label_below, showarrow=False
        )

    box(0, width, height, BASE, "W", f"W, frozen: {out_features * in_features:,} values",
        f"<b>W</b> {out_features:,} × {in_features:,}<br>frozen")  # fmt: skip
    box(
        b_left,
        strip,
        height,
        ADAPTER,
        "B",
        f"B: {out_features * rank:,} values",
        f"<b>B</b> {out_features:,} × {rank:,}",
    )
    box(
        a_left,
        width,
        strip,
        ADAPTER,
        "A",
        f"A: {rank * in_features:,} values",
        f"<b>A</b> {rank:,} × {in_features:,}",
    )
    for position, sign in ((width + gap / 2, "+"), (b_left + strip + gap / 2, "·")):
        figure.add_annotation(x=position, y=0, text=sign, showarrow=False, font={"size": 24})
    figure.update_xaxes(visible=False, range=[-0.1, a_left + width + 0.1], fixedrange=True)
    figure.update_yaxes(
        visible=False,
        range=[-height / 2 - 0.25, height / 2 + 0.05],
        fixedrange=True,
        scaleanchor="x",
        scaleratio=1,
    )
    return plain(figure, 240)


def lengths(token_counts: Sequence[int], limit: int | None = None) -> go.Figure:
    """Histogram of example lengths in tokens, with the limit as a dashed line when there is one.

    It is counted here: a million lengths would be eight megabytes for the browser.
    """
    heights, edges = np.histogram(np.asarray(token_counts), bins=24)
    spans = [f"{low:,.0f} to {high:,.0f}" for low, high in itertools.pairwise(edges)]
    figure = _bars((edges[:-1] + edges[1:]) / 2, heights, spans, "tokens")
    if limit is not None:
        figure.add_vline(x=limit, line={"dash": "dash", "color": LIMIT}, annotation_text="limit")
    return figure


def characters(edges: Sequence[int], counts: Sequence[int]) -> go.Figure:
    """Histogram of answers by their characters; each bin reaches from its edge to the next, the last has no end."""
    last = max((place for place, count in enumerate(counts) if count), default=0)
    spans = [f"{low:,} to {high:,}" for low, high in itertools.pairwise(edges)] + [f"{edges[-1]:,} or more"]
    shown = [span.replace(" to ", "–") for span in spans[: last + 1]]
    return _bars(np.array(shown), np.array(counts[: last + 1]), spans[: last + 1], "characters")


def _bars(x: np.ndarray, heights: np.ndarray, spans: Sequence[str], unit: str) -> go.Figure:
    """One bar for each span of lengths."""
    hover = f"%{{y:,}} examples with %{{customdata}} {unit}<extra></extra>"
    bars = go.Bar(x=x, y=heights, marker={"color": ADAPTER}, customdata=spans, hovertemplate=hover)
    figure = go.Figure(bars)
    figure.update_xaxes(showgrid=False, fixedrange=True, title={"text": unit, "standoff": 4})
    figure.update_yaxes(visible=False, fixedrange=True)
    return plain(figure, 190).update_layout(bargap=0.08)
