"""From a bad answer to a better dataset: an answer of the adapter is corrected where it stands, and learned from."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs import queue
from jobs.datasets import versions
from jobs.serving.schema import SideAnswer
from jobs.serving.sides import Messages, behind, shared_system, with_system
from storage import adapters, datasets, jobs
from storage.adapters import Adapter
from storage.errors import StudioError
from studio import layout, words
from studio.notices import passes, shown

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", "concurrency_limit": None}
EXPLAINED = (
    "Write the answer it should have given. It becomes an example to learn from, in a new version of your examples; "
    "the examples kept aside stay as they are."
)


@dataclass
class Correcting:
    """The components; `asked` are the messages that were asked and the instruction of the page, "" for none."""

    offer: gr.Button
    card: gr.Column
    text: gr.Textbox
    asked: gr.State
    target: gr.Textbox


def build(adapter: gr.Dropdown, so_far: gr.State) -> Correcting:
    """Lay it out below the answers, and tie its buttons; unseen before there is an answer of the adapter."""
    asked, dataset_id, target = gr.State(None), gr.State(None), layout.unseen()
    with gr.Row(elem_classes="foot"):
        offer = gr.Button(
            "Correct the adapter’s answer",
            visible=False,
            elem_id="correct",
            size="md",
            scale=0,
            min_width=240,
        )
    with gr.Column(visible=False, elem_id="correction", elem_classes="sure") as card:
        text = gr.Textbox(
            label="The answer it should have given",
            info=EXPLAINED,
            lines=3,
            max_lines=16,
            elem_id="corrected",
        )
        with gr.Row(elem_classes="foot"):
            add = gr.Button("Add as an example", elem_id="add-corrected", size="md", scale=0, min_width=180)
            shut = gr.Button("Close", elem_id="close-correction", size="md", scale=0, min_width=90)
        note = gr.HTML(apply_default_css=False, elem_id="correction-note")
        again = gr.Button("Train again with it", visible=False, elem_id="train-again", size="md", scale=0)
    opened = offer.click(shown(begin), so_far, [card, text, note, again], **PRIVATE)
    opened.success(fn=None, js=layout.focus("#corrected textarea"), **PRIVATE)
    shut.click(lambda: gr.Column(visible=False), None, [card], **layout.DIRECT).then(
        fn=None, js=layout.focus("#correct"), **PRIVATE
    )
    add.click(shown(added), [adapter, asked, text], [dataset_id, note, again], **PRIVATE)
    again.click(shown(train_again), [adapter, dataset_id], [target], **PRIVATE).success(
        fn=None, inputs=[target], js="(target) => window.studioGo(target)", **PRIVATE
    )
    return Correcting(offer, card, text, asked, target)


def offered(so_far: Sequence[SideAnswer]) -> Any:
    """The button, seen as soon as the adapter has answered."""
    return gr.Button(visible=_adapted(so_far) is not None)


def _adapted(so_far: Sequence[SideAnswer]) -> str | None:
    return next((one["text"] for one in so_far if one["side"] == "adapted" and one["done"]), None)


def begin(so_far: Sequence[SideAnswer]) -> tuple[Any, ...]:
    """The answer to be corrected: [card, text, note, Train again]."""
    return gr.Column(visible=True), _adapted(so_far) or "", "", gr.Button(visible=False)


def added(adapter_id: str, asked: tuple[Messages, str] | None, text: str) -> tuple[Any, ...]:
    """The corrected answer as an example to learn from: [dataset id, note, Train again].

    Raises StudioError when nothing was written, or when the prompt is kept aside to test on.
    """
    if asked is None or not text.strip():
        raise StudioError("There is no answer to learn from.", "Write the answer it should have given.")
    adapter = adapters.get(adapter_id)
    messages = [*_conversation(adapter, *asked), {"role": "assistant", "content": text.strip()}]
    dataset = versions.add_corrected(adapter.dataset_id, messages)
    said = f"{dataset.change} “{dataset.name}” has {words.many(dataset.train_rows, 'example')} to learn from now."
    link = html.escape(layout.address("/", dataset=dataset.id))
    return (
        dataset.id,
        f'<p role="status">{html.escape(said)} <a href="{link}">See the examples</a></p>',
        gr.Button(visible=True),
    )


def _conversation(adapter: Adapter, messages: Messages, system: str) -> Messages:
    """What was asked, as the model read it: with the instruction of the page, else that of the examples."""
    if system:
        return with_system(messages, system)
    return behind(messages, shared_system(adapter.dataset_id))


def train_again(adapter_id: str, dataset_id: str) -> str:
    """Queue the training of an adapter once more, with the same settings on the new version: the run's address."""
    adapter = adapters.get(adapter_id)
    settings, rank = adapter.settings, adapter.rank
    try:
        job = jobs.get(adapter.job_id or "")
        settings, rank = job.settings, job.rank or rank
    except StudioError as error:  # the run was deleted, what it was set to stands with its adapter
        if passes(error):
            raise
    dataset = datasets.get(dataset_id)
    key = f"corrected-{adapter_id}-{dataset_id}"
    new = queue.submit_training(dataset.id, adapter.base_model_id, rank, settings, request_key=key)
    return layout.address("/train", dataset=dataset.id, model=adapter.base_model_id, run=new.id)
