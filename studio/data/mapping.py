"""The mapping step: how something is read, chosen while three examples show what becomes of it."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs.datasets.importing import Look
from jobs.datasets.records import ReadOptions
from studio import examples, imports, tables
from studio.data.material import Asked, Options
from studio.notices import told

NONE = ""
PARTS = {
    "prompt": ("Prompt", "What is asked."),
    "input": ("More input", "Put below the prompt."),
    "response": ("Answer", "What the model learns to write."),
    "system": ("Instruction (system)", "How it should answer."),
    "messages": ("Whole conversation", "A list of messages, in place of prompt and answer."),
}
# How the source itself is read; what it offers comes from the look.
READING = {
    "sheet": "Sheet",
    "member": "File in the archive",
    "subset": "Subset",
    "split": "Split",
    "delimiter": "Cells are separated by",
    "encoding": "Encoding",
    "has_header": "First row",
}
DELIMITERS = [("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("vertical bar", "|")]
ENCODINGS = [
    ("UTF-8", "utf-8"),
    ("UTF-16", "utf-16"),
    ("Windows-1252 (Western Europe)", "cp1252"),
    ("Windows-1250 (Central Europe)", "cp1250"),
    ("Windows-1251 (Cyrillic)", "cp1251"),
    ("Latin-1", "latin-1"),
    ("Shift JIS (Japanese)", "shift_jis"),
    ("GB 18030 (Chinese)", "gb18030"),
]
HEADERS = [("names the columns", "yes"), ("is an example", "no")]
DETECT = ("as detected", NONE)
PREVIEW_ROWS = 3
_CELLS = 6


@dataclass
class Mapping:
    """The components of the step; `fields` in the order of PARTS and READING.

    `rest` is what is put away meanwhile: a page has one thing to decide at a time.
    """

    rest: gr.Column
    card: gr.Column
    about: gr.HTML
    fields: list[gr.Dropdown]
    preview: gr.HTML
    use: gr.Button
    cancel: gr.Button

    @property
    def all(self) -> list[Any]:
        """What `opened` and `closed` fill."""
        return [self.rest, self.card, self.about, *self.fields, self.preview]


def build(rest: gr.Column) -> Mapping:
    """Lay the step out; unseen until something has to be asked."""
    with gr.Column(elem_classes="card", elem_id="mapping", visible=False) as card:
        about = gr.HTML(apply_default_css=False)
        with gr.Row(elem_classes="parts"):
            fields = [
                gr.Dropdown([], label=label, info=info, elem_id=f"map-{part}", min_width=170)
                for part, (label, info) in PARTS.items()
            ]
        with gr.Row(elem_classes="parts"):
            fields += [
                gr.Dropdown([DETECT], label=label, elem_id=f"read-{name}", min_width=170, visible=False)
                for name, label in READING.items()
            ]
        preview = gr.HTML(apply_default_css=False, elem_id="mapping-preview")
        with gr.Row(elem_classes="foot"):
            use = gr.Button(
                "Use these columns", variant="primary", elem_id="use-columns", scale=0, min_width=180
            )
            cancel = gr.Button("Cancel", elem_id="cancel-mapping", scale=0, min_width=100)
    return Mapping(rest, card, about, fields, preview, use, cancel)


def opened(asked: Asked) -> tuple[Any, ...]:
    """Everything in the step for something just looked at."""
    look = asked.look
    return (
        gr.Column(visible=False),
        gr.Column(visible=True),
        about_html(asked),
        *_part_fields(look),
        *_reading_fields(look, {}),
        preview_html(look),
    )


def closed() -> tuple[Any, ...]:
    """The step put away."""
    return gr.Column(visible=True), gr.Column(visible=False), *kept()[2:]


def kept() -> tuple[Any, ...]:
    """The step left as it is."""
    return (gr.skip(),) * (4 + len(PARTS) + len(READING))


def looked_again(work_id: str, which: str, *values: Any) -> tuple[Any, ...]:
    """The step after `which` field has changed: [parts…, preview].

    Another way to read brings other columns, so their parts are guessed anew.
    """
    asked = asked_of(work_id)
    options = options_of(values)
    if which in READING:
        options.pop("mapping", None)
    try:
        look = told(asked.material.look)(ReadOptions.from_json(options))
    except gr.Error as error:
        return *([gr.skip()] * len(PARTS)), tables.problem(error.message)
    parts = _part_fields(look) if which in READING else [gr.skip()] * len(PARTS)
    return *parts, preview_html(look)


def asked_of(work_id: str | None) -> Asked:
    """What a piece of work has asked.

    Raises gr.Error when the studio was restarted since.
    """
    work = imports.of(work_id)
    if work is None or not isinstance(work.result, Asked):
        raise gr.Error("The studio was restarted. Bring the file again.", duration=None, title="It is gone")
    return work.result


def options_of(values: tuple[Any, ...]) -> Options:
    """What the fields say, as the JSON of ReadOptions; what was left as detected is left out."""
    named = dict(zip([*PARTS, *READING], values, strict=True))
    options: Options = {name: named[name] for name in READING if named[name] not in (NONE, None)}
    if "has_header" in options:
        options["has_header"] = options["has_header"] == "yes"
    parts = {part: named[part] for part in PARTS if named[part] not in (NONE, None)}
    if "messages" in parts:
        parts = {part: column for part, column in parts.items() if part in ("messages", "system")}
    return {**options, "mapping": parts} if parts else options


def _part_fields(look: Look) -> list[gr.Dropdown]:
    columns = [("– none –", NONE), *((column, column) for column in look.columns)]
    return [gr.Dropdown(columns, value=look.mapping.get(part) or NONE) for part in PARTS]


def _reading_fields(look: Look, chosen: Options) -> list[gr.Dropdown]:
    text = "Delimiter" in look.detected
    offered: dict[str, list[tuple[str, str]]] = {
        "delimiter": DELIMITERS if text else [],
        "encoding": ENCODINGS if "Encoding" in look.detected else [],
        "has_header": HEADERS if text else [],
    }
    for name in ("sheet", "member", "subset", "split"):
        offered[name] = [(choice, choice) for choice in look.choices.get(name, [])]
    return [
        gr.Dropdown([DETECT, *offered[name]], value=chosen.get(name, NONE), visible=bool(offered[name]))
        for name in READING
    ]


def about_html(asked: Asked) -> str:
    """Whose columns these are, and what was detected, in words."""
    said = " · ".join(
        f"{html.escape(what)}: {html.escape(str(found))}" for what, found in asked.look.detected.items()
    )
    question = "Is this right?" if asked.look.mapping else "Which column is the prompt, and which the answer?"
    return (
        f'<h2>How to read {html.escape(asked.material.name)}</h2><p role="status">{question}</p>'
        f'<p class="quiet">Detected: {said}</p>'
    )


def preview_html(look: Look) -> str:
    """Three examples as the model will learn them; before there is a mapping, the first cells."""
    whole = [row for row in look.rows if row.get("messages")]
    if whole and look.mapping:
        shown = "".join(examples.conversation_html({"split": "train", **row}) for row in whole[:PREVIEW_ROWS])
        return f"<h3>What the model will learn</h3>{shown}"
    cells = [
        [str(row.get(column, "")) for column in look.columns[:_CELLS]] for row in look.rows[:PREVIEW_ROWS]
    ]
    headings = ["Row", *map(html.escape, look.columns[:_CELLS])]
    rows = [[str(n), *(html.escape(cell[:120]) for cell in line)] for n, line in enumerate(cells, start=1)]
    return f"<h3>The first rows</h3>{tables.table('The first rows', headings, rows)}"
