"""Records → HTML tables. Pure functions; what comes from people, data or models is escaped here."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from storage.adapters import Adapter
from storage.jobs import Job
from studio import words
from studio.layout import address

# Mark, word and the pill's class: the mark says it without colour, the word without the mark.
STATUS = {
    "queued": ("○", "queued", ""),
    "paused": ("‖", "paused", "tight"),
    "running": ("●", "running", "good"),
    "silent": ("?", "no progress", "tight"),
    "stopping": ("◐", "stopping", "tight"),
    "stopped": ("■", "stopped", ""),
    "finished": ("✓", "finished", "good"),
    "failed": ("✗", "failed", "wrong"),
}
NOTHING = "–"


def table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names the row; headings and cells are HTML already, the caption is text.

    It scrolls sideways in its own box, which the keyboard can reach, so that a phone's page never does.
    """
    label = html.escape(caption)
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    body = "".join(_row(first, others) for first, *others in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table class="plain">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(first: str, others: Sequence[str]) -> str:
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names with their values, both HTML already, as a two-column table without a head."""
    rows = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in pairs)
    return f'<table class="plain facts-table"><tbody>{rows}</tbody></table>'


def meter(label: str, share: float) -> str:
    """A bar filled to `share` (0 to 1), with its name for those who cannot see it."""
    percent = f"{100 * share:.0f}"
    return (
        f'<div class="meter" role="progressbar" aria-label="{html.escape(label)}" aria-valuenow="{percent}">'
        f'<i style="width:{percent}%"></i></div>'
    )


def problem(text: str) -> str:
    """A problem in words, which stays on the page until something else happens."""
    return f'<p class="problem" role="alert">{html.escape(text)}</p>'


def status(job: Job, place: int | None = None) -> str:
    """A job's state as a mark and a word; a failure with its reason, a running job with how far it is.

    `place` is that of a waiting job in its queue.
    """
    mark, word, look = STATUS.get(words.curve(job), STATUS[job.status])
    pill = f'<span class="pill {look}"><span aria-hidden="true">{mark}</span> {word}</span>'
    if job.attempt > 1:
        pill += f' <span class="pill">attempt {job.attempt}</span>'
    if waits := words.standing(job, place):
        return f'{pill}<div class="quiet">{html.escape(waits)}</div>'
    if job.status == "failed" and job.error_message:
        reason = f"{job.error_message} {job.error_remedy or ''}".strip()
        return f'{pill}<div class="quiet">{html.escape(reason)}</div>'
    if job.status == "running" and job.total_steps:
        left = f", about {words.duration(job.seconds_left)} left" if job.seconds_left is not None else ""
        return f'{pill}<div class="quiet">step {job.step:,} of {job.total_steps:,}{left}</div>'
    if job.status == "running" and job.phase:
        so_far = f", {words.share(job.phase_done or 0, job.phase_total)}" if job.phase_total else ""
        return f'{pill}<div class="quiet">{html.escape(job.phase)}{so_far}</div>'
    return pill


def when(moment: float, now: float) -> str:
    """A time as people say it, with the exact one on hover."""
    ago, local = now - moment, time.localtime(moment)
    if ago < 60:
        short = "just now"
    elif ago < 24 * 3600:
        short = f"{words.duration(ago)} ago"
    else:
        short = time.strftime("%-d %B %Y", local)
    return words.hover(short, time.strftime("%Y-%m-%d %H:%M:%S", local))


def runs(
    found: Sequence[Job],
    model_names: dict[str, str],
    adapter_bytes: dict[str, int],
    queues: Sequence[Sequence[str]],
    now: float,
) -> str:
    """One page of jobs; `model_names` and `adapter_bytes` are by id, `now` in epoch seconds.

    `queues` are the ids of the waiting jobs of each device, the next one first.
    """
    headings = ["Run", "Status", "Base model", "Rank", "Held-out loss", "Started", "Took"]
    headings.append('<span class="sr">Links</span>')
    places = {id: (place, len(queue)) for queue in queues for place, id in enumerate(queue, start=1)}
    rows = [_run(job, model_names, adapter_bytes, places.get(job.id), now) for job in found]
    return table("Runs, newest first", headings, rows)


def _run(
    job: Job,
    model_names: dict[str, str],
    adapter_bytes: dict[str, int],
    place: tuple[int, int] | None,
    now: float,
) -> list[str]:
    ended = job.finished_at or (now if job.status in {"running", "stopping"} else None)
    return [
        html.escape(job.name),
        status(job, place[0] if place else None),
        html.escape(model_names.get(job.base_model_id or "", job.base_model_id or NOTHING)),
        words.ranks(job) if job.rank else NOTHING,
        f"{job.held_out_loss:.3f}" if job.held_out_loss is not None else NOTHING,
        when(job.started_at or job.created_at, now),
        words.duration(ended - job.started_at) if ended and job.started_at else NOTHING,
        " ".join([*_links(job, adapter_bytes), *_moves(job, place)]),
    ]


def _links(job: Job, adapter_bytes: dict[str, int]) -> list[str]:
    links = []
    if job.kind == "training":
        links.append(_link(address("/train", run=job.id), "Watch", job.name))
    if job.adapter_id and job.adapter_id in adapter_bytes:
        links.append(_link(address("/compare", run=job.id), "Compare", job.name))
        size = words.size(adapter_bytes[job.adapter_id])
        links.append(_link(f"/download/adapter/{job.adapter_id}", "Download", f"{job.name}, {size}"))
    return links


def _moves(job: Job, place: tuple[int, int] | None) -> list[str]:
    """The buttons that move a waiting job in its queue of several."""
    if place is None:
        return []
    sooner = [button("Sooner", job.name, job=job.id, where="up")] if place[0] > 1 else []
    later = [button("Later", job.name, job=job.id, where="down")] if place[0] < place[1] else []
    return sooner + later


def button(text: str, of: str, look: str = "word-button", /, event: str = "select", **sent: object) -> str:
    """A button in a table, text and `of` plain; layout.SENDS hands what it sends to the table's handler of `event`."""
    label = html.escape(f"{text}: {of}" if of else text)
    data = html.escape(json.dumps(sent))
    return (
        f'<button type="button" class="{look}" data-event="{event}" data-sends="{data}" title="{label}" '
        f'aria-label="{label}">{html.escape(text)}</button>'
    )


def applies(text: str, of: str, look: str = "word-button", /, **sent: object) -> str:
    """A button that changes what the others of the same table only look at.

    It has an event, so a handler of its own: Gradio leaves out a click while its handler is busy, and one handler
    for both would swallow a change that is asked for right after a look.
    """
    return button(text, of, look, event="apply", **sent)


def _link(target: str, text: str, of: str) -> str:
    label = f"{text}: {html.escape(of)}"
    return f'<a href="{html.escape(target)}" title="{label}" aria-label="{label}">{text}</a>'


def trials(found: Sequence[dict[str, Any]], kept: int | None) -> str:
    """The runs of a sweep that were trained side by side; `kept` is the place of the best one in `found`."""
    headings = ["Trial", "Rank", "Learning rate", "Best held-out loss", "Kept"]
    mark = '<span class="pill good"><span aria-hidden="true">◆</span> kept</span>'
    rows = []
    for place, trial in enumerate(found):
        loss, step = trial.get("best_held_out_loss"), trial.get("best_step")
        said = NOTHING if loss is None else f"{loss:.3f}" + ("" if step is None else f" at step {step:,}")
        rows.append(
            [
                str(place + 1),
                str(trial["rank"]),
                f"{trial['learning_rate']:g}",
                said,
                mark if place == kept else "",
            ]
        )
    return table("What was tried", headings, rows)


def last_patch(adapter: Adapter, model_name: str, model_parameters: int | None) -> str:
    """What an adapter is: its size, its share of the model's values, and the matrices it changes."""
    share = (
        f" of {words.count(model_parameters)} ({words.share(adapter.parameters, model_parameters)})"
        if model_parameters
        else ""
    )
    modules = ", ".join(f"<code>{html.escape(name)}</code>" for name in adapter.target_modules)
    learned = words.hover(words.count(adapter.parameters), words.exact(adapter.parameters))
    factor = f"{adapter.alpha / adapter.rank:g}"
    return facts(
        [
            ("Adapter", html.escape(adapter.name)),
            ("Made for", html.escape(model_name)),
            ("Values learned", learned + share),
            (
                "Size of the file",
                words.hover(words.size(adapter.size_bytes), f"{adapter.size_bytes:,} bytes"),
            ),
            (
                "Rank and alpha",
                f"{adapter.rank} and {adapter.alpha:g}, so the patch is multiplied by {factor}",
            ),
            ("Matrices it changes (target modules)", modules),
        ]
    )
