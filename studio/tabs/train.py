"""Step 3, "Is it learning?": one run as it is now, live, with Stop; the address names the run."""

from __future__ import annotations

import html
import json
from typing import Any

import gradio as gr

from jobs import queue
from jobs.training.settings import TrainingSettings, as_text
from storage import adapters, files, jobs
from storage.jobs import Job
from studio import layout, tables, words
from studio.charts import OPEN
from studio.notices import shown

PATH = "/train"
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def build(page: gr.Blocks) -> None:
    """The page and its handlers."""
    layout.bar(PATH)
    answer = layout.question(PATH)
    with gr.Column(elem_classes="room"):
        run_id = gr.State()
        # When the live picture sees the end of the run it clicks the hidden button, and Python redraws what is offered.
        run = gr.HTML(
            apply_default_css=False, elem_id="run",
            js_on_load="element.addEventListener('run-ended', () => document.querySelector('#refresh-run')?.click())",
        )  # fmt: skip
        tried = gr.HTML(apply_default_css=False, elem_id="tried")
        refresh = gr.Button("Refresh", visible="hidden", elem_id="refresh-run")
        with gr.Row(elem_classes="foot"):
            note = gr.HTML(apply_default_css=False, elem_id="run-note")
            stop = gr.Button(
                "Stop and keep the best",
                variant="stop",
                visible=False,
                elem_id="stop",
                scale=0,
                min_width=210,
            )
            again = gr.Button("Start it again", visible=False, elem_id="again", scale=0, min_width=160)
            onward = gr.HTML(apply_default_css=False, elem_id="to-compare")

    ends = [note, stop, again, onward, tried]
    target = layout.unseen()
    page.load(shown(restore), None, [run_id, answer, run, *ends], **PRIVATE)
    refresh.click(shown(offers), [run_id], ends, **layout.DIRECT)
    stop.click(shown(stop_run), [run_id], ends, **PRIVATE)
    again.click(shown(start_again), [run_id], [target], **PRIVATE).success(
        None, [target], js="(target) => window.studioGo(target)", **PRIVATE
    )


def restore(request: gr.Request) -> tuple[Any, ...]:
    """The run of the address, else the newest training run; the empty page teaches what to do."""
    named = layout.query(request, "run")
    newest = jobs.list_all(kind="training", limit=1)
    job = jobs.get(named) if named else newest[0] if newest else None
    if job is None:
        return (
            None,
            layout.answered(PATH, "Nothing is being trained yet."),
            layout.empty(
                "A run shows here how well the model learns, from its first step on.", "/", "Bring examples"
            ),
            *[gr.skip()] * 5,
        )
    return (
        job.id,
        layout.answered(PATH, html.escape(words.CURVE.get(job.status, ""))),
        run_html(job),
        *offers(job.id),
    )


def run_html(job: Job) -> str:
    """Chart, progress and numbers of one run as it is now; studio's live.js draws the chart and keeps all of it new."""
    table = html.escape(json.dumps(words.CURVE), quote=True)
    return (
        f'<div class="live" data-run="{job.id}" data-words="{table}"><div class="columns">'
        '<section class="card wide" aria-labelledby="loss-title"><div class="between"><h2 id="loss-title">Loss</h2>'
        '<p class="legend quiet"><span class="key training" aria-hidden="true"></span>training '
        '<span class="key held-out" aria-hidden="true"></span>held-out '
        '<span class="key best" aria-hidden="true">◆</span>best so far</p></div>'
        '<div class="chart" role="img" aria-label="Training and held-out loss by step"></div>'
        '<p class="quiet">Loss says how surprised the model is by the wanted answers: lower is better. '
        "Held-out examples are never trained on. Drag to zoom, double-click to go back.</p></section>"
        f'<div class="narrow"><section class="card"><h2>Progress</h2>{progress_html(job)}'
        '<p class="wrong" data-part="connection" role="status"></p></section>'
        f'<section class="card"><h2>This run</h2>{facts_html(job)}</section>{how_html(job)}</div></div></div>'
    )


def progress_html(job: Job) -> str:
    """How far the run was when the page was made, so that a page just opened is never empty."""
    step = f"Step {job.step:,} of {job.total_steps:,}" if job.total_steps else words.CURVE["step_unknown"]
    percent = 100 * job.step / job.total_steps if job.total_steps else 0
    now = html.escape(job.phase) if job.status in OPEN else ""
    return (
        f'<p class="big" data-part="step">{step}</p>'
        '<div class="meter" data-part="meter" role="progressbar" aria-label="Progress" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent:.0f}"><i style="width:{percent:.0f}%"></i></div>'
        f'<p class="quiet" data-part="now">{now}</p><p class="quiet" data-part="speed"></p>'
        f'<p class="quiet" data-part="foreseen">{html.escape(words.foreseen(job))}</p>'
    )


def how_html(job: Job) -> str:
    """How the run computes, a sentence each; nothing is seen of it before there is one."""
    sentences = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in words.how(job))
    hidden = "" if sentences else " hidden"
    return (
        f'<section class="card" data-part="how"{hidden}><h2>How it computes</h2>'
        f'<ul class="quiet" data-part="notes">{sentences}</ul></section>'
    )


def trials_html(job: Job) -> str:
    """What a run that tried several ranks or learning rates found; empty for one that tried one."""
    found = job.result.get("trials") or []
    if len(found) < 2:
        return ""
    return (
        f'<section class="card"><h2>What was tried</h2>{tables.trials(found, job.result.get("best_trial"))}'
        '<p class="quiet">All were trained side by side on the same examples. Kept is the one with the lowest'
        " held-out loss.</p></section>"
    )


def facts_html(job: Job) -> str:
    """What was started: name, rank, and the settings that differ from the defaults."""
    usual = TrainingSettings().as_json()
    kept = {key: value for key, value in job.settings.items() if value != usual.get(key)}
    chosen = "; ".join(
        f"{key.replace('_', ' ')} {value.replace('_', ' ') if isinstance(value, str) else as_text(value)}"
        for key, value in kept.items()
    )
    return (
        f'<dl class="short"><dt>Name</dt><dd>{html.escape(job.name)}</dd>'
        f"<dt>Rank</dt><dd>{words.ranks(job)}</dd>"
        f"<dt>Best held-out loss</dt><dd data-part='best'>–</dd>"
        f"<dt>Settings</dt><dd>{html.escape(chosen) or 'automatic'}</dd></dl>"
    )


def offers(job_id: str | None) -> tuple[Any, ...]:
    """What can be done now: the note, Stop, Start again, Compare; and what a sweep has found."""
    if job_id is None:
        return (gr.skip(),) * 5
    job = jobs.get(job_id)
    is_open = job.status in OPEN
    note = "You can close this page: training goes on." if is_open else ""
    if job.error_message:
        note = problem_html(job)
    elif job.adapter_id:
        note = (
            f"The adapter is {words.size(adapters.get(job.adapter_id).size_bytes)} and keeps the best step."
        )
    ready = job.adapter_id is not None
    link = layout.address("/compare", dataset=job.dataset_id, model=job.base_model_id, run=job.id)
    waiting = "" if ready else 'aria-disabled="true" tabindex="-1"'
    target = f'href="{html.escape(link)}"' if ready else 'role="link"'
    return (
        f'<div class="quiet">{note}</div>',
        gr.Button(visible=job.status in {"queued", "running"}),
        gr.Button(visible=job.status in {"failed", "stopped"}),
        f'<p class="onward"><a class="button" {target} {waiting}>Compare answers</a></p>',
        trials_html(job),
    )


def problem_html(job: Job) -> str:
    """What went wrong, what to do, and the end of the log for somebody who wants to look closer."""
    said = f'<span class="wrong" role="alert">{html.escape(job.error_message or "")}</span> '
    log = html.escape(log_tail(job.id))
    lines = f'<pre class="log" tabindex="0">{log}</pre>'
    more = f"<details><summary>Last lines of the log</summary>{lines}</details>" if log else ""
    return said + html.escape(job.error_remedy or "") + more


def log_tail(job_id: str, lines: int = 40) -> str:
    """The last lines of a run's log; empty before it has one."""
    path = files.run_folder(job_id) / "log.txt"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.is_file() else ""


def stop_run(job_id: str) -> tuple[Any, ...]:
    """Ask the run to stop; what is best so far is kept."""
    queue.stop(job_id)
    return offers(job_id)


def start_again(job_id: str) -> str:
    """Queue the same examples, model and settings once more and return the new run's address."""
    job = jobs.get(job_id)
    assert job.dataset_id and job.base_model_id and job.rank  # only training runs have this page
    new = queue.submit_training(
        job.dataset_id, job.base_model_id, job.rank, job.settings, request_key=f"again-{job.id}-{job.attempt}"
    )
    return layout.address("/train", dataset=job.dataset_id, model=job.base_model_id, run=new.id)
