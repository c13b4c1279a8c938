"""Step 1, "Are my examples good?": bring examples, see what the model will learn from them, fix what was found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from jobs.base_models import catalogue
from jobs.datasets import checks, importing, lengths, rows, versions
from storage import datasets
from storage.datasets import Dataset
from storage.errors import StudioError
from studio import imports, layout
from studio.data import bring, desk, forms, lengths_card, mapping, material, rows_card, view
from studio.data.bring import Bring
from studio.data.desk import Desk
from studio.data.mapping import Mapping
from studio.data.view import PATH, PREVIEW_ROWS
from studio.imports import Report, Task
from studio.notices import shown

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# Which problems there are changes with every mend: Gradio's own check would refuse one that the page still names.
FILTERED: dict[str, Any] = PRIVATE | {"preprocess": False}
# What draws the table of rows, one after the other: it ends up as its filters stand, whoever is quicker.
TABLE: dict[str, Any] = FILTERED | {"concurrency_id": "rows", **layout.EVERY_CLICK}
ADDRESS = "(id, work, asked) => window.studioAddress({dataset: id, import: work || asked})"


class Page:
    """The parts of the page and what ties them together."""

    def __init__(self, answer: gr.HTML) -> None:
        self.dataset_id, self.model_id = layout.unseen(), layout.unseen()
        self.drawn_id, self.first, self.exact = gr.State(None), gr.State(0), gr.State(False)
        self.desk: Desk = desk.build(layout.unseen(), layout.unseen())
        with gr.Column(render=False) as content:
            self.view, self.lengths, self.rows = view.build(answer)
        self.mapping: Mapping = mapping.build(content)
        content.render()
        self.bring: Bring = bring.build()

    @property
    def shows(self) -> list[Any]:
        """Inputs of what is drawn of the dataset."""
        return [self.dataset_id, self.first, self.exact, self.model_id]

    @property
    def of_rows(self) -> list[Any]:
        """Inputs of the table of rows."""
        return [self.dataset_id, self.model_id, *self.rows.view]

    def follows(self, begun: Any) -> None:
        """After something was begun: say how far it is, and show what came of it."""
        ids = [self.desk.work_id, self.desk.asked_id, self.dataset_id]
        told = begun.success(
            shown(desk.follow), ids, [*ids, self.rows.editor, *self.desk.all, *self.mapping.all], **PRIVATE
        )
        # The address first: whoever reloads the page at once comes back to what was just made.
        told.success(fn=None, inputs=[self.dataset_id, *ids[:2]], js=ADDRESS, **PRIVATE)
        told.success(
            shown(self.redraw),
            [*self.shows, self.drawn_id, self.rows.first, self.rows.problem],
            self.redrawn,
            **FILTERED,
        )

    @property
    def redrawn(self) -> list[Any]:
        """Outputs of `redraw`."""
        return [
            *(self.drawn_id, self.first, *self.view.all, self.bring.known, *self.lengths.all),
            *(self.rows.problem, self.rows.first, self.rows.tokens),
        ]

    def redraw(
        self,
        dataset_id: str,
        first: int,
        exact: bool,
        model_id: str,
        drawn_id: str | None,
        at: int,
        problem: str,
    ) -> tuple[Any, ...]:
        """Everything that hangs on the dataset but the table of its rows, when it is another one than was drawn."""
        if dataset_id == drawn_id:
            return (gr.skip(),) * len(self.redrawn)
        if not dataset_id:
            kept = [gr.skip()] * (len(self.redrawn) - len(self.view.all) - 3)
            return "", 0, *view.drawn("", 0, False, model_id), view.listed(""), *kept
        dataset = datasets.get(dataset_id)
        lengths_card.begin(dataset_id, model_id)
        same = bool(drawn_id) and _family(str(drawn_id)) == dataset.family
        first, at = (first, at) if same else (0, 0)
        found = lengths_card.problems(dataset, model_id)
        return (
            *(dataset_id, first, *view.drawn(dataset_id, first, exact, model_id)),
            *(view.listed(dataset_id), *lengths_card.drawn(dataset_id, model_id)),
            rows_card.problems_of(found, problem if same else rows_card.EVERY),
            *(at, ""),
        )

    def begins(self, trigger: Any, function: Callable[..., str], inputs: list[Any] | None = None) -> None:
        """Tie a button to something that runs in the background; the function returns the work's id."""
        self.follows(trigger(shown(function), inputs, [self.desk.work_id], **PRIVATE))


def build(page: gr.Blocks) -> None:
    """The page and its handlers."""
    layout.bar(PATH)
    answer = layout.question(PATH, view.TEACHING)
    with gr.Column(elem_classes="room"):
        parts = Page(answer)
    _tie_bring(parts)
    _tie_mapping(parts)
    _tie_view(parts)
    _tie_lengths(parts)
    _tie_changes(parts)
    _tie_rows(parts)
    opened = page.load(
        shown(open_page), None, [parts.dataset_id, parts.model_id, parts.desk.work_id], **PRIVATE
    )
    parts.follows(opened)
    parts.follows(parts.desk.timer.tick(lambda: None, None, None, **PRIVATE))


def open_page(request: gr.Request) -> tuple[str, str, str]:
    """What the address names: [dataset, else the newest; base model; work under way, else the newest]."""
    named, work = layout.query(request, "dataset"), imports.of(layout.query(request, "import"))
    model = layout.query(request, "model") or catalogue.STARTER_ID
    if model not in {one.id for one in catalogue.all_models()}:
        model = catalogue.STARTER_ID
    if named is None:
        newest = datasets.families()
        named = newest[0].id if newest else ""
        work = work or imports.under_way("import")
    else:
        named = datasets.get(named).id
        work = work or imports.under_way("change", named)
    return named, model, work.id if work else ""


def _family(dataset_id: str) -> str:
    try:
        return datasets.get(dataset_id).family
    except StudioError:  # deleted meanwhile
        return ""


def _tie_bring(parts: Page) -> None:
    """Everything through which examples come in."""
    ways = parts.bring
    # The file leaves its box, so that the same one can be brought again.
    uploaded = ways.upload.upload(
        shown(lambda path: (_brings(material.of_file(path)), None)),
        [ways.upload],
        [parts.desk.work_id, ways.upload],
        **PRIVATE,
    )
    parts.follows(uploaded)
    parts.begins(ways.paste.click, lambda text: _brings(material.of_text(text)), [ways.pasted])
    for trigger in (ways.fetch.click, ways.hub_id.submit):
        parts.begins(trigger, lambda hub_id: _brings(material.of_hub(hub_id)), [ways.hub_id])
    for button, sample_id in ways.samples:
        parts.begins(button.click, lambda sample_id=sample_id: _adds_sample(sample_id))
    parts.begins(ways.grid.apply, _adds_rows)
    parts.follows(
        ways.known.input(
            lambda chosen: (chosen, ""), [ways.known], [parts.dataset_id, parts.desk.work_id], **PRIVATE
        )
    )


def _brings(brought: material.Material) -> str:
    return desk.begin_import(material.bring(brought), f"Looking at {brought.name}")


def _adds_sample(sample_id: str) -> str:
    return desk.begin_import(
        lambda report, should_stop: importing.add_sample(sample_id), "Adding the sample set"
    )


def _adds_rows(event: gr.EventData) -> str:
    typed = forms.pairs(event.typed)
    return desk.begin_import(lambda report, should_stop: importing.add_rows(typed), "Adding the typed rows")


def _tie_mapping(parts: Page) -> None:
    """The mapping step: every field shows at once what becomes of it."""
    step, fields = parts.mapping, parts.mapping.fields
    names = [*mapping.PARTS, *mapping.READING]
    for name, field in zip(names, fields, strict=True):
        field.input(
            shown(lambda asked, *values, name=name: mapping.looked_again(asked, name, *values)),
            [parts.desk.asked_id, *fields],
            [*fields[: len(mapping.PARTS)], step.preview],
            trigger_mode="always_last",
            **PRIVATE,
        )
    parts.begins(step.use.click, _reads, [parts.desk.asked_id, *fields])
    closed = step.cancel.click(
        lambda: ("", *mapping.closed()), None, [parts.desk.asked_id, *step.all], **PRIVATE
    )
    parts.follows(closed)
    parts.begins(parts.view.differently.click, _asks, [parts.dataset_id])


def _reads(asked_id: str, *values: Any) -> str:
    brought = mapping.asked_of(asked_id).material
    return desk.begin_import(material.read(brought, mapping.options_of(values)), f"Reading {brought.name}")


def _asks(dataset_id: str) -> str:
    brought = material.of_dataset(datasets.get(dataset_id))
    return desk.begin_import(material.ask(brought), f"Looking at {brought.name}")


def _tie_view(parts: Page) -> None:
    """Leafing through the examples, the exact text, versions, and the card of what is under way."""
    seen = parts.view
    for button, by in ((seen.earlier, -PREVIEW_ROWS), (seen.later, PREVIEW_ROWS)):
        moved = button.click(
            shown(lambda id, first, by=by: turned(id, first + by)), [parts.dataset_id, parts.first], [parts.first],
            **PRIVATE,
        )  # fmt: skip
        moved.success(shown(view.preview_of), parts.shows, [seen.preview], **PRIVATE)
    seen.exactly.click(lambda now: not now, [parts.exact], [parts.exact], **layout.DIRECT).success(
        shown(view.preview_of), parts.shows, [seen.preview], **PRIVATE
    )
    seen.versions.select(shown(_differences), None, [seen.diff], **PRIVATE)
    parts.begins(seen.versions.apply, _goes_to, [parts.dataset_id])
    parts.follows(parts.desk.cancel.click(imports.stop, [parts.desk.work_id], None, **PRIVATE))
    put_away = parts.desk.close.click(_put_away, [parts.desk.work_id], [parts.desk.work_id], **PRIVATE)
    parts.follows(put_away)


def turned(dataset_id: str, first: int) -> int:
    """The place of the first example of another page, within those there are."""
    last = max(0, rows.page_of_rows(dataset_id, 0, 0, split="train").total - 1) if dataset_id else 0
    return min(max(0, first), last // PREVIEW_ROWS * PREVIEW_ROWS)


def _put_away(work_id: str) -> str:
    imports.forget(work_id)
    return ""


def _differences(event: gr.EventData) -> Any:
    return view.diff_of(event.version)


def _goes_to(event: gr.EventData, dataset_id: str) -> str:
    target = event.version
    return desk.begin_change(dataset_id, lambda report, stop: versions.go_to(target), "Going to that version")


def _tie_lengths(parts: Page) -> None:
    """Counting tokens: what they tell joins the answer and the problems when it is known."""
    card, of = parts.lengths, [parts.dataset_id, parts.model_id]
    outputs = [*card.all, parts.view.answer, parts.view.problems]
    card.timer.tick(shown(_counting), of, outputs, **PRIVATE)
    card.button.click(shown(lengths_card.pressed), of, card.all, **PRIVATE)


def _counting(dataset_id: str, model_id: str) -> tuple[Any, ...]:
    said, chart, button, timer = lengths_card.drawn(dataset_id, model_id)
    if lengths.counts(dataset_id, model_id) is None:
        return said, gr.skip(), button, timer, gr.skip(), gr.skip()
    return said, chart, button, timer, *view.counted(dataset_id, model_id)


def _tie_changes(parts: Page) -> None:
    """The buttons of the problems, Undo and Redo."""
    for place in (parts.view.problems, parts.view.changed):
        parts.begins(place.apply, _fixes, [parts.dataset_id, parts.model_id])
    listed = parts.rows
    filtered = parts.view.problems.select(
        _filters,
        None,
        [listed.card, listed.first, listed.search, listed.problem, listed.split],
        **PRIVATE,
    )
    filtered.success(shown(rows_card.drawn), parts.of_rows, listed.drawn, **TABLE).success(
        None, None, None, js=layout.focus("#rows-title"), **PRIVATE
    )


def _fixes(event: gr.EventData, dataset_id: str, model_id: str) -> str:
    """Begin what a button of the problems, or Undo or Redo, asks for."""
    if event.do == "undo":
        return desk.begin_change(dataset_id, lambda report, stop: versions.undo(dataset_id), "Undoing")
    if event.do == "redo":
        return desk.begin_change(dataset_id, lambda report, stop: versions.redo(dataset_id), "Redoing")
    dataset = datasets.get(dataset_id)
    if event.do == "check":
        return desk.begin_change(dataset_id, _change(dataset, {"kind": "check"}), "Checking all rows")
    codes = [event.code] if event.do == "fix" else checks.fix_all_codes(dataset.problems, dataset.rows)
    change: dict[str, Any] = {"kind": "fix", "codes": codes}
    if codes[:1] and codes[0] in lengths_card.OF_TOKENS:
        change = {"kind": "delete", "rows": lengths_card.rows_of(dataset_id, model_id, codes[0])}
    return desk.begin_change(dataset_id, _change(dataset, change), "Fixing")


def _change(dataset: Dataset, change: dict[str, Any]) -> Task:
    def task(report: Report, should_stop: Callable[[], bool]) -> Dataset:
        return versions.apply(dataset.id, change, report, should_stop)

    return task


def _filters(event: gr.EventData) -> tuple[Any, ...]:
    """Look at the rows of one problem: [card, first, search, problem, split]."""
    return gr.Column(visible=True), 0, "", event.code, ""


def _tie_rows(parts: Page) -> None:
    """The table of rows and its editor."""
    table, inputs = parts.rows, parts.of_rows
    seen = parts.view.edit.click(lambda: gr.Column(visible=True), None, [table.card], **layout.DIRECT)
    seen.then(None, None, None, js=layout.focus("#rows-title"), **PRIVATE)
    table.shut.click(lambda: gr.Column(visible=False), None, [table.card], **layout.DIRECT).then(
        None, None, None, js=layout.focus("#edit-rows"), **PRIVATE
    )
    for trigger in (table.search.submit, table.search.blur, table.problem.input, table.split.input):
        trigger(shown(rows_card.searched), inputs, table.drawn, **TABLE)
    table.earlier.click(shown(rows_card.turned(-1)), inputs, table.drawn, **TABLE)
    table.later.click(shown(rows_card.turned(1)), inputs, table.drawn, **TABLE)
    parts.drawn_id.change(shown(rows_card.drawn), inputs, table.drawn, **TABLE)
    opens = [
        table.table.select(shown(_opens), [parts.dataset_id, parts.model_id], [table.editor, table.tokens], **PRIVATE),
        table.jump.submit(
            shown(rows_card.jumped), [parts.dataset_id, table.jump, parts.model_id], [table.editor, table.tokens],
            **PRIVATE,
        ),
        table.add.click(shown(rows_card.new), [parts.dataset_id], [table.editor, table.tokens], **PRIVATE),
    ]  # fmt: skip
    for opened in opens:
        opened.success(None, None, None, js=layout.focus("#editor textarea", "#editor h3"), **PRIVATE)
    table.editor.select(lambda: ("", ""), None, [table.editor, table.tokens], **PRIVATE)
    parts.begins(table.editor.apply, _edits, [parts.dataset_id])


def _opens(event: gr.EventData, dataset_id: str, model_id: str) -> tuple[str, str]:
    return rows_card.opened(dataset_id, int(event.row), model_id)


def _edits(event: gr.EventData, dataset_id: str) -> str:
    """Begin what a button of the editor asks for; what was typed stays there until it is saved."""
    sent = dict(event._data)
    dataset = datasets.get(dataset_id)
    if sent["do"] == "delete":
        change: dict[str, Any] = {"kind": "delete", "rows": [int(sent["row"])]}
    elif "row" in sent:
        change = {"kind": "edit", "row": int(sent["row"]), "messages": forms.messages(sent["typed"])}
    else:
        change = {"kind": "add", "messages": forms.messages(sent["typed"]), "origin": "grid"}
    return desk.begin_change(dataset_id, _change(dataset, change), "Saving", origin="editor")
