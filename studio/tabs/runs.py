"""Runs: everything that was trained or fetched here, newest first."""

from __future__ import annotations

import time

import gradio as gr

from jobs import queue
from jobs.base_models import catalogue
from storage import adapters, jobs, waiting
from studio import layout, tables, words
from studio.charts import OPEN
from studio.notices import shown

PATH = "/runs"
PAGE_SIZE = 50
REFRESH_SECONDS = 3
# What a user starts and waits for. Scorecards are made by themselves and shown with their adapters.
LISTED = ("training", "fetch")
CHECKS = "scorecard"


def answer() -> str:
    """The page's answer in one sentence."""
    total = len(adapters.list_all())
    running = jobs.count("running", LISTED) + jobs.count("stopping", LISTED)
    queued = jobs.count("queued", LISTED)
    checked = jobs.count("running", CHECKS)
    made = layout.strong(words.many(total, "adapter")) if total else "No adapter yet"
    now = f"{running or 'nothing'} {'is' if running < 2 else 'are'} running"
    beside = (
        f" {words.many(checked, 'adapter')} {'is' if checked == 1 else 'are'} being checked."
        if checked
        else ""
    )
    return f"{made}; {now}{f', {queued} waiting' if queued else ''}.{beside}"


def show(number: int) -> tuple[str, str, dict, dict, dict, int]:
    """Page `number` (from 0) of the runs: answer, table, both buttons, timer, and the number really shown."""
    found = jobs.list_all(LISTED, limit=(number + 1) * PAGE_SIZE + 1)
    number = min(number, max(0, (len(found) - 1) // PAGE_SIZE))
    rows = found[number * PAGE_SIZE : (number + 1) * PAGE_SIZE]
    more = len(found) > (number + 1) * PAGE_SIZE
    paged = number > 0 or more
    if rows:
        names = {model.id: model.name for model in catalogue.all_models()}
        sizes = {adapter.id: adapter.size_bytes for adapter in adapters.list_all()}
        content = tables.runs(rows, names, sizes, queues(), time.time())
    else:
        words_of_empty = "Nothing has been trained yet. Bring some examples, choose a model, and start."
        content = layout.empty(words_of_empty, "/", "Bring your examples")
    return (
        layout.answered(PATH, answer()),
        content,
        gr.update(visible=paged, interactive=number > 0),
        gr.update(visible=paged, interactive=more),
        gr.update(active=any(jobs.count(status) for status in OPEN)),
        number,
    )


def queues() -> list[list[str]]:
    """The ids of the waiting jobs, a list for each device, the next one first."""
    of_device: dict[str, list[str]] = {}
    for job in waiting.in_order():
        of_device.setdefault(job.device, []).append(job.id)
    return list(of_device.values())


def move(number: int, event: gr.EventData) -> tuple[str, str, dict, dict, dict, int]:
    """Move a waiting job up or down, as the button in its row says; the page again."""
    queue.move(event.job, event.where)
    return show(number)


def build(page: gr.Blocks) -> None:
    """Lay the page out; the timer runs only while something is open."""
    layout.bar(PATH)
    said = layout.question(PATH)
    number = gr.State(0)
    timer = gr.Timer(REFRESH_SECONDS, active=False)
    with gr.Column(elem_classes="room"):
        content = gr.HTML(elem_id="runs", elem_classes="card", js_on_load=layout.SENDS)
        with gr.Row(elem_classes="foot"):
            newer = gr.Button("Newer runs", size="md", visible=False, elem_id="runs-newer")
            older = gr.Button("Older runs", size="md", visible=False, elem_id="runs-older")
    outputs = [said, content, newer, older, timer, number]
    quiet = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
    page.load(shown(lambda: show(0)), None, outputs, **quiet)
    timer.tick(shown(show), number, outputs, **quiet)
    content.select(shown(move), number, outputs, **quiet | layout.EVERY_CLICK)
    newer.click(shown(lambda number: show(number - 1)), number, outputs, **quiet)
    older.click(shown(lambda number: show(number + 1)), number, outputs, **quiet)
