"""The housekeeping part of the System page: disk, trash, copies of the database, rebuilding it."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.events import Dependency

from jobs import clearing, rebuild
from storage import backups, database, files, sqlite_file, trash, usage
from storage.errors import StudioError
from studio import layout, tables, two_step, words
from studio.notices import shown, told

PARTS = {
    "datasets": "Datasets",
    "models": "Base models",
    "runs": "Runs: curves and logs",
    "checkpoints": "Runs: checkpoints",
    "adapters": "Adapters",
    "cache": "Cache",
    "logs": "Logs",
    "backups": "Backups",
    "trash": "Trash",
    "tmp": "Unfinished work",
    "database": "Database",
}
# What lies in these folders of the data folder, one thing each.
KINDS = {
    "runs": "Run",
    "datasets": "Dataset",
    "adapters": "Adapter",
    "models": "Base model",
    "backups": "Backup",
}
MOST_TRASH, MOST_BACKUPS = 20, 5
EMPTY_QUESTION = "Delete everything in the trash for good? Nothing of it can be put back after that."
CLEAR_QUESTION = (
    "Delete the checkpoints of all runs that have ended? Their curves and adapters stay, but none of these runs can "
    "go on from where it stopped. Runs that wait or train keep theirs."
)
REBUILD_QUESTION = (
    "Make the database again from the folders of the studio? Datasets, runs, curves, adapters and scorecards are read "
    "from there. The database as it is now is moved to the folder backups. Runs that train go on meanwhile."
)
MOST_PROBLEMS = 20
PRIVATE: dict[str, Any] = {"show_progress": "minimal", "concurrency_limit": None, "api_visibility": "private"}


def part(heading: str, function: Callable[[], str]) -> str:
    """A part of the page under its heading; where it fails, the sentence that says why, and the others stay."""
    try:
        content = told(function)()
    except gr.Error as error:
        content = tables.problem(error.message)
    return f"<h2>{heading}</h2>{content}"


def disk() -> str:
    """What the data folder's parts take, and what is left."""
    rows = [
        [PARTS.get(one.key, one.key), words.hover(words.size(one.size_bytes), f"{one.size_bytes:,} bytes")]
        for one in usage.usage()
    ]
    rows.append(["<b>Free</b>", f"<b>{words.size(files.free_bytes())}</b>"])
    return tables.table("Disk", ["What", "Size"], rows)


def in_trash() -> str:
    """What was deleted last, each with a button that puts it back."""
    found = trash.items()
    if not found:
        return '<p class="quiet">Empty. What is deleted stays here for a week.</p>'
    now = time.time()
    rows = [
        [
            _named(item),
            tables.when(item.deleted_at, now),
            words.size(item.size_bytes),
            tables.button("Put back", str(item.origin), name=item.name),
        ]
        for item in found[:MOST_TRASH]
    ]
    headings = ["What", "Deleted", "Size", '<span class="sr">Action</span>']
    more = f'<p class="quiet">And {len(found) - MOST_TRASH:,} older.</p>' if len(found) > MOST_TRASH else ""
    return tables.table("Trash", headings, rows) + more


def _named(item: trash.TrashItem) -> str:
    """A deleted thing for people: its kind and its own name or else its id, its path on hover."""
    kind = KINDS.get(item.origin.parts[0], "File") if len(item.origin.parts) > 1 else "File"
    name = item.origin.name
    for record in ("state.json", "dataset.json", "record.json"):
        with suppress(OSError, StudioError, KeyError, TypeError):
            name = str(files.read_json(files.root() / "trash" / item.name / item.origin / record)["name"])
            break
    return f"{kind} {words.hover(name, str(item.origin))}"


def about_database() -> str:
    """Which database it is, how it keeps what is written safe, and that it was found in order."""
    about = database.describe()
    rows = [
        ("Address", f"<code>{html.escape(str(about['url']))}</code>"),
        ("Schema", html.escape(str(about["schema"]))),
    ]
    if about["sqlite_version"]:
        version = tuple(int(number) for number in about["sqlite_version"].split("."))
        safe = database.write_ahead_log_is_safe(version)
        why = (
            "so that reading never waits for writing"
            if safe
            else "because in this version of SQLite the write-ahead log can damage a database that several programs use"
        )
        rows.insert(0, ("Kept in", f"SQLite {html.escape(about['sqlite_version'])}"))
        rows.append(("Journal", f"{html.escape(str(about['journal_mode']))}, {why}"))
        rows.append(("Integrity", "checked when the studio started"))
    else:
        rows.insert(0, ("Kept in", "PostgreSQL"))
    return tables.facts(rows)


def copies() -> str:
    """The newest copies of the database, each with a link to take it away."""
    if sqlite_file.current() is None:
        return '<p class="quiet">PostgreSQL has its own program for backups: pg_dump.</p>'
    found = backups.list_all()
    if not found:
        return '<p class="quiet">No backup yet.</p>'
    now = time.time()
    rows = [
        [
            html.escape(one.path.name),
            tables.when(one.made_at, now),
            words.size(one.size_bytes),
            f'<a href="/download/backup/{html.escape(one.path.name)}" '
            f'aria-label="Download: {html.escape(one.path.name)}">Download</a>',
        ]
        for one in found[:MOST_BACKUPS]
    ]
    headings = ["Backup", "Made", "Size", '<span class="sr">Link</span>']
    more = f'<p class="quiet">And {len(found) - MOST_BACKUPS:,} older, in the folder backups.</p>'
    return tables.table("Backups", headings, rows) + (more if len(found) > MOST_BACKUPS else "")


def now() -> tuple[Any, ...]:
    """What the handlers redraw: [disk, trash, Empty, its question, Delete checkpoints, its question, backups]."""
    shut = gr.Column(visible=False)
    return (
        part("What uses the disk", disk),
        part("In the trash", in_trash),
        _with_bytes(
            "Empty the trash", lambda: sum(item.size_bytes for item in trash.items()), bool(trash.items())
        ),
        shut,
        _with_bytes("Delete checkpoints of ended runs", clearing.ended_bytes),
        shut,
        part("Backups", copies),
    )


def _with_bytes(label: str, measure: Callable[[], int], always: bool = False) -> Any:
    """A button that says how much room it makes; unseen where that is none, or where nobody can tell."""
    try:
        size = told(measure)()
    except gr.Error:
        return gr.Button(visible=False)
    return gr.Button(f"{label} ({words.size(size)})", visible=always or size > 0)


def empty_trash() -> tuple[Any, ...]:
    """Delete what is in the trash for good."""
    gr.Info(f"The trash is empty: {words.size(trash.empty())} freed.")
    return now()


def clear_checkpoints() -> tuple[Any, ...]:
    """Delete the checkpoints of the runs that have ended."""
    gr.Info(f"The checkpoints are gone: {words.size(clearing.delete_ended())} freed.")
    return now()


def back_up() -> tuple[Any, ...]:
    """Copy the database; the copy is then the first of the list."""
    copy = backups.back_up()
    gr.Info(f"Backed up: {copy.name}, {words.size(copy.stat().st_size)}.")
    return now()


def put_back(event: gr.EventData) -> tuple[Any, ...]:
    """Bring a thing back from the trash, as the button in its row says."""
    place = trash.restore(event.name)
    if place.parent.name in rebuild.FOLDERS:
        rebuild.rebuild()  # the one way from folders to rows
    gr.Info(f"Back in its place: {html.escape(place.name)}.")
    return now()


def rebuild_database() -> str:
    """Make the database again from the folders; what was found, and what could not be read."""
    counts = rebuild.rebuild()
    problems = "".join(f"<li>{html.escape(problem)}</li>" for problem in counts.problems[:MOST_PROBLEMS])
    more = len(counts.problems) - MOST_PROBLEMS
    problems += f"<li>And {more:,} more.</li>" if more > 0 else ""
    return f'<p role="status">{html.escape(counts.sentence())}</p>' + (
        f"<ul>{problems}</ul>" if problems else ""
    )


@dataclass
class Upkeep:
    """The components that `everything` fills, in its order, and what has happened when all is to be drawn anew."""

    shown: list[gr.components.Component]
    rebuilt: Dependency


def build() -> Upkeep:
    """Lay the cards out in the current column, and tie their buttons."""
    with gr.Column(elem_classes="card"):
        used = gr.HTML(elem_id="disk")
        with gr.Row(elem_classes="foot"):
            clear = gr.Button(visible=False, elem_id="clear-checkpoints", scale=0, min_width=260)
        clear_sure = two_step.build(clear, CLEAR_QUESTION, "Delete the checkpoints", "Keep them")
        trashed = gr.HTML(elem_id="trash", js_on_load=layout.SENDS)
        with gr.Row(elem_classes="foot"):
            empty = gr.Button(visible=False, elem_id="empty-trash", scale=0, min_width=200)
        empty_sure = two_step.build(empty, EMPTY_QUESTION, "Delete it for good", "Keep it")
    with gr.Column(elem_classes="card"):
        about = gr.HTML(elem_id="database")
        with gr.Row(elem_classes="foot"):
            again = gr.Button(
                "Rebuild the database from its folders", elem_id="rebuild", scale=0, min_width=300
            )
        again_sure = two_step.build(again, REBUILD_QUESTION, "Rebuild it", "Leave it")
        found = gr.HTML(elem_id="rebuilt")
        kept = gr.HTML(elem_id="backups")
        with gr.Row(elem_classes="foot"):
            copy = gr.Button("Back up the database", elem_id="back-up", scale=0, min_width=200)
    outputs = [used, trashed, empty, empty_sure.row, clear, clear_sure.row, kept]
    for trigger, done in (
        (empty_sure.yes.click, empty_trash),
        (clear_sure.yes.click, clear_checkpoints),
        (copy.click, back_up),
        (trashed.select, put_back),
    ):
        trigger(shown(done), None, outputs, **PRIVATE)
    again_sure.yes.click(lambda: gr.Column(visible=False), None, [again_sure.row], **layout.DIRECT)
    rebuilt = again_sure.yes.click(shown(rebuild_database), None, [found], **PRIVATE)
    return Upkeep([about, *outputs], rebuilt)


def everything() -> tuple[Any, ...]:
    """What `Upkeep.shown` is filled with when the page opens."""
    return part("Database", about_database), *now()
