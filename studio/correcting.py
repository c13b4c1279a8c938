"""From a bad answer to a better dataset: an answer is corrected where it stands, and learned from."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs import queue
from jobs.datasets import versions
from jobs.serving.sides import Messages
from storage import adapters, datasets, jobs
from storage.errors import StudioError
from studio import layout, words
from studio.compare.scene import Scene, conversation
from studio.notices import passes, shown

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", "concurrency_limit": None}
EXPLAINED = (
    "Write the answer it should have given. It becomes an example to learn from, in a new version of your examples; "
    "the examples kept aside stay as they are."
)
NOT_ADDED = (
    '<p class="said" role="status">What you have written here is not added yet. Add it, or close it; then correct '
    "the other answer.</p>"
)

KEPT_ASIDE = (
    '<p class="said" role="status">This example is kept aside to test on, so no answer to it can be added. Ask '
    "something like it in your own words, and correct the answer to that.</p>"
)


@dataclass(frozen=True)
class Stood:
    """The text as it was opened, or as it was added last."""

    text: str
    is_added: bool = False


def build(adapter: gr.Dropdown, scene: gr.State, answers: gr.HTML) -> None:
    """Lay it out below the answers, whose “Correct it” opens it; unseen before."""
    asked, whose, dataset_id, target = gr.State(None), gr.State(None), gr.State(None), layout.unseen()
    stood = gr.State(None)
    with gr.Column(visible=False, elem_id="correction", elem_classes="sure") as card:
        question = gr.HTML(apply_default_css=False, elem_id="corrected-question")
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
    opened = answers.select(
        shown(begin),
        [adapter, scene, text, stood],
        [card, asked, question, text, note, again, whose, add, stood],
        **PRIVATE,
    )
    opened.success(fn=None, js=layout.focus("#corrected textarea"), **PRIVATE)
    shut.click(lambda: (gr.Column(visible=False), None), None, [card, stood], **layout.DIRECT).then(
        fn=None, js=layout.focus("#answers .of-adapted [data-sends]", "#answers [data-sends]"), **PRIVATE
    )
    add.click(
        shown(added), [whose, asked, text, stood], [dataset_id, note, again, add, stood], **PRIVATE
    ).success(
        # A button that cannot be used any more lets go of the keyboard.
        fn=None,
        js=layout.focus("#train-again"),
        **PRIVATE,
    )
    text.input(may_be_added, [text, stood], [add], trigger_mode="always_last", **layout.DIRECT)
    again.click(shown(train_again), [whose, dataset_id], [target], **PRIVATE).success(
        fn=None, inputs=[target], js="(target) => window.studioGo(target)", **PRIVATE
    )


def begin(
    adapter_id: str, scene: Scene, written: str, stood: Stood | None, event: gr.EventData
) -> tuple[Any, ...]:
    """One side's answer, to be corrected: [card, asked, question, text, note, Train again, adapter, Add, stood].

    What was asked, and of whom, is kept: another question or adapter may be chosen while this is written. What is
    written already and not added stays, and the note says so.
    """
    if stood is not None and written.strip() and written != stood.text:
        return (*(gr.skip(),) * 4, NOT_ADDED, *(gr.skip(),) * 4)
    side = str((event._data or {}).get("correct"))
    answer = scene.now.answer(side) if scene.now is not None else None
    if scene.now is None or answer is None:
        raise StudioError("This answer is gone.", "Ask again, then correct the answer.")
    asked = conversation(adapters.get(adapter_id), scene, side)
    question = f'<p class="said"><span class="quiet">Question</span> {html.escape(scene.now.prompt)}</p>'
    text = answer["text"]
    # Said before anything is written; whether it is so still is found out when it is added.
    note = KEPT_ASIDE if scene.now.wanted is not None else ""
    again, add = gr.Button(visible=False), gr.Button(interactive=True)
    return gr.Column(visible=True), asked, question, text, note, again, adapter_id, add, Stood(text)


def may_be_added(text: str, stood: Stood | None) -> gr.Button:
    """Add, which can be used again as soon as the text is another than the one that was added."""
    return gr.Button(interactive=stood is None or not stood.is_added or text.strip() != stood.text.strip())


def added(
    adapter_id: str | None, asked: Messages | None, text: str, stood: Stood | None = None
) -> tuple[Any, ...]:
    """The corrected answer as an example to learn from: [dataset id, note, Train again, Add, stood].

    Raises StudioError when nothing was written, when it was added already, or when the prompt is kept aside to
    test on.
    """
    if stood is not None and stood.is_added and text.strip() == stood.text.strip():
        raise StudioError("This answer has been added already.", "Change it first, or close it.")
    if adapter_id is None or asked is None or not text.strip():
        raise StudioError("There is no answer to learn from.", "Write the answer it should have given.")
    adapter = adapters.get(adapter_id)
    messages = [*asked, {"role": "assistant", "content": text.strip()}]
    dataset = versions.add_corrected(adapter.dataset_id, messages)
    said = f"{dataset.change} “{dataset.name}” has {words.many(dataset.train_rows, 'example')} to learn from now."
    link = html.escape(layout.address("/", dataset=dataset.id))
    return (
        dataset.id,
        f'<p role="status">{html.escape(said)} <a href="{link}">See the examples</a></p>',
        gr.Button(visible=True),
        gr.Button(interactive=False),
        Stood(text, is_added=True),
    )


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
