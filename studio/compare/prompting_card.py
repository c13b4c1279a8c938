"""Would asking well do? What the adapter has over each way of prompting, and the written instruction to edit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs.evaluation import plan as judging
from storage import plans
from storage.errors import StudioError
from studio.compare import card_view, seen
from studio.compare.seen import Seen

EXPLAINED = (
    '<p class="quiet">The base model is asked as well as one can without training: told your rules in writing, shown '
    "three of your training examples, shown the three most similar ones, or held to the shape of your JSON. Where "
    "that does as well, you may not need the adapter; each such call then costs the tokens in the last column.</p>"
)
RIVALS = {
    "ahead": "not as good as the adapter",
    "behind": "better than the adapter",
    "alike": "as good as the adapter",
    "unclear": "these rows cannot tell",
}
NO_RULES = "There are no rules to write down yet: say here what you would tell the base model."


@dataclass
class PromptingCard:
    """The components; the instruction is kept with the examples, for all of their adapters."""

    fold: gr.Accordion
    found: gr.HTML
    instruction: gr.Textbox
    keep: gr.Button
    reset: gr.Button
    said: gr.HTML

    @property
    def drawn(self) -> list[Any]:
        """Outputs of `drawn`."""
        return [self.fold, self.found, self.instruction, self.reset, self.said]


def build() -> PromptingCard:
    """Lay the fold out."""
    with gr.Accordion("Would asking well do?", open=False, elem_id="prompting-fold") as fold:
        found = gr.HTML(apply_default_css=False, elem_id="prompting")
        instruction = gr.Textbox(
            label="Written instruction",
            info="What the base model is told in writing. Made from the rules; change it as you like.",
            lines=3,
            max_lines=12,
            placeholder=NO_RULES,
            elem_id="instruction",
        )
        with gr.Row(elem_classes="foot tight"):
            keep = gr.Button(
                "Keep this instruction", size="sm", scale=0, min_width=190, elem_id="keep-instruction"
            )
            reset = gr.Button(
                "Make it from the rules again",
                size="sm",
                scale=0,
                min_width=230,
                visible=False,
                elem_id="reset-instruction",
            )
        said = gr.HTML(apply_default_css=False, elem_id="instruction-said")
    return PromptingCard(fold, found, instruction, keep, reset, said)


def drawn(now: Seen | None) -> tuple[Any, ...]:
    """The fold as it is now, in the order of `PromptingCard.drawn`."""
    if now is None:
        return gr.skip(), "", "", gr.skip(), ""
    card = now.card
    found = EXPLAINED
    if card is not None and (table := card_view.prompting(card)):
        every = f"<summary>Every way of asking, rule by rule</summary>{card_view.every_side(card)}"
        found += f"{table}<details>{every}</details>"
    if card is not None:
        found += card_view.not_asked(card)
    return (
        gr.Accordion(label=_summary(now)),
        found,
        instruction_of(now.dataset_id),
        gr.Button(visible=plans.get(now.dataset_id).instruction is not None),
        "",
    )


def _summary(now: Seen) -> str:
    card = now.card
    found = [
        one for one in (card or {}).get("comparisons") or () if one["side"] == card_view.rival(card or {})
    ]
    if card is None or not found:
        return "Would asking well do?"
    label = next(card_view.name_of(side) for side in card["sides"] if side["side"] == found[0]["side"])
    return f"Would asking well do? {label}: {RIVALS[found[0]['standing']]}"


def instruction_of(dataset_id: str) -> str:
    """What the base model is told now; nothing when the examples are gone."""
    try:
        return judging.instruction_of(dataset_id)
    except StudioError:
        return ""


def keep(now: Seen, text: str) -> Seen:
    """Keep a written instruction; an empty one is made from the rules again."""
    plans.change(now.dataset_id, instruction=text.strip() or None)
    return seen.of(now.adapter.id, now.dataset_id)
