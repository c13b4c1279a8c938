"""Step 1, "Are my examples good?": bring examples, see what the model will learn from them and what was set aside."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from jobs.datasets import importing, rows, samples
from storage import datasets
from storage.datasets import Dataset
from studio import charts, examples, layout, words
from studio.notices import shown

PATH = "/"
PAGE_ROWS = 3
TEACHING = (
    "Bring a few dozen examples of how an answer should look: a message and the answer you want. "
    "Or start from a sample set."
)


def build(page: gr.Blocks) -> None:
    """The page and its handlers."""
    layout.bar(PATH)
    answer = layout.question(PATH, TEACHING)
    with gr.Column(elem_classes="room"):
        dataset_id, first_row, exact = layout.unseen(), gr.State(0), gr.State(False)
        with gr.Row(equal_height=False, visible=False) as found:
            with gr.Column(scale=3, elem_classes="card", min_width=320):
                preview = gr.HTML(apply_default_css=False, elem_id="examples")
                with gr.Row():
                    earlier = gr.Button("Previous", size="sm", min_width=80)
                    later = gr.Button("Next examples", size="sm", min_width=80, elem_id="next-examples")
                    exactly = gr.Button(
                        "Exact text the model reads", size="sm", min_width=160, elem_id="exact-text"
                    )
            with gr.Column(scale=2, min_width=300):
                with gr.Column(elem_classes="card"):
                    problems = gr.HTML(apply_default_css=False, elem_id="problems")
                with gr.Column(elem_classes="card"):
                    lengths_words = gr.HTML(apply_default_css=False)
                    lengths = gr.Plot(show_label=False, container=False, elem_id="lengths")
        onward = gr.HTML(apply_default_css=False, elem_id="onward", visible=False)
        with gr.Column(elem_classes="card", elem_id="bring"):
            gr.HTML("<h2>Start from a sample set</h2>", apply_default_css=False)
            sample_buttons = []
            with gr.Row():
                for sample in samples.SAMPLES:
                    with gr.Column(min_width=220):
                        button = gr.Button(
                            f"{sample.kind.capitalize()}: {sample.name.lower()}",
                            elem_id=f"sample-{sample.id}",
                        )
                        gr.HTML(
                            f'<p class="quiet">{html.escape(sample.description)}</p>', apply_default_css=False
                        )
                    sample_buttons.append((button, sample.id))
            gr.HTML("<h2>Or bring your own</h2>", apply_default_css=False)
            with gr.Row(equal_height=True):
                upload = gr.File(
                    label="A file of examples: CSV, TSV, JSON or JSONL",
                    height=170,
                    elem_id="data-file",
                    scale=1,
                )
                with gr.Column(scale=1, min_width=280):
                    pasted = gr.Textbox(
                        label="Or paste examples", lines=4, max_lines=10, elem_id="pasted",
                        placeholder="prompt,response\nDo you ship to Norway?,We do! Three to five days.",
                    )  # fmt: skip
                    paste = gr.Button("Use the pasted text", elem_id="paste")
            with gr.Row():
                known = gr.Dropdown([], label="Or go on with examples from before", elem_id="known-datasets")

    view = [answer, found, preview, problems, lengths_words, lengths, onward, known]
    remember = {"fn": None, "inputs": [dataset_id], "js": "(id) => window.studioAddress({dataset: id})"}
    state = [dataset_id, first_row, exact]
    private: dict[str, Any] = {"api_visibility": "private"}

    def opens(trigger: Any, function: Any, inputs: list[Any]) -> None:
        added = trigger(shown(function), inputs, [dataset_id, first_row, upload], **private)
        added.success(shown(show), state, view, **layout.DIRECT).then(**remember, **private)

    opens(
        upload.upload, lambda path: (importing.add_dataset(Path(path), Path(path).name).id, 0, None), [upload]
    )
    opens(paste.click, lambda text: (importing.add_pasted(text, "Pasted examples").id, 0, None), [pasted])
    for button, sample_id in sample_buttons:
        opens(button.click, lambda sample_id=sample_id: (importing.add_sample(sample_id).id, 0, None), [])
    opens(known.input, lambda chosen: (chosen, 0, None), [known])

    def turn(by: int) -> Any:
        def to(dataset: str | None, first: int) -> int:
            last = max(0, datasets.get(dataset).rows - 1) if dataset else 0
            return min(max(0, first + by), last // PAGE_ROWS * PAGE_ROWS)

        return to

    for button, by in ((earlier, -PAGE_ROWS), (later, PAGE_ROWS)):
        moved = button.click(shown(turn(by)), [dataset_id, first_row], [first_row], **layout.DIRECT)
        moved.success(shown(preview_of), state, [preview], **layout.DIRECT)
    exactly.click(lambda now: not now, [exact], [exact], **layout.DIRECT).success(
        shown(preview_of), state, [preview], **layout.DIRECT
    )
    page.load(shown(chosen_dataset), None, [dataset_id], **private).success(
        shown(show), state, view, **layout.DIRECT
    )


def chosen_dataset(request: gr.Request) -> str | None:
    """The dataset of the address, else the newest one."""
    named = layout.query(request, "dataset")
    if named:
        return datasets.get(named).id
    newest = datasets.list_all()
    return newest[0].id if newest else None


def show(dataset_id: str | None, first: int, exact: bool) -> tuple[Any, ...]:
    """Everything on the page for one dataset (or for none yet), in the order of `view`."""
    choices = [
        (f"{dataset.name} ({words.many(dataset.rows, 'example')})", dataset.id)
        for dataset in datasets.list_all()
    ]
    listed = gr.Dropdown(choices=choices, value=dataset_id, visible=bool(choices))
    if dataset_id is None:
        gone = gr.skip()
        return layout.answered(PATH, TEACHING), gone, gone, gone, gone, gone, gone, listed
    dataset = datasets.get(dataset_id)
    counts, sentence = examples.token_counts(dataset)
    figure = charts.lengths(counts) if counts else None
    return (
        layout.answered(PATH, verdict(dataset)),
        gr.Row(visible=True),
        preview_of(dataset_id, first, exact),
        problems_html(dataset),
        f'<h2>Length of examples, in tokens (pieces of words)</h2><p class="quiet">{html.escape(sentence)}</p>',
        gr.Plot(value=figure, visible=figure is not None),
        gr.HTML(onward_html(dataset), visible=True),
        listed,
    )


def verdict(dataset: Dataset) -> str:
    """The answer to the page's question in one or two sentences, as HTML."""
    left_out = sum(len(problem["rows"]) for problem in dataset.problems if problem["severity"] == "error")
    ready = words.many(dataset.rows, "example")
    aside = f"{dataset.held_out_rows:,} kept aside to test on; {dataset.train_rows:,} to learn from."
    if left_out:
        return (
            f"{layout.strong('Almost.')} {ready} ready, {words.many(left_out, 'row')} cannot be used. {aside}"
        )
    if dataset.train_rows < 20:
        return f"{layout.strong('A start.')} {ready} ready, which is few: 50 or more work better. {aside}"
    return f"{layout.strong('Yes.')} All {ready} are ready. {aside}"


def problems_html(dataset: Dataset) -> str:
    """What was found in the file, each with its rows and what to do about it."""
    if not dataset.problems:
        return '<h2>Found</h2><p class="quiet">No problems.</p>'
    marks = {"error": ("wrong", "left out"), "warning": ("tight", "look at it"), "info": ("", "note")}
    entries = ""
    for problem in dataset.problems:
        mark, word = marks[problem["severity"]]
        where = words.rows_named(problem["rows"]) if problem["rows"] else ""
        entries += (
            f'<li><span class="pill {mark}">{word}</span> {html.escape(problem["message"])}'
            f'<div class="quiet">{html.escape(where)} {html.escape(problem["fix"])}</div></li>'
        )
    return f'<h2>Found</h2><ul class="found">{entries}</ul>'


def preview_of(dataset_id: str | None, first: int, exact: bool) -> str:
    """Three examples as conversations, or as the exact text with the learned tokens coloured."""
    if dataset_id is None:
        return ""
    dataset = datasets.get(dataset_id)
    shown_rows = rows.page_of_rows(dataset_id, first, PAGE_ROWS)
    body = (
        examples.exact_html(shown_rows)
        if exact
        else "".join(examples.conversation_html(row) for row in shown_rows)
    )
    last = first + len(shown_rows)
    title = "What the model will read" if exact else "What the model will learn"
    return (
        f'<h2>{title} <span class="pill">{html.escape(dataset.name)} · {html.escape(dataset.format)}</span></h2>{body}'
        f'<p class="quiet">Examples {first + 1}–{last} of {dataset.rows:,} · '
        f"{dataset.held_out_rows:,} kept aside to test on, locked</p>"
    )


def onward_html(dataset: Dataset) -> str:
    """The page's one primary button."""
    link = layout.address("/model", dataset=dataset.id)
    return f'<p class="onward"><a class="button" href="{link}">Next: choose a model</a></p>'
