"""The strength dial: how much of an adapter's change the answers have, alone or blended with another adapter."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs import adapter_record
from jobs.serving import sides
from storage import adapters
from storage.adapters import STRONGEST, Adapter
from studio import layout
from studio.compare.part import QUIET
from studio.notices import shown

NOBODY = ""
STEP = 0.05
KEEP, KEPT = "Keep this strength", "Kept with the adapter"


@dataclass(frozen=True)
class Dial:
    """The components; `turned` is clicked by playground.js when a slider has been let go, by mouse or by keyboard."""

    strength: gr.Slider
    blend_with: gr.Dropdown
    blend_strength: gr.Slider
    keep: gr.Button
    note: gr.HTML
    turned: gr.Button

    @property
    def chosen(self) -> list[Any]:
        """Outputs of `of`."""
        return [self.strength, self.blend_with, self.blend_strength, self.keep, self.note]


def build(adapter: gr.Dropdown) -> Dial:
    """Lay the dial out in a row; `turned` is for the page to wire."""
    with gr.Column(min_width=220):
        strength = gr.Slider(0, STRONGEST, 1, step=STEP, label="Adapter strength", elem_id="strength")
        keep = gr.Button(KEEP, interactive=False, elem_id="keep-strength", size="sm")
        note = gr.HTML(elem_id="kept-strength", apply_default_css=False)
    with gr.Column(min_width=200):
        blend_with = gr.Dropdown(
            [("nothing", NOBODY)], value=NOBODY, label="Blend with", elem_id="blend-with"
        )
        blend_strength = gr.Slider(
            0,
            STRONGEST,
            0.5,
            step=STEP,
            label="The other’s strength",
            visible=False,
            elem_id="blend-strength",
        )
    turned = gr.Button("Answer at this strength", visible="hidden", elem_id="dial-turned")
    turned.click(shown(offer_to_keep), [adapter, strength], [keep, note], **QUIET)
    # A button that cannot be used any more lets go of the keyboard.
    keep.click(shown(kept), [adapter, strength], [keep, note], **QUIET).success(
        fn=None, js=layout.focus("#strength input[type=range]"), **QUIET
    )
    blend_with.input(lambda other: gr.Slider(visible=bool(other)), blend_with, blend_strength, **QUIET)
    return Dial(strength, blend_with, blend_strength, keep, note, turned)


def of(adapter: Adapter) -> tuple[Any, ...]:
    """The dial of an adapter: [strength, blend with, strength of the other, keep, note]."""
    others = [
        (sides.name_of(one), one.id)
        for one in adapters.list_all()
        if one.base_model_id == adapter.base_model_id and one.id != adapter.id
    ]
    return (
        adapter.strength,
        gr.Dropdown(choices=[("nothing", NOBODY), *others], value=NOBODY, visible=bool(others)),
        gr.Slider(visible=False, value=0.5),
        gr.Button(KEEP, interactive=False),
        "",
    )


def offer_to_keep(adapter_id: str, strength: float) -> tuple[Any, str]:
    """Whether there is something to keep: [keep, note]."""
    return gr.Button(KEEP, interactive=strength != adapters.get(adapter_id).strength), ""


def kept(adapter_id: str, strength: float) -> tuple[Any, str]:
    """Keep the strength with the adapter: [keep, note]."""
    adapter = adapter_record.keep_strength(adapter_id, strength)
    said = html.escape(f"“{adapter.name}” answers at {adapter.strength:g}× from now on.")
    return gr.Button(KEPT, interactive=False), f'<p class="sr" role="status">{said}</p>'
