"""What LoRA saves, live beside the rank slider: W, B and A to scale, the counts, the memory, any pair of numbers."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs.base_models import catalogue
from jobs.lora import savings, targets
from jobs.training.settings import check_ranks, from_json
from storage.errors import StudioError
from studio import charts, layout, words
from studio.notices import shown

LIVE: dict[str, Any] = {**layout.DIRECT, "trigger_mode": "always_last"}


@dataclass
class SavingsView:
    """The calculator's components; `follow` ties them to the fields that it depends on.

    `bars` and `formula` hang on the examples as well: whoever estimates the run fills them with `memory_html`
    and `formula_html`.
    """

    matrix: gr.Dropdown
    picture: gr.Plot
    facts: gr.HTML
    bars: gr.HTML
    tables: gr.HTML
    formula: gr.HTML

    def follow(
        self,
        model: gr.Radio,
        rank: gr.Slider,
        target: gr.Radio,
        layers: gr.components.Component,
        rank_pattern: gr.components.Component,
        use_dora: gr.components.Component,
    ) -> None:
        """Recalculate whenever one of these changes."""
        followed = [model, rank, target, layers, rank_pattern, use_dora]
        outputs = [self.matrix, self.picture, self.facts, self.tables]
        for changed in (*(field.change for field in followed), self.matrix.input):
            changed(shown(show), [*followed, self.matrix], outputs, **LIVE)


def build() -> SavingsView:
    """Lay the calculator out in the current column."""
    gr.HTML("<h2>What LoRA saves</h2>", apply_default_css=False)
    matrix = gr.Dropdown([], label="One matrix of the model", elem_id="matrix")
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=260):
            picture = gr.Plot(show_label=False, container=False, elem_id="to-scale")
        with gr.Column(scale=2, min_width=180):
            facts = gr.HTML(apply_default_css=False, elem_id="savings")
    bars = gr.HTML(apply_default_css=False, elem_id="memory")
    with gr.Accordion("How the memory is counted", open=False):
        formula = gr.HTML(apply_default_css=False)
    with gr.Accordion("Every matrix, every layer", open=False):
        tables = gr.HTML(apply_default_css=False)
    with gr.Accordion("Your own numbers: 40,000 × 10,000 at rank 2", open=False, elem_id="own-numbers"):
        with gr.Row():
            high = gr.Number(40_000, label="Rows", precision=0, min_width=100, elem_id="own-rows")
            wide = gr.Number(10_000, label="Columns", precision=0, min_width=100, elem_id="own-columns")
            own_rank = gr.Number(2, label="Rank", precision=0, min_width=80, elem_id="own-rank")
        own = gr.HTML(free_form_html(40_000, 10_000, 2), apply_default_css=False, elem_id="own-result")
    for field in (high, wide, own_rank):
        field.change(shown(free_form_html), [high, wide, own_rank], [own], **LIVE)
    return SavingsView(matrix, picture, facts, bars, tables, formula)


def free_form_html(rows: float, columns: float, rank: float) -> str:
    """The counts for any two numbers, or the sentence that says what is wrong with them."""
    try:
        result = savings.free_form(rows, columns, rank)
    except StudioError as error:
        return f'<p class="wrong" role="alert">{html.escape(str(error))}</p>'
    return (
        f"<p>{result['full_parameters']:,} → <strong>{result['lora_parameters']:,}</strong> "
        f"({fraction(result['reduction'])})</p>"
    )


def fraction(reduction: float) -> str:
    """How many times fewer, as a fraction: 4000 -> "1/4,000", 52.4 -> "1/52"."""
    return f"1/{reduction:,.0f}" if reduction >= 10 else f"1/{reduction:.1f}"


def show(
    model_id: str,
    rank: float,
    target: str,
    layers: str,
    rank_pattern: str,
    use_dora: bool,
    path: str | None,
) -> tuple[Any, ...]:
    """The matrices to choose from, the picture, the facts and the tables for a model and an adapter on it."""
    model = catalogue.find(model_id)
    matrices = catalogue.matrices_of(model)
    if not matrices:
        note = '<p class="quiet">The shapes of this model are known once it has been fetched.</p>'
        return gr.Dropdown(choices=[], value=None), None, note, ""
    try:
        settings = from_json({"layers": layers, "rank_pattern": rank_pattern})
        chosen = targets.choose(matrices, target, settings.layers)
        ranks = targets.ranks(chosen, check_ranks(settings, rank, model.shape), settings.rank_pattern)
    except StudioError:  # half-typed; what is wrong stands above Start
        return (gr.skip(),) * 4
    names = {
        matrix.path: f"{matrix.name} · layer {matrix.layer} · {matrix.out_features:,} × {matrix.in_features:,}"
        for matrix in chosen
    }
    number = next((i for i, matrix in enumerate(chosen) if matrix.path == path), 0)
    one, own_rank = chosen[number], ranks[number]
    total = savings.savings(
        model, int(rank), target, settings.layers, rank_pattern=settings.rank_pattern, use_dora=use_dora
    )
    return (
        gr.Dropdown(choices=[(name, key) for key, name in names.items()], value=one.path),
        charts.to_scale(one.out_features, one.in_features, own_rank),
        facts_html(one, total, own_rank, model, use_dora),
        tables_html(total),
    )


def facts_html(
    matrix: targets.Matrix,
    total: savings.Savings,
    rank: int,
    model: catalogue.BaseModel,
    use_dora: bool = False,
) -> str:
    """Trained here (where the rank is `rank`) and in the whole model, as numbers for people."""
    full = matrix.out_features * matrix.in_features
    lora = savings.lora_parameters(matrix.out_features, matrix.in_features, rank, use_dora)
    few, all_values = total.lora_parameters, total.model_parameters
    entries = (
        ("Trained in this matrix", f"{lora:,}, not {full:,}", f"{fraction(full / lora)} of it"),
        (
            "In the whole model",
            f"{words.hover(words.count(few), words.exact(few))}, "
            f"not {words.hover(words.count(all_values), words.exact(all_values))}",
            f"{fraction(all_values / few)} of it",
        ),
        ("Adapter file", words.size(total.adapter_bytes), f"the model: {words.size(model.size_bytes or 0)}"),
    )
    facts = "".join(
        f"<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>" for name, value, more in entries
    )
    return f'<dl class="facts">{facts}</dl>'


def formula_html(cost: dict[str, Any]) -> str:
    """How the memory of an estimate was counted, with its numbers."""
    return f'<pre class="formula" tabindex="0">{html.escape(cost["formula"])}</pre>'


def memory_html(cost: dict[str, Any]) -> str:
    """Two bars in one scale, with their parts: memory to train everything, memory with LoRA; and how it computes."""
    full, lora = cost["memory"]["full"], cost["memory"]["lora"]
    bars = ""
    for name, side, colour in (("Memory to train everything", full, "base"), ("Memory with LoRA", lora, "")):
        parts = ", ".join(
            f"{word} {words.size(side[part])}"
            for part, word in (
                ("weights", "weights"),
                ("gradients", "gradients"),
                ("optimizer", "optimiser state"),
                ("activations", "activations"),
                ("workspace", "working space"),
                ("runtime", "libraries"),
            )
        )
        share = 100 * side["total"] / max(full["total"], lora["total"])
        bars += (
            f"<div><div>{name}: <b>{words.size(side['total'])}</b></div>"
            f'<div class="meter {colour}" aria-hidden="true"><i style="width:{share:.1f}%"></i></div>'
            f'<div class="quiet">{parts}</div></div>'
        )
    said = html.escape(" ".join(cost["words"]))
    return f'<div class="two">{bars}</div><p class="quiet">{said}</p>'


def tables_html(total: savings.Savings) -> str:
    """Counts per kind of matrix and per layer."""

    def table(caption: str, entries: list[dict[str, Any]]) -> str:
        body = "".join(
            f"<tr><td>{html.escape(str(entry['name']))}</td><td>{entry['full_parameters']:,}</td>"
            f"<td>{entry['lora_parameters']:,}</td></tr>"
            for entry in entries
        )
        return (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table class="plain">'
            f"<caption>{caption}</caption><thead><tr><th>name</th><th>full</th><th>LoRA</th></tr></thead><tbody>{body}</tbody></table></div>"
        )

    return table("Per kind of matrix, all layers together", total.per_matrix) + table(
        "Per layer", total.per_layer
    )
