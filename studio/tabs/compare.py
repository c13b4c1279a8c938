"""Compare: base model, base model with examples and adapter answer the same prompt; the scorecard counts."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from typing import Any

import gradio as gr

from jobs import gpu
from jobs.datasets.rows import some_rows
from jobs.evaluation import rules
from jobs.evaluation.arms import HeldOutRow
from jobs.evaluation.rules import Rule
from jobs.serving import client, waiting
from jobs.serving.schema import CompareSettings, SideAnswer
from jobs.serving.waiting import Waiting
from storage import adapters, evaluations
from storage.adapters import Adapter
from storage.errors import StudioError
from studio import answers, checks, correcting, forms, layout, tables, words
from studio.notices import shown

PATH = "/compare"
SETTINGS = ("temperature", "max_new_tokens", "strength", "seed", "system")
NOT_MEASURED = "Not measured yet. Ask something, or check it on the held-out examples."
NO_ADAPTER = "Here an adapter answers beside the model it came from. There is none yet."
NO_CARD = (
    '<h2>Scorecard</h2><p class="quiet">Base model, base model with three examples, and adapter answer '
    "examples that training never saw. Rules found in your own answers count who keeps them. It takes a few "
    "minutes.</p>"
)
# Of a very large set so many held-out rows are offered as prompts, from all over it.
MOST_OFFERED = 5000
TICK_SECONDS = 1
BUSY_SECONDS = 5
SET_ADDRESS = "(id) => { window.studioAddress({adapter: id, run: null}); return [id]; }"
# The question that each browser tab waits for.
_open: dict[str | None, threading.Event] = {}
QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}


@lru_cache(maxsize=4)
def material(dataset_id: str) -> tuple[list[HeldOutRow], list[Rule]]:
    """A dataset's held-out rows and the rules that its answers keep; datasets never change, so read once."""
    held_out = [HeldOutRow.of(row) for row in some_rows(dataset_id, "held_out", MOST_OFFERED)]
    training = [HeldOutRow.of(row).reference for row in some_rows(dataset_id, "train", rules.MOST_MINED)]
    return held_out, rules.that_hold(rules.mine(training), [row.reference for row in held_out])


def material_of(adapter: Adapter) -> tuple[list[HeldOutRow], list[Rule]]:
    """As `material`; nothing when the adapter's dataset has been deleted, which takes nothing from asking."""
    try:
        return material(adapter.dataset_id)
    except StudioError:
        return [], []


def asked_for(run_id: str | None, adapter_id: str | None, made: Sequence[Adapter]) -> Adapter | None:
    """The adapter that the address names, by run or by its own id, else the newest one."""
    named = (one for one in made if one.id == adapter_id or (adapter_id is None and one.job_id == run_id))
    return next(named, made[0] if made else None)


def open_page(request: gr.Request) -> tuple[Any, ...]:
    """What a visitor sees first: [teaching, content, dropdown, busy note, its timer]."""
    made = adapters.list_all()
    chosen = asked_for(layout.query(request, "run"), layout.query(request, "adapter"), made)
    now = time.time()
    choices = [(f"{one.name} · {words.duration(now - one.created_at)} ago", one.id) for one in made]
    return (
        gr.update(visible=not made),
        gr.update(visible=bool(made)),
        gr.update(choices=choices, value=chosen.id if chosen else None),
        *busy(),
    )


def busy() -> tuple[str, Any]:
    """Who keeps the model from answering now, "" when nobody does, and whether to look again."""
    said = waiting.busy(gpu.default_device())
    note = f"{said} You may ask already: the answer comes by itself." if said else ""
    return answers.notice(note), gr.update(active=bool(said))


def choose(adapter_id: str | None) -> tuple[Any, ...]:
    """All that belongs to one adapter.

    Outputs as in `measured`, then download, held-out note, position, its two buttons, and the columns.
    """
    if adapter_id is None:
        return (*measured(None), "", "", None, gr.skip(), gr.skip(), "")
    adapter = adapters.get(adapter_id)
    size = words.size(adapter.size_bytes)
    rows, _ = material_of(adapter)
    buttons = gr.update(interactive=bool(rows))
    address = f"/download/adapter/{adapter.id}"
    download = f'<a class="button plain-button" href="{address}" download>Download adapter ({size})</a>'
    return (*measured(adapter_id), download, "", None, buttons, buttons, "")


def measured(adapter_id: str | None) -> tuple[Any, ...]:
    """How well it does: [answer, scorecard, progress, check button, stop button, timer]."""
    if adapter_id is None:
        said = "No adapter yet: train one, then compare it here with the model it came from."
        return layout.answered(PATH, said), "", "", gr.skip(), gr.skip(), gr.skip()
    check, stored = checks.of(adapter_id), evaluations.latest(adapter_id)
    running = check is not None and check.is_alive()
    note = ""
    if check is not None and running:
        note = progress(check)
    elif check is not None and check.problem:
        note = tables.problem(check.problem)
    rows = min(checks.MOST_ROWS, len(material_of(adapters.get(adapter_id))[0]))
    words_of_check = f"Check it {'again ' if stored else ''}on {rows} held-out examples"
    return (
        layout.answered(PATH, answers.verdict(stored.card) if stored else NOT_MEASURED),
        answers.scorecard(stored.card) if stored else NO_CARD,
        note,
        gr.update(visible=not running, interactive=rows > 0, value=words_of_check),
        gr.update(visible=running),
        gr.update(active=running),
    )


def progress(check: checks.Check) -> str:
    """How far a check is, as a bar and a sentence."""
    share = (check.done or 0) / (check.total or 1)
    return f'{tables.meter("Scorecard", share)}<p class="quiet">{html.escape(check.sentence())}</p>'


def begin_check(adapter_id: str) -> tuple[Any, ...]:
    """Measure this adapter in the background."""
    checks.start(adapter_id)
    return measured(adapter_id)


def end_check(adapter_id: str) -> tuple[Any, ...]:
    """Stop measuring."""
    checks.stop(adapter_id)
    return measured(adapter_id)


def step(adapter_id: str, position: int | None, by: int) -> tuple[str, int | None, str]:
    """The next held-out example in that direction, around the end: [prompt, position, wanted answer]."""
    rows, _ = material_of(adapters.get(adapter_id))
    position = (0 if by > 0 else len(rows) - 1) if position is None else (position + by) % len(rows)
    row = rows[position]
    return row.messages[-1]["content"], position, answers.held_out(position + 1, len(rows), row.reference)


def end_question(tab: str | None) -> None:
    """Let a tab's question end, if it has one, within a moment and without another word.

    Gradio's own way to cancel an event drops the next click while it waits, and may show an error.
    """
    if ended := _open.pop(tab, None):
        ended.set()


def ask(
    request: gr.Request,
    adapter_id: str,
    prompt: str,
    with_examples: bool,
    position: int | None,
    *values: str,
) -> Iterator[tuple[Any, ...]]:
    """Stream the answers, in place of those of the question before: [columns, held-out note, so far, stop button]."""
    end_question(request.session_hash)
    ended = _open[request.session_hash] = threading.Event()
    try:
        with closing(_answered(adapter_id, prompt, with_examples, position, values)) as shown_so_far:
            for one in shown_so_far:
                if ended.is_set():
                    return
                yield one
    finally:
        if _open.get(request.session_hash) is ended:
            end_question(request.session_hash)


def _answered(
    adapter_id: str, prompt: str, with_examples: bool, position: int | None, values: Sequence[str]
) -> Generator[tuple[Any, ...], None, None]:
    sides = ["base", *(["few_shot"] if with_examples else []), "adapted"]
    adapter = adapters.get(adapter_id)
    rows, habits = material_of(adapter)
    row = rows[position] if position is not None else None
    if row and row.messages[-1]["content"] != prompt:
        row = None  # the prompt has been changed: nobody knows what is wanted now
    wanted = row.reference if row else None
    note = gr.skip() if row else ""
    so_far: list[SideAnswer] = []
    try:
        settings = CompareSettings.from_json({**forms.filled_in(SETTINGS, values), "sides": sides})
        yield answers.waiting(sides, waiting_words(adapter)), note, so_far, gr.update(interactive=True)
        asked = row.messages if row else prompt
        held_up = ""
        with closing(waiting.patiently(lambda: client.compare(adapter_id, asked, settings))) as items:
            for item in items:
                if not isinstance(item, Waiting):
                    held_up, so_far = "", item
                    yield answers.columns(so_far, habits, wanted), note, so_far, gr.skip()
                    continue
                # The same words again would be read out again.
                said = gr.skip() if item.words == held_up else answers.held_up(sides, item.words)
                held_up, so_far = item.words, []
                yield said, note, so_far, gr.skip()
        yield gr.skip(), note, so_far, gr.update(interactive=False)
    except StudioError as error:
        # In place of the answers, where it stays: a notice would leave the columns waiting for ever.
        yield tables.problem(str(error)), note, [], gr.update(interactive=False)


def note_question(
    adapter_id: str, prompt: str, position: int | None, system: str | None
) -> tuple[tuple[list[Any], str], Any, Any]:
    """What is asked now, for a correction of the answer: the prompt may be changed while that is written."""
    rows, _ = material_of(adapters.get(adapter_id))
    row = rows[position] if position is not None else None
    whole = row is not None and row.messages[-1]["content"] == prompt
    messages = row.messages if row and whole else [{"role": "user", "content": prompt}]
    return (messages, system or ""), gr.Button(visible=False), gr.Column(visible=False)


def waiting_words(adapter: Adapter) -> str:
    """Why nothing is written yet."""
    server = None
    with suppress(StudioError):  # one that has just ended is started again
        server = client.status()
    if server is not None and server["base_model_id"] == adapter.base_model_id:
        return "Reading the prompt…"
    return "Loading the model… The first answer takes a while."


def stop(request: gr.Request, so_far: list[SideAnswer]) -> tuple[Any, ...]:
    """End the answers where they are: [columns, answers so far, stop button]."""
    end_question(request.session_hash)
    for answer in so_far:
        if not answer["done"]:
            answer.update(done=True, finish_reason="stopped")
    ended = answers.columns(so_far, [], None) if so_far else answers.notice("Stopped before the answer.")
    return ended, so_far, gr.update(interactive=False)


def _scorecard() -> list[Any]:
    """The card with the counted result: [scorecard, progress, check button, stop button]."""
    with gr.Column(elem_classes="card"):
        card = gr.HTML(elem_id="scorecard")
        note = gr.HTML(elem_id="check-progress")
        with gr.Row(elem_classes="foot"):
            check = gr.Button("Check it", elem_id="check", size="md", scale=0, min_width=370)
            stop_check = gr.Button(
                "Stop checking", variant="stop", size="md", visible=False, elem_id="check-stop", scale=0
            )
    return [card, note, check, stop_check]


def _buttons() -> list[Any]:
    """The row under the prompt: [previous, next, with examples, stop, ask]."""
    with gr.Row(elem_classes="foot ask"):
        return [
            gr.Button("‹ Previous", elem_id="previous", size="md", scale=0, min_width=120),
            gr.Button("Next held-out example ›", elem_id="next", size="md", scale=0, min_width=230),
            gr.Checkbox(
                True, label="also base + 3 examples", elem_id="with-examples", scale=1, min_width=200
            ),
            gr.Button(
                "Stop", variant="stop", size="md", interactive=False, elem_id="stop", scale=0, min_width=90
            ),
            gr.Button("Ask", variant="primary", size="md", elem_id="ask", scale=0, min_width=90),
        ]


def build(page: gr.Blocks) -> None:
    """Lay the page out and wire it."""
    layout.bar(PATH)
    said = layout.question(PATH)
    timer = gr.Timer(TICK_SECONDS, active=False)
    busy_timer = gr.Timer(BUSY_SECONDS, active=False)
    position, so_far = gr.State(None), gr.State([])
    with gr.Column(elem_classes="room"):
        teaching = gr.HTML(layout.empty(NO_ADAPTER, "/train", "Train one"), visible=False)
        with gr.Column(visible=False, elem_id="compare") as content:
            adapter = gr.Dropdown([], label="Adapter", elem_id="compare-adapter", filterable=True)
            card, note, check, stop_check = _scorecard()
            with gr.Column(elem_classes="card"):
                gr.HTML("<h2>Try it</h2>")
                busy_note = gr.HTML(elem_id="busy")
                hint = "Ask something that your examples would ask"
                prompt = gr.Textbox(label="Prompt", lines=2, max_lines=12, placeholder=hint, elem_id="prompt")
                back, forth, with_examples, stopping, asking = _buttons()
                held_out = gr.HTML(elem_id="held-out")
                columns = gr.HTML(elem_id="answers")
                correction = correcting.build(adapter, so_far)
                with gr.Accordion("Advanced", open=False):
                    fields = list(forms.fields_for(CompareSettings, SETTINGS).values())
                download = gr.HTML(elem_id="download")

    measure = [said, card, note, check, stop_check, timer]
    all_of_one = [*measure, download, held_out, position, back, forth, columns]
    opened = page.load(shown(open_page), None, [teaching, content, adapter, busy_note, busy_timer], **QUIET)
    opened.then(shown(choose), adapter, all_of_one, **QUIET)
    adapter.input(shown(choose), adapter, all_of_one, js=SET_ADDRESS, **QUIET)
    timer.tick(shown(measured), adapter, measure, **QUIET)
    busy_timer.tick(shown(busy), None, [busy_note, busy_timer], **QUIET)
    check.click(shown(begin_check), adapter, measure, **QUIET)
    stop_check.click(shown(end_check), adapter, measure, **QUIET)

    asked: dict[str, Any] = {
        "fn": shown(ask),
        "inputs": [adapter, prompt, with_examples, position, *fields],
        "outputs": [columns, held_out, so_far, stopping],
        "trigger_mode": "multiple",
        **QUIET,
    }
    stepped: dict[str, Any] = {
        "inputs": [adapter, position],
        "outputs": [prompt, position, held_out],
        **QUIET,
    }
    noted: dict[str, Any] = {
        "fn": shown(note_question),
        "inputs": [adapter, prompt, position, fields[SETTINGS.index("system")]],
        "outputs": [correction.asked, correction.offer, correction.card],
        **QUIET,
    }
    ends: dict[str, Any] = {"fn": correcting.offered, "inputs": so_far, "outputs": correction.offer, **QUIET}
    for asks in (asking.click, prompt.submit):
        asks(**noted)
        asks(**asked).success(**ends)
    for button, by in ((back, -1), (forth, +1)):
        turned = button.click(shown(lambda adapter_id, at, by=by: step(adapter_id, at, by)), **stepped)
        turned.success(**noted)
        turned.success(**asked).success(**ends)
    stopping.click(shown(stop), so_far, [columns, so_far, stopping], **QUIET).success(**ends)
