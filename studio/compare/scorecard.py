"""The scorecard on top of Compare: one honest sentence, the table, and folds with all that stands behind it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from jobs import queue
from jobs.serving import side_names
from studio import layout
from studio.compare import (
    effects_card,
    evidence_folds,
    prompting_card,
    rules_card,
    seen,
    study_card,
    verdict_card,
)
from studio.compare.part import QUIET, Part
from studio.compare.seen import Seen
from studio.notices import shown

Values = dict[Any, Any]


class Scorecard:
    """The components and their handlers; each handler redraws what it changes, and nothing else."""

    def __init__(self, adapter: gr.Dropdown, said: gr.HTML) -> None:
        with gr.Column(elem_classes="card", elem_id="scorecard-card"):
            self.top = verdict_card.build(said)
            with gr.Column(elem_id="folds"):
                self.rules = rules_card.build()
                self.prompting = prompting_card.build()
                self.effects = effects_card.build()
                self.evidence = evidence_folds.build()
                self.study = study_card.build()
        self.which = [adapter, self.evidence.dataset]
        self.outputs: list[Any] = [
            *self.top.drawn,
            *self.rules.drawn,
            *self.prompting.drawn,
            *self.effects.drawn,
            *self.evidence.drawn,
            *self.study.drawn,
        ]

    def drawn(self, now: Seen | None) -> list[Any]:
        """What all outputs show of an adapter, or of none."""
        studies = now is not None and study_card.is_under_way(now.adapter.id)
        return [
            *verdict_card.drawn(now, studies),
            *rules_card.drawn(now),
            *prompting_card.drawn(now),
            *effects_card.drawn(now),
            *evidence_folds.drawn(now),
            *study_card.drawn(now),
        ]

    def again(self, now: Seen) -> Values:
        """All outputs but the fields in which people write: what is typed there stays."""
        values = dict(zip(self.outputs, self.drawn(now), strict=True))
        for typed in (self.prompting.instruction, self.effects.prompts):
            del values[typed]
        return values

    def wire(self) -> None:
        """Say what happens when something is clicked, and when a check gets on."""
        which, every = self.which, {"outputs": self.outputs, **QUIET}
        self.top.timer.tick(shown(self.ticked), which, **every)
        self.top.check.click(shown(self.begin), [*which, self.evidence.rows, self.evidence.others], **every)
        self.top.stop.click(shown(self.end), which, **every)
        self.evidence.dataset.input(shown(self.other_dataset), which, **every)
        self.evidence.answers.select(shown(self.turned), which, [self.evidence.answers], **QUIET)
        self.prompting.keep.click(shown(self.instructed), [*which, self.prompting.instruction], **every)
        self.prompting.reset.click(shown(self.instructed), which, **every)
        self.effects.keep.click(shown(self.guarded), [*which, self.effects.prompts], **every)
        # A button that is gone lets go of the keyboard.
        self.study.start.click(shown(self.studied), which, **every).success(
            fn=None, js=layout.focus("#study a", "#start-study"), **QUIET
        )
        form = [self.rules.kind, self.rules.form]
        self.rules.kind.input(shown(rules_card.chosen), self.rules.kind, [self.rules.form], **QUIET)
        for place in (self.rules.rules, self.rules.reader, self.rules.form):
            place.select(shown(self.of_rule), which, [*self.outputs, *form], **QUIET | layout.EVERY_CLICK)

    def choose(self, adapter_id: str | None) -> list[Any]:
        """All that belongs to an adapter, on its own examples."""
        now = seen.of(adapter_id) if adapter_id else None
        return [*self.drawn(now), *evidence_folds.offered(now)]

    def renewed(self, adapter_id: str) -> Values:
        """What still holds after something was done to the adapter elsewhere on the page."""
        return self.again(seen.of(adapter_id))

    def other_dataset(self, adapter_id: str, dataset_id: str | None) -> list[Any]:
        """The card of other examples, if there is one."""
        return self.drawn(seen.of(adapter_id, dataset_id))

    def ticked(self, adapter_id: str, dataset_id: str | None) -> Values:
        """What moves while a check or a study is under way; everything when it has ended."""
        now = seen.of(adapter_id, dataset_id)
        if not now.is_running and not study_card.is_under_way(adapter_id):
            return self.again(now)
        return dict(zip(self.top.drawn, verdict_card.progressed(now), strict=True))

    def begin(self, adapter_id: str, dataset_id: str | None, rows: int, others: list[str]) -> Values:
        """Make a card, again or for the first time."""
        settings: dict[str, Any] = {"rows": rows}
        if others:
            settings["sides"] = [*side_names.NAMED_SIDES, *others]
        queue.submit_scorecard(adapter_id, dataset_id, settings)
        return self.again(seen.of(adapter_id, dataset_id))

    def end(self, adapter_id: str, dataset_id: str | None) -> Values:
        """Stop making it; what was answered is kept."""
        job = seen.of(adapter_id, dataset_id).job
        if job is not None:
            queue.stop(job.id)
        return self.again(seen.of(adapter_id, dataset_id))

    def turned(self, event: gr.EventData, adapter_id: str, dataset_id: str | None) -> Any:
        """Another of all answered rows."""
        card = seen.of(adapter_id, dataset_id).card
        return evidence_folds.read(card, int(event._data.get("place", 0))) if card else ""

    def instructed(self, adapter_id: str, dataset_id: str | None, text: str = "") -> list[Any]:
        """Keep a written instruction, or go back to the one that the rules make."""
        return self.drawn(prompting_card.keep(seen.of(adapter_id, dataset_id), text))

    def guarded(self, adapter_id: str, dataset_id: str | None, text: str) -> list[Any]:
        """Keep the prompts whose answers must not change."""
        return self.drawn(effects_card.keep(seen.of(adapter_id, dataset_id), text))

    def studied(self, adapter_id: str, dataset_id: str | None) -> Values:
        """Begin the study with fewer examples."""
        study_card.begin(adapter_id)
        return self.again(seen.of(adapter_id, dataset_id))

    def of_rule(self, event: gr.EventData, adapter_id: str, dataset_id: str | None) -> Values:
        """What a button of the rules, of their rows or of their form asks for."""
        sent = dict(event._data)
        now = seen.of(adapter_id, dataset_id)
        if sent["do"] in ("read", "close"):
            return {self.rules.reader: rules_card.read(now, sent)}
        form = rules_card.editing(now, str(sent["rule"])) if sent["do"] == "edit" else ""
        beside = {self.rules.kind: gr.Dropdown(value=None), self.rules.form: form}
        if sent["do"] in ("edit", "cancel"):
            return beside
        return self.again(rules_card.changed(now, sent)) | beside


def build(adapter: gr.Dropdown, said: gr.HTML) -> Part:
    """Lay the card out and wire it; `said` is the page's answer, above everything."""
    card = Scorecard(adapter, said)
    card.wire()
    return Part([*card.outputs, *card.evidence.check], card.choose, again=card.renewed)
