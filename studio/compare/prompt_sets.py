"""Many prompts: a whole list of prompts through all columns, as a job that nothing interrupts for good."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gradio as gr

from jobs import queue
from jobs.evaluation import prompt_lists, prompt_sets
from jobs.evaluation.prompt_lists import PromptList
from jobs.serving import sides
from jobs.serving.schema import CompareSettings
from storage import adapters, waiting
from storage.errors import StudioError
from studio import forms, tables, words
from studio.charts import OPEN
from studio.compare import prompts_view
from studio.compare.part import QUIET, Part
from studio.notices import passes, shown

SETTINGS = ("temperature", "max_new_tokens", "seed", "system")
SEPARATED = [
    ("One prompt on each line", prompt_lists.LINES),
    ("Empty lines between them", prompt_lists.BLANK_LINES),
]
FILE_TYPES = [".txt", ".csv", ".tsv", ".jsonl", ".json", ".xlsx", ".parquet", ".md"]
PAGE_SIZE = 20
TICK_SECONDS = 1.5
DEFAULT_SIDES = ["base", "adapted"]


def choose(adapter_id: str | None) -> tuple[Any, ...]:
    """All that belongs to one adapter: [sides, sets, page number, *view]."""
    if adapter_id is None:
        return (gr.skip(), gr.update(choices=[], value=None, visible=False), 0, *view(None, 0))
    offered = sides.offered(adapters.get(adapter_id))
    choices = _choices(adapter_id)
    newest = choices[0][1] if choices else None
    return (gr.update(choices=offered, value=DEFAULT_SIDES), _sets(choices, newest), 0, *view(newest, 0))


def view(job_id: str | None, number: int) -> tuple[Any, ...]:
    """A set as it stands: [progress, table, downloads, earlier, later, stop, go on, timer]."""
    if job_id is None:
        hidden = gr.update(visible=False)
        return ("", "", "", hidden, hidden, hidden, hidden, gr.update(active=False))
    job = prompt_sets.get(job_id)
    total = int(job.settings["prompts"])
    found = prompt_sets.page(job_id, number * PAGE_SIZE, PAGE_SIZE)
    return (
        prompts_view.progress(job, waiting.place(job_id)),
        prompts_view.table(job, found, total),
        prompts_view.downloads(job),
        gr.update(visible=total > PAGE_SIZE, interactive=number > 0),
        gr.update(visible=total > PAGE_SIZE, interactive=(number + 1) * PAGE_SIZE < total),
        gr.update(visible=job.status in OPEN, interactive=job.status != "stopping"),
        gr.update(visible=job.status in ("stopped", "failed")),
        gr.update(active=job.status in OPEN),
    )


def ticked(job_id: str | None, number: int) -> tuple[Any, ...]:
    """As `view`, while a set is answered; one that was deleted meanwhile is said once."""
    try:
        return view(job_id, number)
    except StudioError as error:
        if passes(error):
            raise
        return (tables.problem(str(error)), *view(None, 0)[1:])


def look_into(path: str | None) -> tuple[Any, str]:
    """The columns of a file that was just chosen, and what was found in it: [column, note]."""
    if path is None:
        return gr.update(choices=[], value=None, visible=False), ""
    name = Path(path).name
    columns, chosen = prompt_lists.columns_of(Path(path), name)
    if not columns:
        return gr.update(choices=[], value=None, visible=False), prompts_view.note(f"{name}: plain text.")
    said = (
        f"{name}: the prompts are in “{chosen}”."
        if chosen
        else f"{name}: choose the column with the prompts."
    )
    return gr.update(choices=columns, value=chosen, visible=True), prompts_view.note(said)


def start(
    adapter_id: str,
    text: str,
    separated: str,
    path: str | None,
    column: str | None,
    chosen: list[str],
    *values: str,
) -> tuple[Any, ...]:
    """Queue what was pasted or chosen: [note, sets, page number, *view]."""
    if not chosen:
        raise StudioError("Nobody is chosen to answer.", "Choose at least one under “Who answers”.")
    settings = {**forms.filled_in(SETTINGS, values), "sides": chosen}
    asked, source = _asked(text, separated, path, column)
    job = prompt_sets.submit(adapter_id, asked, settings, source)
    left_out = f" {words.many(asked.left_out, 'row')} had none." if asked.left_out else ""
    said = f"{words.many(len(asked.prompts), 'prompt')} queued.{left_out}"
    return (prompts_view.note(said), _sets(_choices(adapter_id), job.id), 0, *view(job.id, 0))


def stop(job_id: str, number: int) -> tuple[Any, ...]:
    """End a set after the answers that are being written; what is there stays."""
    queue.stop(job_id)
    return view(job_id, number)


def go_on(job_id: str, number: int) -> tuple[Any, ...]:
    """Answer what a stopped or failed set still lacks."""
    queue.retry(job_id)
    return view(job_id, number)


def _asked(text: str, separated: str, path: str | None, column: str | None) -> tuple[PromptList, str]:
    if text.strip() and path is not None:
        raise StudioError("There are pasted prompts and a file.", "Take one of them away, then ask again.")
    if path is not None:
        return prompt_lists.of_file(Path(path), Path(path).name, column, separated), Path(path).name
    return prompt_lists.of_text(text, separated), "pasted"


def _choices(adapter_id: str) -> list[tuple[str, str]]:
    now = time.time()
    found = prompt_sets.of_adapter(adapter_id)
    return [
        (
            f"{words.many(job.settings['prompts'], 'prompt')} · {job.settings['source']} · "
            f"{words.duration(now - job.created_at)} ago",
            job.id,
        )
        for job in found
    ]


def _sets(choices: list[tuple[str, str]], chosen: str | None) -> Any:
    return gr.update(choices=choices, value=chosen, visible=len(choices) > 1)


def _material() -> list[Any]:
    """What is asked, of whom: [text, separated, file, column, sides]."""
    hint = "What is your return policy?\nHow do I change my password?"
    text = gr.Textbox(
        label="Prompts",
        lines=5,
        max_lines=16,
        placeholder=hint,
        elem_id="prompts-text",
        max_length=50_000_000,
    )
    separated = gr.Radio(
        SEPARATED, value=prompt_lists.LINES, label="In the text", elem_id="prompts-separated"
    )
    with gr.Row():
        file = gr.File(
            label="Or a file: text, CSV, JSON lines, Excel",
            file_types=FILE_TYPES,
            elem_id="prompts-file",
            height=160,
        )
        column = gr.Dropdown([], label="Column with the prompts", elem_id="prompts-column", visible=False)
    chosen = gr.Dropdown([], label="Who answers", multiselect=True, max_choices=6, elem_id="prompts-sides")
    return [text, separated, file, column, chosen]


def build(adapter: gr.Dropdown) -> Part:
    """Lay the card out and wire it."""
    number = gr.State(0)
    timer = gr.Timer(TICK_SECONDS, active=False)
    with gr.Column(elem_classes="card", elem_id="prompts"):
        material = _material()
        with gr.Accordion("Advanced", open=False):
            fields = list(forms.fields_for(CompareSettings, SETTINGS).values())
        with gr.Row(elem_classes="foot"):
            run = gr.Button(
                "Ask them all", variant="primary", elem_id="prompts-run", size="md", scale=0, min_width=150
            )
            stopping = gr.Button(
                "Stop",
                variant="stop",
                visible=False,
                elem_id="prompts-stop",
                size="md",
                scale=0,
                min_width=90,
            )
            again = gr.Button(
                "Go on", visible=False, elem_id="prompts-go-on", size="md", scale=0, min_width=90
            )
        said = gr.HTML(elem_id="prompts-note")
        sets = gr.Dropdown([], label="Sets asked before", visible=False, elem_id="prompts-sets")
        progress = gr.HTML(elem_id="prompts-progress")
        table = gr.HTML(elem_id="prompt-table")
        with gr.Row(elem_classes="foot"):
            back = gr.Button("‹ Earlier prompts", visible=False, elem_id="prompts-back", size="md", scale=0)
            forth = gr.Button("Later prompts ›", visible=False, elem_id="prompts-forth", size="md", scale=0)
        files = gr.HTML(elem_id="prompts-files")

    seen = [progress, table, files, back, forth, stopping, again, timer]
    text, separated, file, column, chosen = material
    file.change(shown(look_into), file, [column, said], **QUIET)
    run.click(
        shown(start),
        [adapter, text, separated, file, column, chosen, *fields],
        [said, sets, number, *seen],
        **QUIET,
    )
    sets.input(shown(lambda id: (0, *view(id, 0))), sets, [number, *seen], **QUIET)
    timer.tick(shown(ticked), [sets, number], seen, **QUIET)
    stopping.click(shown(stop), [sets, number], seen, **QUIET)
    again.click(shown(go_on), [sets, number], seen, **QUIET)
    for button, by in ((back, -1), (forth, +1)):
        button.click(
            shown(lambda id, at, by=by: (at + by, *view(id, at + by))),
            [sets, number],
            [number, *seen],
            **QUIET,
        )
    return Part([chosen, sets, number, *seen], choose)
