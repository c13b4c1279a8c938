"""Try it: up to four columns answer the same prompt side by side, once or in a conversation, at any strength."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs import gpu
from jobs.export.adapter import packed_strength
from jobs.serving import sides, waiting
from jobs.serving.schema import CompareSettings
from storage import adapters
from storage.adapters import Adapter
from storage.errors import StudioError
from studio import correcting, forms, layout, words
from studio.compare import asking, columns, coming_back, strength
from studio.compare.material import rows_of, rules_of
from studio.compare.part import QUIET, Part
from studio.compare.scene import Scene, Turn
from studio.compare.strength import Dial
from studio.notices import shown

BUSY_SECONDS = 5
USUAL = ("base", "few_shot", "adapted")
MARKS = [
    ("the wanted answer, else the base model", columns.AUTO),
    ("the base model", columns.BASE),
    ("nothing", columns.NOTHING),
]
HINT = "Ask something that your examples would ask. Ctrl+Enter asks."


@dataclass(frozen=True)
class Playground:
    """The components of the card."""

    prompt: gr.Textbox
    back: gr.Button
    forth: gr.Button
    goes_on: gr.Checkbox
    stop: gr.Button
    ask: gr.Button
    chosen: gr.Dropdown
    dial: Dial
    held_out: gr.HTML
    answers: gr.HTML
    after: gr.Row
    again: gr.Button
    anew: gr.Button
    marks: gr.Dropdown
    fields: dict[str, Any]
    download: gr.HTML
    busy: gr.HTML
    timer: gr.Timer
    position: gr.State
    scene: gr.State
    left: gr.Textbox

    @property
    def how(self) -> list[Any]:
        """What `asking.How.of` reads."""
        return [self.marks, self.chosen, *self.dial.set_to, *self.fields.values()]

    @property
    def outputs(self) -> list[Any]:
        """What `choose` fills."""
        fresh = [self.scene, self.answers, self.held_out, self.position, self.after, self.stop]
        shown = [self.chosen, self.goes_on, self.back, self.forth, self.download, *self.dial.outputs]
        return [*fresh, *shown, self.busy, self.timer]


def build(adapter: gr.Dropdown) -> Part:
    """Lay the card out and wire it."""
    with gr.Column(elem_classes="card", elem_id="playground"):
        card = _lay_out(adapter)
    _wire_asking(adapter, card)
    _wire_the_rest(adapter, card)
    return Part(
        card.outputs,
        choose,
        changes=[card.dial.kept],
        comes_back=lambda happened: _wire_coming_back(adapter, card, happened),
    )


def _lay_out(adapter: gr.Dropdown) -> Playground:
    timer = gr.Timer(BUSY_SECONDS, active=False)
    position, scene = gr.State(None), gr.State(Scene())
    busy_note = gr.HTML(elem_id="busy")
    prompt = gr.Textbox(label="Prompt", lines=2, max_lines=12, placeholder=HINT, elem_id="prompt")
    back, forth, goes_on, stopping, ask = _buttons()
    with gr.Row(elem_classes="dial"):
        chosen = gr.Dropdown(
            [], multiselect=True, max_choices=asking.MOST_COLUMNS, label="Who answers", elem_id="columns",
            scale=2, min_width=300,
        )  # fmt: skip
        dial = strength.build(adapter)
    held_out = gr.HTML(elem_id="held-out")
    answers = gr.HTML(elem_id="answers", js_on_load=layout.SENDS)
    correcting.build(adapter, scene, answers)
    after, again, anew, marks = _after()
    fields = _advanced()
    download = gr.HTML(elem_id="download")
    return Playground(
        prompt, back, forth, goes_on, stopping, ask, chosen, dial, held_out, answers, after, again, anew, marks,
        fields, download, busy_note, timer, position, scene, layout.unseen(),
    )  # fmt: skip


def _buttons() -> tuple[gr.Button, gr.Button, gr.Checkbox, gr.Button, gr.Button]:
    """The row under the prompt."""
    with gr.Row(elem_classes="foot ask"):
        return (
            gr.Button("‹ Previous", elem_id="previous", size="md", scale=0, min_width=120),
            gr.Button("Next held-out example ›", elem_id="next", size="md", scale=0, min_width=230),
            gr.Checkbox(
                False, label="As a conversation", elem_id="goes-on", scale=1, min_width=180, container=False
            ),
            gr.Button(
                "Stop", variant="stop", size="md", interactive=False, elem_id="stop", scale=0, min_width=90
            ),
            gr.Button("Ask", variant="primary", size="md", elem_id="ask", scale=0, min_width=90),
        )


def _after() -> tuple[gr.Row, gr.Button, gr.Button, gr.Dropdown]:
    """The row under the answers, unseen before there are any."""
    with gr.Row(elem_classes="foot", visible=False, elem_id="after-answers") as after:
        again = gr.Button(
            "Answer again, with a new seed", elem_id="again-seed", size="md", scale=0, min_width=250
        )
        anew = gr.Button("New conversation", elem_id="new-conversation", size="md", scale=0, min_width=170)
        marks = gr.Dropdown(
            MARKS, value=columns.AUTO, label="Mark what differs from", elem_id="marks", min_width=200
        )
    return after, again, anew, marks


def _advanced() -> dict[str, Any]:
    with gr.Accordion("Advanced", open=False, elem_id="how"):
        return forms.fields_for(CompareSettings, asking.FIELDS)


def _wire_asking(adapter: gr.Dropdown, card: Playground) -> None:
    """Everything that lets the sides answer."""
    streamed: dict[str, Any] = {
        "outputs": [card.answers, card.held_out, card.scene, card.stop],
        "trigger_mode": "multiple",
        **QUIET,
    }
    about = [adapter, card.scene]
    first = {
        "fn": shown(asking.ask),
        "inputs": [*about, card.prompt, card.position, card.goes_on, *card.how],
        **streamed,
    }
    held_out = {
        "fn": shown(asking.ask_held_out),
        "inputs": [*about, card.prompt, card.position, *card.how],
        **streamed,
    }
    again = {"fn": shown(asking.ask_again), "inputs": [*about, *card.how], **streamed}
    turned = {"fn": shown(asking.turn_dial), "inputs": [*about, *card.how], **streamed}
    ends: dict[str, Any] = {
        "fn": shown(after_answers),
        "inputs": [card.scene, card.prompt],
        "outputs": [card.after, card.prompt],
        **QUIET,
    }
    for asks in (card.ask.click, card.prompt.submit):
        asks(**first).success(**ends)
    for button, by in ((card.back, -1), (card.forth, +1)):
        button.click(
            shown(lambda adapter_id, at, by=by: step(adapter_id, at, by)),
            [adapter, card.position],
            [card.prompt, card.position, card.held_out],
            **QUIET,
        ).success(**held_out).success(**ends)
    seeded = {"inputs": [card.fields["seed"], card.fields["temperature"]], "outputs": card.fields["seed"]}
    card.again.click(shown(new_seed), **seeded, **QUIET).success(**again).success(**ends)
    card.dial.turned.click(**turned).success(**ends)
    card.dial.blended.success(**turned).success(**ends)
    stopped = card.stop.click(
        shown(asking.stop),
        [adapter, card.scene, card.marks],
        [card.answers, card.scene, card.stop],
        **QUIET,
    )
    # A button that cannot be used any more lets go of the keyboard.
    stopped.success(fn=None, js=layout.focus("#ask"), **QUIET)
    stopped.success(**ends)


def _wire_the_rest(adapter: gr.Dropdown, card: Playground) -> None:
    """What only changes how things are shown."""
    card.timer.tick(shown(busy), None, [card.busy, card.timer], **QUIET)
    card.marks.input(shown(redrawn), [adapter, card.scene, card.marks], card.answers, **QUIET)
    card.anew.click(
        shown(new_conversation),
        None,
        [card.scene, card.answers, card.held_out, card.position, card.after, card.stop, card.prompt],
        **QUIET,
    ).success(fn=None, js=layout.focus("#prompt textarea"), **QUIET)
    card.dial.kept.success(shown(lambda id: _download(adapters.get(id))), adapter, card.download, **QUIET)
    adapter.input(shown(leave), None, None, **QUIET)


def _wire_coming_back(adapter: gr.Dropdown, card: Playground, happened: Callable[..., Any]) -> None:
    """What a reload would lose is found again, by the name that the page had before (studio/assets/playground.js)."""
    found = [card.scene, card.answers, card.held_out, card.position, card.after, card.goes_on, card.chosen]
    happened(
        shown(find_again),
        [adapter, card.left, *card.fields.values()],
        [card.left, *found, *card.dial.set_to, card.dial.chosen, *card.fields.values()],
        js="(adapter, _, ...fields) => [adapter, window.studioTab.left(), ...fields]",
        **QUIET,
    ).then(fn=None, inputs=card.left, js="(tab) => window.studioTab.now(tab)", **QUIET)


def find_again(request: gr.Request, adapter_id: str | None, left: str, *fields: str) -> tuple[Any, ...]:
    """The tab's name from now on and what it had asked, set as it was then: values as in `_wire_coming_back`.

    What somebody has typed into the `fields` meanwhile stays.
    """
    found = coming_back.find(left, request.session_hash, adapter_id) if adapter_id else None
    scene, dial = found or (Scene(), None)
    if adapter_id is None or scene.now is None:
        return (request.session_hash, *(gr.skip(),) * (10 + strength.MOST_OTHERS + len(asking.FIELDS)))
    adapter, settings = adapters.get(adapter_id), scene.now.settings
    answers = columns.drawn(scene, rules_of(adapter)) if scene.now.answers else columns.stopped(scene)
    position, note = _row_of(adapter, scene.now), ""
    if position is not None:
        _, position, note = step(adapter_id, position, 0)
    offered = {side for _, side in sides.offered(adapter)}
    return (
        request.session_hash,
        *(scene, answers, note, position, gr.Row(visible=True), scene.goes_on),
        [side for side in settings["sides"] if side in offered],
        gr.skip() if dial is None else dial,
        *strength.blended_as(settings["sides"]),
        *(
            _typed(settings[name]) if value == _typed(getattr(CompareSettings(), name)) else gr.skip()
            for name, value in zip(asking.FIELDS, fields, strict=True)
        ),
    )


def _typed(value: Any) -> str:
    """A setting as its field has it."""
    return "" if value is None else str(value)


def _row_of(adapter: Adapter, now: Turn) -> int | None:
    """The place of the held-out row that was asked, if it was one."""
    rows = enumerate(rows_of(adapter)) if now.wanted is not None else ()
    return next((at for at, row in rows if (row.prompt, row.reference) == (now.prompt, now.wanted)), None)


def choose(adapter_id: str | None) -> tuple[Any, ...]:
    """All that belongs to one adapter: values of `Playground.outputs`."""
    fresh = (Scene(), "", "", None, gr.Row(visible=False), gr.update(interactive=False))
    if adapter_id is None:
        return (*fresh, *(gr.skip(),) * (10 + strength.MOST_OTHERS), *busy())
    adapter = adapters.get(adapter_id)
    rows = rows_of(adapter)
    offered = [(columns.HEADINGS.get(side, label), side) for label, side in sides.offered(adapter)]
    usual = [side for side in USUAL if side in {side for _, side in offered}]
    buttons = gr.update(interactive=bool(rows))
    return (
        *fresh,
        gr.Dropdown(choices=offered, value=usual),
        bool(rows) and len([turn for turn in rows[0].messages if turn["role"] == "user"]) > 1,
        buttons,
        buttons,
        _download(adapter),
        *strength.of(adapter),
        *busy(),
    )


def _download(adapter: Adapter) -> str:
    size = words.size(adapter.size_bytes)
    if adapter.strength != 1:
        with suppress(StudioError, OSError):  # without its files nothing is downloaded, which is said then
            strength = packed_strength(adapter)
            size += ", as trained" if strength == 1 else f", at {strength:g}×"
    address = f"/download/adapter/{adapter.id}"
    return f'<a class="button plain-button" href="{address}" download>Download adapter ({size})</a>'


def busy() -> tuple[str, Any]:
    """Who keeps the model from answering now, "" when nobody does, and whether to look again."""
    said = waiting.busy(gpu.default_device())
    note = f"{said} You may ask already: the answer comes by itself." if said else ""
    return columns.notice(note), gr.Timer(active=bool(said))


def step(adapter_id: str, position: int | None, by: int) -> tuple[str, int, str]:
    """The next held-out example in that direction, around the end: [prompt, position, wanted answer]."""
    rows = rows_of(adapters.get(adapter_id))
    if not rows:
        raise StudioError("The held-out examples of this adapter are gone.", "Ask something of your own.")
    position = (0 if by > 0 else len(rows) - 1) if position is None else (position + by) % len(rows)
    row = rows[position]
    earlier = [turn for turn in row.messages[:-1] if turn["role"] != "system"]
    note = columns.held_out(position + 1, len(rows), row.reference, earlier)
    return row.prompt, position, note


def after_answers(scene: Scene, prompt: str) -> tuple[Any, Any]:
    """What can be done now: [the row under the answers, the prompt, empty for the next turn of a conversation]."""
    if scene.now is None:
        return gr.Row(visible=False), gr.skip()
    said = scene.goes_on and scene.now.done and prompt == scene.now.prompt
    return gr.Row(visible=True), "" if said else gr.skip()


def new_seed(seed: str, temperature: str) -> str:
    """The seed after this one; at temperature 0 that changes nothing, and is said so."""
    settings = CompareSettings.from_json(forms.filled_in(["seed", "temperature"], [seed, temperature]))
    if settings.temperature == 0:
        gr.Info(
            "At temperature 0 the same answer comes again. A temperature such as 0.7, under Advanced, varies it.",
            duration=6,
        )
    return str((settings.seed + 1) % 2**31)


def redrawn(adapter_id: str, scene: Scene, marks: str) -> Any:
    """The same answers with other marks."""
    return columns.drawn(scene, rules_of(adapters.get(adapter_id)), marks)


def new_conversation(request: gr.Request) -> tuple[Any, ...]:
    """Begin anew: [scene, columns, held-out note, position, row under the answers, stop button, prompt]."""
    leave(request)
    return Scene(), "", "", None, gr.Row(visible=False), gr.update(interactive=False), ""


def leave(request: gr.Request) -> None:
    """Another adapter is chosen, or all begins anew: nobody waits for an answer."""
    asking.end_question(request.session_hash)
    coming_back.forget(request.session_hash)
