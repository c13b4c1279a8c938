"""The ways in: a sample set, a file, pasted text, typed rows, the Hugging Face hub, examples from before."""

from __future__ import annotations

import html
from dataclasses import dataclass

import gradio as gr

from jobs.datasets import samples
from studio.data import forms

KINDS = (
    "CSV, TSV, Excel, JSON, JSON Lines, Parquet, Arrow, text or Markdown with questions and answers, or a ZIP"
)
PASTED_HINT = "prompt,response\nDo you ship to Norway?,We do! Three to five days."


@dataclass
class Bring:
    """The components through which examples come in."""

    samples: list[tuple[gr.Button, str]]
    upload: gr.File
    pasted: gr.Textbox
    paste: gr.Button
    grid: gr.HTML
    hub_id: gr.Textbox
    fetch: gr.Button
    known: gr.Dropdown


def build() -> Bring:
    """Lay them out in a card of their own."""
    with gr.Column(elem_classes="card", elem_id="bring"):
        gr.HTML("<h2>Start from a sample set</h2>", apply_default_css=False)
        sample_buttons = _samples()
        gr.HTML("<h2>Or bring your own</h2>", apply_default_css=False)
        with gr.Row(equal_height=True):
            upload = gr.File(label="A file of examples", height=170, elem_id="data-file", scale=1)
            with gr.Column(scale=1, min_width=280):
                pasted = gr.Textbox(
                    label="Or paste text, or a range of a spreadsheet", lines=4, max_lines=10,
                    elem_id="pasted", placeholder=PASTED_HINT,
                )  # fmt: skip
                paste = gr.Button("Use the pasted text", elem_id="paste")
        gr.HTML(f'<p class="quiet">Files: {KINDS} of those.</p>', apply_default_css=False)
        with gr.Accordion("Type a few examples", open=False, elem_id="type-rows"):
            grid = gr.HTML(forms.grid_html(), apply_default_css=False, elem_id="grid", js_on_load=forms.TYPED)
        with gr.Accordion("From the Hugging Face hub", open=False, elem_id="from-hub"), gr.Row():
            hub_id = gr.Textbox(
                    label="Dataset on the hub", placeholder="owner/name", max_lines=1, elem_id="hub-id",
                    info="Only this is fetched from the network; nothing of yours is sent.",
                )  # fmt: skip
            fetch = gr.Button("Fetch it", elem_id="fetch-hub", scale=0, min_width=120)
        known = gr.Dropdown([], label="Or go on with examples from before", elem_id="known-datasets")
    return Bring(sample_buttons, upload, pasted, paste, grid, hub_id, fetch, known)


def _samples() -> list[tuple[gr.Button, str]]:
    buttons = []
    with gr.Row():
        for sample in samples.SAMPLES:
            with gr.Column(min_width=220):
                button = gr.Button(
                    f"{sample.kind.capitalize()}: {sample.name.lower()}", elem_id=f"sample-{sample.id}"
                )
                gr.HTML(f'<p class="quiet">{html.escape(sample.description)}</p>', apply_default_css=False)
            buttons.append((button, sample.id))
    return buttons
