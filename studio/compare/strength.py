"""The strength dial: how much of an adapter's change the answers have, alone or blended with others."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs import adapter_record
from jobs.serving import sides
from jobs.serving.side_names import MOST_BLENDED, parts_of
from storage import adapters
from storage.adapters import STRONGEST, Adapter
from studio import layout
from studio.compare import coming_back
from studio.compare.part import QUIET
from studio.notices import shown

STEP = 0.05
KEEP, KEPT = "Keep this strength", "Kept with the adapter"
MOST_OTHERS = MOST_BLENDED - 1
OTHERS_STRENGTH = 0.5


@dataclass(frozen=True)
class Dial:
    """The components; `turned` is clicked by playground.js when a slider has been let go, by mouse or by keyboard.

    `kept` and `blended` are what `keep` and another choice of others lead to, for the page to go on from.
    """

    strength: gr.Slider
    blend_with: gr.Dropdown
    others: list[gr.Slider]
    chosen: gr.State
    keep: gr.Button
    note: gr.HTML
    turned: gr.Button
    kept: Any
    blended: Any

    @property
    def set_to(self) -> list[Any]:
        """What `asking.How` reads: [strength, others that are blended in, their strengths]."""
        return [self.strength, self.blend_with, *self.others]

    @property
    def outputs(self) -> list[Any]:
        """Outputs of `of`."""
        return [*self.set_to, self.chosen, self.keep, self.note]


def build(adapter: gr.Dropdown) -> Dial:
    """Lay the dial out in a row; `turned` is for the page to wire."""
    with gr.Column(min_width=220):
        strength = gr.Slider(0, STRONGEST, 1, step=STEP, label="Adapter strength", elem_id="strength")
        keep = gr.Button(KEEP, interactive=False, elem_id="keep-strength", size="sm")
        note = gr.HTML(elem_id="kept-strength", apply_default_css=False)
    with gr.Column(min_width=200):
        blend_with = gr.Dropdown(
            [], multiselect=True, max_choices=MOST_OTHERS, label="Blend with", elem_id="blend-with"
        )
        others = [
            gr.Slider(
                0,
                STRONGEST,
                OTHERS_STRENGTH,
                step=STEP,
                visible=False,
                elem_id=f"blend-strength-{number}",
                elem_classes="blend-strength",
            )
            for number in range(1, MOST_OTHERS + 1)
        ]
    chosen = gr.State([])
    turned = gr.Button("Answer at this strength", visible="hidden", elem_id="dial-turned")
    turned.click(
        shown(offer_to_keep), [adapter, strength], [keep, note], **QUIET | {"trigger_mode": "always_last"}
    )
    # A button that cannot be used any more lets go of the keyboard.
    keeping = keep.click(shown(kept), [adapter, strength], [keep, note], **QUIET)
    keeping.success(fn=None, js=layout.focus("#strength input[type=range]"), **QUIET)
    blending = blend_with.input(shown(blended), [blend_with, chosen, *others], [chosen, *others], **QUIET)
    return Dial(strength, blend_with, others, chosen, keep, note, turned, keeping, blending)


def of(adapter: Adapter) -> tuple[Any, ...]:
    """The dial of an adapter: values of `Dial.outputs`."""
    others = [
        (sides.name_of(one), one.id)
        for one in adapters.list_all()
        if one.base_model_id == adapter.base_model_id and one.id != adapter.id
    ]
    return (
        adapter.strength,
        gr.Dropdown(choices=others, value=[], visible=bool(others)),
        *(gr.Slider(visible=False, value=OTHERS_STRENGTH) for _ in range(MOST_OTHERS)),
        [],
        gr.Button(KEEP, interactive=False),
        "",
    )


def blended(chosen: list[str], before: list[str], *strengths: float) -> tuple[Any, ...]:
    """A slider for each adapter that is blended in, which keeps its strength when others go: [chosen, *sliders]."""
    known = dict(zip(before, strengths, strict=False))
    sliders = [
        gr.Slider(
            visible=True,
            label=f"Strength of {sides.name_of(adapters.get(one))}",
            value=known.get(one, OTHERS_STRENGTH),
        )
        for one in chosen
    ]
    hidden = (gr.Slider(visible=False, value=OTHERS_STRENGTH) for _ in range(MOST_OTHERS - len(sliders)))
    return (chosen, *sliders, *hidden)


def blended_as(asked: Sequence[str]) -> tuple[Any, ...]:
    """The others and their strengths as they were when these sides were asked: [blend with, *sliders, chosen]."""
    blend = next((side for side in asked if "+" in side), "")
    there = {one.id for one in adapters.list_all()}
    parts = [part for part in parts_of(blend)[1:] if part.adapter_id in there] if blend else []
    others = [part.adapter_id for part in parts]
    amounts = [OTHERS_STRENGTH if part.strength is None else part.strength for part in parts]
    chosen, *sliders = blended(others, others, *amounts)
    return others, *sliders, chosen


def offer_to_keep(adapter_id: str, strength: float) -> tuple[Any, str]:
    """Whether there is something to keep: [keep, note]."""
    return gr.Button(KEEP, interactive=strength != adapters.get(adapter_id).strength), ""


def kept(request: gr.Request, adapter_id: str, strength: float) -> tuple[Any, str]:
    """Keep the strength with the adapter: [keep, note]."""
    adapter = adapter_record.keep_strength(adapter_id, strength)
    coming_back.strength_is_kept(request.session_hash)
    said = html.escape(f"“{adapter.name}” answers at {adapter.strength:g}× from now on.")
    return gr.Button(KEPT, interactive=False), f'<p class="sr" role="status">{said}</p>'
