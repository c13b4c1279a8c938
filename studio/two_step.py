"""A button that asks before it does what a click should not do: in the page, never in a browser's dialog."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio import layout


@dataclass
class TwoStep:
    """What asks: `row` with the question is unseen until the button is pressed; `yes` does it.

    Whoever handles `yes` puts the row away again with `gr.Column(visible=False)`.
    """

    row: gr.Column
    yes: gr.Button


def build(button: gr.Button, question: str, yes_words: str, no_words: str) -> TwoStep:
    """Lay the question of a button out in the current place; the keyboard's focus goes with it, and comes back.

    It goes to the words of the question, not to an answer: pressing Enter again answers nothing.
    """
    name = button.elem_id
    with gr.Column(visible=False, elem_id=f"{name}-sure", elem_classes="sure") as row:
        gr.HTML(f'<p tabindex="-1" role="alert">{html.escape(question)}</p>', apply_default_css=False)
        with gr.Row(elem_classes="foot"):
            yes = gr.Button(
                yes_words, variant="stop", elem_id=f"{name}-yes", elem_classes="end", scale=0, min_width=150
            )
            no = gr.Button(no_words, elem_id=f"{name}-no", scale=0, min_width=150)
    button.click(lambda: gr.Column(visible=True), None, [row], **layout.DIRECT).then(
        js=layout.focus(f"#{name}-sure [tabindex]"), **_IN_BROWSER
    )
    no.click(lambda: gr.Column(visible=False), None, [row], **layout.DIRECT).then(
        js=layout.focus(f"#{name}"), **_IN_BROWSER
    )
    return TwoStep(row, yes)


_IN_BROWSER: dict[str, Any] = {"fn": None, "api_visibility": "private", "show_progress": "hidden"}
