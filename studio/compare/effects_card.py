"""Side effects: the needle, and the user's own prompts whose answers must not change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from storage import plans
from studio.compare import effects_view, seen
from studio.compare.seen import Seen

NOT_MEASURED = (
    '<p class="quiet">Sixty questions that have nothing to do with your examples are asked with and without the '
    "adapter, as soon as there is a scorecard.</p>"
)


@dataclass
class EffectsCard:
    """The components; the prompts are kept with the examples, for all of their adapters."""

    fold: gr.Accordion
    found: gr.HTML
    prompts: gr.Textbox
    keep: gr.Button
    said: gr.HTML

    @property
    def drawn(self) -> list[Any]:
        """Outputs of `drawn`."""
        return [self.fold, self.found, self.prompts, self.said]


def build() -> EffectsCard:
    """Lay the fold out."""
    with gr.Accordion("Side effects", open=False, elem_id="effects-fold") as fold:
        found = gr.HTML(apply_default_css=False, elem_id="side-effects")
        prompts = gr.Textbox(
            label="Prompts whose answers must not change",
            info="One a line. They are asked beside the sixty questions.",
            lines=3,
            max_lines=12,
            elem_id="must-not-change",
        )
        with gr.Row(elem_classes="foot tight"):
            keep = gr.Button("Keep these prompts", size="sm", scale=0, min_width=170, elem_id="keep-prompts")
        said = gr.HTML(apply_default_css=False, elem_id="prompts-said")
    return EffectsCard(fold, found, prompts, keep, said)


def drawn(now: Seen | None) -> tuple[Any, ...]:
    """The fold as it is now, in the order of `EffectsCard.drawn`."""
    if now is None:
        return gr.skip(), "", "", ""
    effects = (now.card or {}).get("side_effects")
    return (
        gr.Accordion(label=f"Side effects: {effects['words']}" if effects else "Side effects"),
        effects_view.side_effects(effects) if effects else NOT_MEASURED,
        "\n".join(plans.get(now.dataset_id).must_not_change),
        "",
    )


def keep(now: Seen, text: str) -> Seen:
    """Keep the user's own prompts, one a line."""
    plans.change(now.dataset_id, must_not_change=[line for line in text.splitlines() if line.strip()])
    return seen.of(now.adapter.id, now.dataset_id)
