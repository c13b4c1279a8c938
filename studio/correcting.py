"""From a bad answer to a better dataset: an answer is corrected where it stands, and learned from."""

from __future__ import annotations

import html
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


def build(adapter: gr.Dropdown, scene: gr.State, answers: gr.HTML) -> None:
    """Lay it out below the answers, whose “Correct it” opens it; unseen before."""
    asked, dataset_id, target = gr.State(None), gr.State(None), layout.unseen()
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
        shown(begin), [adapter, scene], [card, asked, question, text, note, again], **PRIVATE
    )
    opened.success(fn=None, js=layout.focus("#corrected textarea"), **PRIVATE)
    shut.click(lambda: gr.Column(visible=False), None, [card], **layout.DIRECT).then(
        fn=None, js=layout.focus("#answers .of-adapted [data-sends]", "#answers [data-sends]"), **PRIVATE
    )
    add.click(shown(added), [adapter, asked, text], [dataset_id, note, again], **PRIVATE)
    again.click(shown(train_again), [adapter, dataset_id], [target], **PRIVATE).success(
        fn=None, inputs=[target], js="(target) => window.studioGo(target)", **PRIVATE
    )


def begin(adapter_id: str, scene: Scene, event: gr.EventData) -> tuple[Any, ...]:
    """One side's answer, to be corrected: [card, what was asked, the question, text, note, Train again].

    What was asked is kept: the next question may come while this is written.
    """
    side = str((event._data or {}).get("correct"))
    answer = scene.now.answer(side) if scene.now is not None else None
    if scene.now is None or answer is None:
        raise StudioError("This answer is gone.", "Ask again, then correct the answer.")
    asked = conversation(adapters.get(adapter_id), scene, side)
    question = f'<p class="said"><span class="quiet">Question</span> {html.escape(scene.now.prompt)}</p>'
    return gr.Column(visible=True), asked, question, answer["text"], "", gr.Button(visible=False)


def added(adapter_id: str, asked: Messages | None, text: str) -> tuple[Any, ...]:
    """The corrected answer as an example to learn from: [dataset id, note, Train again].

    Raises StudioError when nothing was written, or when the prompt is kept aside to test on.
    """
    if asked is None or not text.strip():
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
