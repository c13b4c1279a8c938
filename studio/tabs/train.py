"""Step 3, "Is it learning?": one run as it is now, live, with Stop; the address names the run."""

from __future__ import annotations

import html
import json
from typing import Any

import gradio as gr

from jobs import queue, recovery
from jobs.training.settings import TrainingSettings, as_text
from storage import adapters, files, jobs
from storage.errors import StudioError
from storage.jobs import Job
from studio import layout, offers, tables, train_film, two_step, words
from studio.charts import OPEN
from studio.notices import passes, shown
from studio.offers import Offers

PATH = "/train"
DELETE_QUESTION = (
    "Delete this run? Its curve, log and checkpoints go to the trash, and System can put them back for a week. "
    "Its adapter stays."
)
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def build(page: gr.Blocks) -> None:
    """The page and its handlers."""
    layout.bar(PATH)
    answer = layout.question(PATH)
    with gr.Column(elem_classes="room"):
        run_id = gr.State()
        # When the live picture sees that something else can be done now, it clicks the hidden button, and Python
        # redraws what is offered.
        run = gr.HTML(
            apply_default_css=False, elem_id="run",
            js_on_load="element.addEventListener('run-changed', () => document.querySelector('#refresh-run')?.click())",
        )  # fmt: skip
        tried = gr.HTML(apply_default_css=False, elem_id="tried")
        refresh = gr.Button("Refresh", visible="hidden", elem_id="refresh-run")
        with gr.Row(elem_classes="foot"):
            note = gr.HTML(apply_default_css=False, elem_id="run-note")
            stop = _button("Stop and keep the best", "stop", 210, variant="stop")
            sooner = _button("Sooner", "sooner", 100)
            later = _button("Later", "later", 100)
            delete = _button("Delete this run", "delete-run", 150)
            again = _button("Start it again", "again", 150)
            go_on = _button("Go on", "go-on", 200, variant="primary")
            onward = gr.HTML(apply_default_css=False, elem_id="to-compare")
        sure = two_step.build(delete, DELETE_QUESTION, "Delete the run", "Keep it")
        # Last, so that no button moves when the first frame comes.
        film = train_film.build(run_id)

    ends = [note, stop, sooner, later, delete, sure.row, again, go_on, onward, tried]
    target = layout.unseen()
    opened = page.load(shown(restore), None, [run_id, answer, run, *ends], **PRIVATE)
    opened.then(shown(train_film.opened), [run_id], film.drawn, **PRIVATE)
    refresh.click(shown(foot), [run_id], ends, **layout.DIRECT)
    for button, done in ((stop, stop_run), (sooner, move_up), (later, move_down), (go_on, go_on_with)):
        button.click(shown(done), [run_id], ends, **PRIVATE)
    for button, go in ((again, start_again), (sure.yes, delete_run)):
        button.click(shown(go), [run_id], [target], **PRIVATE).success(
            None, [target], js="(target) => window.studioGo(target)", **PRIVATE
        )


def _button(words_on_it: str, elem_id: str, min_width: int, variant: Any = "secondary") -> gr.Button:
    return gr.Button(
        words_on_it, variant=variant, visible=False, elem_id=elem_id, scale=0, min_width=min_width
    )


def restore(request: gr.Request) -> tuple[Any, ...]:
    """The run of the address, else the newest training run; the empty page teaches what to do."""
    named = layout.query(request, "run")
    newest = jobs.list_all(kind="training", limit=1)
    try:
        job = jobs.get(named) if named else newest[0] if newest else None
    except StudioError as error:
        if passes(error):
            raise
        return nothing(
            html.escape(error.message), "Its adapter, if it had one, is still there.", "/runs", "See all runs"
        )
    if job is None:
        teaches = "A run shows here how well the model learns, from its first step on."
        return nothing("Nothing is being trained yet.", teaches, "/", "Bring examples")
    return (
        job.id,
        layout.answered(PATH, html.escape(words.CURVE.get(words.curve(job), ""))),
        run_html(job, offers.of(job)),
        *foot(job.id),
    )


def nothing(answer: str, teaches: str, link: str, link_words: str) -> tuple[Any, ...]:
    """The page without a run; `answer` is HTML already."""
    return None, layout.answered(PATH, answer), layout.empty(teaches, link, link_words), *foot(None)


def run_html(job: Job, offered: Offers) -> str:
    """Chart, progress and numbers of one run as it is now; studio's live.js draws the chart and keeps all of it new."""
    table = html.escape(json.dumps(words.CURVE), quote=True)
    return (
        f'<div class="live" data-run="{job.id}" data-offers="{offered.key()}" data-words="{table}">'
        '<div class="columns">'
        '<section class="card wide" aria-labelledby="loss-title"><div class="between"><h2 id="loss-title">Loss</h2>'
        '<p class="legend quiet"><span class="key training" aria-hidden="true"></span>training '
        '<span class="key held-out" aria-hidden="true"></span>held-out '
        '<span class="key best" aria-hidden="true">◆</span>best so far</p></div>'
        '<div class="chart" role="img" aria-label="Training and held-out loss by step"></div>'
        '<p class="quiet">Loss says how surprised the model is by the wanted answers: lower is better. '
        "Held-out examples are never trained on. Drag to zoom, double-click to go back.</p></section>"
        f'<div class="narrow"><section class="card"><h2>Progress</h2>{progress_html(job, offered.place)}'
        '<p class="wrong" data-part="connection" role="status"></p></section>'
        f'<section class="card"><h2>This run</h2>{facts_html(job)}</section>{how_html(job)}</div></div></div>'
    )


def progress_html(job: Job, place: int | None = None) -> str:
    """How far the run was when the page was made, so that a page just opened is never empty."""
    step = f"Step {job.step:,} of {job.total_steps:,}" if job.total_steps else words.CURVE["step_unknown"]
    percent = 100 * job.step / job.total_steps if job.total_steps else 0
    now = html.escape(job.phase) if job.status in OPEN else ""
    return (
        f'<p class="big" data-part="step">{step}</p>'
        '<div class="meter" data-part="meter" role="progressbar" aria-label="Progress" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent:.0f}"><i style="width:{percent:.0f}%"></i></div>'
        f'<p class="quiet" data-part="now">{now}</p><p class="quiet" data-part="speed"></p>'
        f'<p class="quiet" data-part="foreseen">{html.escape(words.foreseen(job))}</p>{faults_html(job, place)}'
    )


def faults_html(job: Job, place: int | None) -> str:
    """Why the run does not get on, and what became of earlier attempts; its room is kept before there is a word."""
    sentences = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in recovery.sentences(job))
    waits = html.escape(words.standing(job, place))
    return (
        f'<div class="faults" role="status"><p data-part="waits">{waits}</p>'
        f'<ul data-part="faults">{sentences}</ul></div>'
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


def foot(job_id: str | None) -> tuple[Any, ...]:
    """What can be done now: the note, the buttons, the question before deleting, Compare; what a sweep has found."""
    job = _found(job_id)
    if job is None:
        gone = "" if job_id is None else f'<div class="quiet">{words.CURVE["deleted"]}</div>'
        return (
            gone,
            *[gr.Button(visible=False)] * 4,
            gr.Column(visible=False),
            *[gr.Button(visible=False)] * 2,
            "",
            "",
        )
    offered = offers.of(job)
    saved = offered.checkpoint_step
    return (
        f'<div class="quiet">{note_html(job)}</div>',
        gr.Button(visible=offered.stop),
        gr.Button(visible=offered.sooner),
        gr.Button(visible=offered.later),
        gr.Button(visible=offered.delete),
        gr.skip() if offered.delete else gr.Column(visible=False),
        gr.Button(visible=offered.start_again, variant="primary" if saved is None else "secondary"),
        gr.Button(f"Go on from step {saved:,}" if saved is not None else "Go on", visible=saved is not None),
        onward_html(job),
        trials_html(job),
    )


def _found(job_id: str | None) -> Job | None:
    """The run, or None where there is none (any more)."""
    try:
        return None if job_id is None else jobs.get(job_id)
    except StudioError as error:
        if passes(error):
            raise
        return None


def note_html(job: Job) -> str:
    """A sentence beside the buttons: why it failed, what it made, or that nobody has to wait here."""
    if job.error_message:
        return problem_html(job)
    made = (
        next((one for one in adapters.list_all() if one.id == job.adapter_id), None)
        if job.adapter_id
        else None
    )
    if made is not None:
        return f"The adapter is {words.size(made.size_bytes)} and keeps the best step."
    return "You can close this page: training goes on." if job.status in OPEN else ""


def onward_html(job: Job) -> str:
    """The link to the answers, which waits for an adapter."""
    link = layout.address("/compare", dataset=job.dataset_id, model=job.base_model_id, run=job.id)
    ready = job.adapter_id is not None
    waiting = "" if ready else 'aria-disabled="true" tabindex="-1"'
    target = f'href="{html.escape(link)}"' if ready else 'role="link"'
    return f'<p class="onward"><a class="button" {target} {waiting}>Compare answers</a></p>'


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
    return foot(job_id)


def move_up(job_id: str) -> tuple[Any, ...]:
    """Let the run take its turn before the one that is now before it."""
    queue.move(job_id, "up")
    return foot(job_id)


def move_down(job_id: str) -> tuple[Any, ...]:
    """Let the next one in the queue take its turn first."""
    queue.move(job_id, "down")
    return foot(job_id)


def go_on_with(job_id: str) -> tuple[Any, ...]:
    """Let a run that has ended go on from its last checkpoint; a second click changes nothing."""
    queue.retry(job_id)
    return foot(job_id)


def delete_run(job_id: str) -> str:
    """Put the run into the trash and return the address of the others."""
    queue.delete(job_id)
    return "/runs"


def start_again(job_id: str) -> str:
    """Queue the same examples, model and settings once more and return the new run's address."""
    job = jobs.get(job_id)
    assert job.dataset_id and job.base_model_id and job.rank  # only training runs have this page
    new = queue.submit_training(
        job.dataset_id, job.base_model_id, job.rank, job.settings, request_key=f"again-{job.id}-{job.attempt}"
    )
    return layout.address("/train", dataset=job.dataset_id, model=job.base_model_id, run=new.id)
