"""A set of prompts → HTML: how far it is, a page of its answers, where it is to be had as a file. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from jobs.evaluation import prompt_sets
from jobs.evaluation.prompt_sets import Answered
from storage.jobs import Job
from studio import tables, words
from studio.compare.columns import kind


def note(said: str) -> str:
    """A sentence about what was found or queued, read out once."""
    return f'<p class="quiet" role="status">{html.escape(said)}</p>'


def progress(job: Job, place: int | None) -> str:
    """The state of a set, with a bar while it is answered."""
    state = tables.status(job, place)
    bar = ""
    if job.phase_total and job.status != "finished":
        bar = tables.meter("Answers", (job.phase_done or 0) / job.phase_total)
    return f'<div class="set-state">{state}{bar}</div>'


def table(job: Job, found: Sequence[Answered], total: int) -> str:
    """One page of a set: a row for each prompt, a column for each side."""
    named = prompt_sets.labels(job)
    headings = ["Prompt"]
    headings += [
        f'<span class="of-{kind(side)}">{html.escape(label)}</span>' for side, label in named.items()
    ]
    rows = [[_prompt(one), *(_answer(one.answers.get(side), job) for side in named)] for one in found]
    last = found[-1].number if found else 0
    first = found[0].number if found else 0
    caption = f"Prompts {first:,} to {last:,} of {total:,}"
    return f'<p class="quiet">{caption}</p>{tables.table(caption, headings, rows)}'


def downloads(job: Job) -> str:
    """Where the set is to be had as a file, with how much of it is there where that is not all."""
    done, total = job.phase_done or 0, job.phase_total or 0
    if job.status != "finished" and not done:
        return ""
    so_far = (
        f"So far: {done:,} of {total:,} answers. The others are empty in the files." if done < total else ""
    )
    address = f"/download/prompts/{html.escape(job.id)}"
    return (
        f'<p class="files"><a href="{address}.csv" download>Prompts and answers as CSV</a> '
        f'<a href="{address}.jsonl" download>as JSON lines</a></p>'
        f"<p class=quiet>{so_far} In the CSV file a text that a spreadsheet program would calculate, such as one "
        "that begins with =, has an apostrophe before it.</p>"
    )


def _prompt(one: Answered) -> str:
    turns = len(one.messages) - 1
    before = f'<span class="quiet">after {words.many(turns, "turn")}</span>' if turns else ""
    return (
        f'<span class="quiet">{one.number:,}</span> {before}<div class="text">{html.escape(one.prompt)}</div>'
    )


def _answer(answer: dict[str, Any] | None, job: Job) -> str:
    if answer is None:
        return '<span class="quiet">not yet</span>' if job.status in ("queued", "running") else tables.NOTHING
    if "error" in answer:
        return f'<span class="wrong">{html.escape(answer["error"])}</span>'
    cut = '<p class="quiet">Cut at the longest answer.</p>' if answer["finish_reason"] == "length" else ""
    return f'<div class="text">{html.escape(answer["text"].rstrip())}</div>{cut}'
