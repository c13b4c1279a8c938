"""The rules of a scorecard: switch, edit, add, and read the rows that break one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs.evaluation import plan as judging
from jobs.evaluation import scorecard
from jobs.evaluation.rules import ALL_KINDS, KINDS, Rule
from storage import plans
from storage.errors import StudioError
from studio.compare import reader, rules_view, seen
from studio.compare.seen import Seen

# A gr.HTML with named fields: what a button sends, with what is typed beside it; Enter in a line presses the first.
FORM = """element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-sends]');
  if (!button) return;
  const typed = Object.fromEntries([...element.querySelectorAll('[name]')].map((field) => [field.name, field.value]));
  trigger('select', { ...JSON.parse(button.dataset.sends), typed });
});
element.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && event.target.matches('input')) element.querySelector('[data-sends]')?.click();
});"""


@dataclass
class RulesCard:
    """The components; `fold` names how many rules count."""

    fold: gr.Accordion
    rules: gr.HTML
    reader: gr.HTML
    kind: gr.Dropdown
    form: gr.HTML

    @property
    def drawn(self) -> list[Any]:
        """Outputs of `drawn`."""
        return [self.fold, self.rules, self.reader]


def build() -> RulesCard:
    """Lay the fold out."""
    with gr.Accordion("Rules", open=False, elem_id="rules-fold") as fold:
        rules = gr.HTML(elem_id="rules", js_on_load=FORM, apply_default_css=False)
        reading = gr.HTML(elem_id="reader", js_on_load=FORM, apply_default_css=False)
        kind = gr.Dropdown(
            [(about.label, name) for name, about in KINDS.items()],
            value=None,
            label="Add a rule",
            info="Your own rules always count.",
            elem_id="rule-kind",
        )
        form = gr.HTML(elem_id="rule-form", js_on_load=FORM, apply_default_css=False)
    return RulesCard(fold, rules, reading, kind, form)


def drawn(now: Seen | None) -> tuple[Any, ...]:
    """The fold as it is now: [fold, rules, reader]."""
    found = _found(now) if now else []
    return gr.Accordion(label=rules_view.summary(found)), rules_view.rules(found), ""


def _found(now: Seen) -> Sequence[rules_view.RuleEntry]:
    """The rules with what was counted, or, before there is a card, as the examples alone suggest them."""
    if now.card is not None and now.card.get("rules"):
        return now.card["rules"]  # type: ignore[no-any-return]
    try:
        return scorecard.rules_of(now.adapter.id, now.dataset_id)
    except StudioError:  # the examples are gone
        return []


def chosen(kind: str | None) -> str:
    """The empty form for a new rule of a kind."""
    return rules_view.form(KINDS[kind], {}, None) if kind in KINDS else ""


def read(now: Seen, sent: Mapping[str, Any]) -> str:
    """The rows that break the rule that was clicked on."""
    if now.card is None or sent["do"] == "close":
        return ""
    return reader.row_html(
        now.card,
        str(sent.get("rule") or reader.EVERY),
        str(sent.get("side") or "adapted"),
        int(sent.get("place", 0)),
    )


def editing(now: Seen, name: str) -> str:
    """The form with an existing rule in it."""
    rule = _rule(now, name)
    return rules_view.form(ALL_KINDS[rule.kind], rule.parameters, name, rule.words)


def changed(now: Seen, sent: Mapping[str, Any]) -> Seen:
    """Keep what was done to a rule in the dataset's plan, and count the answers again; no model is asked.

    Raises StudioError for a rule that makes no sense.
    """
    plans.edit_rules(now.dataset_id, lambda edits: _edited(now, edits, sent))
    scorecard.recounted(now.adapter.id, now.dataset_id)
    return seen.of(now.adapter.id, now.dataset_id)


def _edited(now: Seen, edits: dict[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    name = sent.get("rule")
    off = [one for one in edits["off"] if one != name]
    if sent["do"] == "off":
        return edits | {"off": [*off, name]}
    if sent["do"] == "on":
        return edits | {"off": off}
    if sent["do"] == "count":  # what a user has taken over always counts
        return edits | {"edited": {**edits["edited"], name: _rule(now, str(name)).as_json()}}
    if sent["do"] == "remove":
        return {
            "off": off,
            "added": [one for one in edits["added"] if _name(one) != name],
            "edited": {kept: rule for kept, rule in edits["edited"].items() if kept != name},
        }
    kind = ALL_KINDS[str(sent["kind"])]
    made = kind.make(**rules_view.values_of(kind, sent.get("typed") or {})).as_json()
    if name is None:
        others = [one for one in edits["added"] if _name(one) != _name(made)]
        return edits | {"added": [*others, made]}
    if any(_name(one) == name for one in edits["added"]):
        return edits | {"added": [made if _name(one) == name else one for one in edits["added"]]}
    return edits | {"edited": {**edits["edited"], name: made}}


def _name(plain: Mapping[str, Any]) -> str:
    return Rule.from_json({**plain, "source": "user"}).name


def _rule(now: Seen, name: str) -> Rule:
    if now.card is not None and name in (found := rules_view.names(now.card.get("rules") or ())):
        return Rule.from_json(found[name]["rule"])
    for rule, _ in judging.rules_of(now.dataset_id):
        if rule.name == name:
            return rule
    raise StudioError("This rule is gone.", "Reload the page to see the rules as they are.")
