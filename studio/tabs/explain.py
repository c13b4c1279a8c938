"""Explain: what LoRA does, in drawings that follow one slider."""

from __future__ import annotations

import html

import gradio as gr

from jobs.base_models import catalogue
from storage import adapters
from storage.errors import StudioError
from studio import layout, pictures, tables
from studio.notices import shown

PATH = "/explain"
FIRST_RANK = 8
ANSWER = "LoRA leaves the model as it is and learns a small patch beside it. " + layout.strong(
    "The patch is all that is trained, saved and sent."
)

WHY = """
<h2>A patch, not a new game</h2>
<p>When a game is improved you do not download it again: you get a small update patch. A fine-tuned language
model can be the same: gigabytes that stay as they are, and a patch of a few megabytes. It is a large puzzle
with only a few pieces exchanged, or a quick edit instead of typing the document again. Retraining
everything is slow, costly and needs far more memory.</p>
<p>One base model can carry many patches, and changing from one to another takes a moment.</p>
"""

USES = """
<h2>What it is good for</h2>
<dl class="uses">
<dt>Tone and voice</dt><dd>It writes as you do: formal, warm, brief, in the words of your trade.</dd>
<dt>Structure of the output</dt><dd>JSON with exactly your fields, a report in your order, a table with your
columns.</dd>
<dt>Behaviour</dt><dd>Always concise; always in the language of the question; says what it does not
know.</dd>
</dl>
<h2>When not to fine-tune</h2>
<ul>
<li><b>Three good examples in the prompt already do it</b> (few-shot). Nothing to train, and changed in a
minute. Every call then pays for these tokens. The comparison here always includes this rival.</li>
<li><b>You only need valid JSON.</b> Many model programs can force a schema (function calling, structured
output). That makes the form right, not the values.</li>
<li><b>You want it to know new facts.</b> A small patch learns habits well and many single facts badly. Put
the facts into the prompt, or look them up.</li>
<li><b>You have fewer than about twenty examples.</b> It may learn these by heart, and nothing else.</li>
</ul>
"""

TERMS = """
<h2>The three words of the trade</h2>
<dl class="uses">
<dt>Rank</dt><dd>How much it may change: the number of independent directions of the patch. Twice the rank
is twice the patch. 8 is a good start; more helps only when there is more to learn.</dd>
<dt>Alpha</dt><dd>How loudly the patch speaks. It is multiplied by alpha / rank, so that a new rank does not
need a new alpha.</dd>
<dt>Target modules</dt><dd>Which of the model's matrices get a patch. <i>Query and value</i>
(<code>q_proj</code>,
<code>v_proj</code>), the first choice of the LoRA paper, decide where the model looks and what it takes
from there. All linear matrices is the safe choice today. You can also patch only some layers.</dd>
</dl>
<p class="quiet">Source: Hu et al. (2021), “LoRA: Low-Rank Adaptation of Large Language Models”, sections 4
and 5.</p>
"""


def drawings(rank: int) -> tuple[str, str, str, str]:
    """What follows the slider: how many values, the two ways, what a rank can hold, a large layer."""
    side, lit = pictures.LAYER_SIDE, pictures.learned_of_thousand(rank)
    values = (
        f"<h2>How much is learned</h2>{pictures.thousand(rank)}"
        f"<p>For every 1,000 values of a layer with {side} × {side} values, rank {rank} learns "
        f'<b>{lit}</b>.</p><p class="quiet">The picture counts values, not places: the few learned values, '
        "multiplied, move every place of the layer a little, but only in as many independent directions as "
        "the rank allows.</p>"
    )
    ways = (
        f"<h2>Two ways, one result: y = Wx + (α / r) · B(Ax)</h2>{pictures.flow(rank)}"
        "<p>The input goes through the frozen matrix W as before. Beside it goes a narrow way: A squeezes "
        f"the input to {_wide(rank)}, B widens it again. Only A and B are learned. B begins at zero, so "
        "training begins with exactly the base model. When it is done, W + (α / r) · BA can be merged into "
        "one matrix: no slower than before.</p>"
    )
    hold = (
        f"<h2>What a low rank can hold, and what it cannot</h2>{pictures.low_rank(rank)}"
        "<p>The left one of each pair is what should be learned, the right one is the best that this rank "
        "can do. A habit needs few layers however large the model is. Single facts need one each.</p>"
        f"<h2>The first picture, built up layer by layer</h2>{pictures.layers(rank)}"
    )
    return values, ways, hold, f"<h2>In a large layer</h2>{pictures.large_example(rank)}"


def _wide(rank: int) -> str:
    return "a single number" if rank == 1 else f"{rank} numbers"


def last_patch() -> str:
    """The newest adapter of this studio in numbers, or how to get one."""
    made = adapters.list_all()
    if not made:
        note = "After your first training run, its numbers stand here."
        return f'<h2>Your own patch</h2><p class="quiet">{note}</p>'
    adapter = made[0]
    name, parameters = adapter.base_model_id, None
    try:
        model = catalogue.find(adapter.base_model_id)
        name, parameters = model.name, model.parameters
    except StudioError:
        pass  # the base model has been removed since; the adapter's own numbers still stand
    link = layout.address("/compare", adapter=adapter.id)
    return (
        f"<h2>Your last patch</h2>{tables.last_patch(adapter, name, parameters)}"
        f'<p><a href="{html.escape(link)}">See what it changed</a></p>'
    )


def build(page: gr.Blocks) -> None:
    """Lay the page out and wire the slider."""
    layout.bar(PATH)
    layout.question(PATH, ANSWER)
    values, ways, hold, large = drawings(FIRST_RANK)
    with gr.Column(elem_classes="room"):
        gr.HTML(WHY, elem_classes="card")
        with gr.Column(elem_classes="card sticky-slider"):
            rank = gr.Slider(
                1, pictures.MAX_RANK, value=FIRST_RANK, step=1, label="How much it may change (rank)",
                info="Move it: all pictures below follow.", elem_id="explain-rank",
            )  # fmt: skip
        parts = [
            gr.HTML(values, elem_id="explain-values", elem_classes="card"),
            gr.HTML(ways, elem_id="explain-flow", elem_classes="card"),
            gr.HTML(hold, elem_id="explain-hold", elem_classes="card"),
            gr.HTML(large, elem_id="explain-large", elem_classes="card"),
        ]
        own = gr.HTML(elem_id="explain-own", elem_classes="card")
        gr.HTML(USES, elem_classes="card")
        gr.HTML(TERMS, elem_classes="card")
    quiet = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
    rank.change(shown(drawings), rank, parts, trigger_mode="always_last", **quiet)
    page.load(shown(last_patch), None, own, **quiet)
