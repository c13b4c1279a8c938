"""The rules of a scorecard → HTML: a list with switches, and the form for a rule of one's own. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.evaluation.rules import ALL_KINDS, Field, Kind
from studio import tables, words
from studio.compare import card_view

RuleEntry = Mapping[str, Any]
NO_RULES = "Your answers share no habit that can be checked by counting. Add a rule of your own, or read the answers."


def summary(found: Sequence[RuleEntry]) -> str:
    """How many rules count, for the fold's label."""
    if not found:
        return "Rules"
    counting = len(card_view.counting(found))
    others = len(found) - counting
    return f"Rules: {counting} count{'s' if counting == 1 else ''}" + (f", {others} not" if others else "")


def rules(found: Sequence[RuleEntry]) -> str:
    """All rules, those that count first, each with what it found and what can be done with it."""
    if not found:
        return f'<p class="quiet">{NO_RULES}</p>'
    # A rule keeps its place when it is switched off, and the keyboard its button.
    ordered = sorted(found, key=lambda rule: not (rule.get("counts", True) or not rule.get("why")))
    return f'<ul class="rules">{"".join(_rule(rule) for rule in ordered)}</ul>'


def _rule(rule: RuleEntry) -> str:
    said = str(rule["words"])
    own = ' <span class="pill">yours</span>' if rule.get("rule", {}).get("source") == "user" else ""
    return (
        f'<li><div><b>{html.escape(said)}</b> {_state(rule)}{own}<div class="quiet">{_found(rule)}</div></div>'
        f'<p class="does">{_switch(rule)}{_reads(rule)}{_edits(rule)}</p></li>'
    )


def _state(rule: RuleEntry) -> str:
    if not rule.get("on", True):
        return '<span class="pill">switched off</span>'
    if not rule.get("counts", True):
        return '<span class="pill">does not count</span>'
    return '<span class="pill good"><span aria-hidden="true">✓</span> counts</span>'


def _found(rule: RuleEntry) -> str:
    """What was counted, or why it was not; what speaks against a user's own rule stands behind its numbers."""
    why = html.escape(str(rule.get("why") or ""))
    sides = rule.get("sides") or {}
    if "base" not in sides or "adapted" not in sides:
        return why
    rates = " → ".join(card_view.percent(sides[side]["rate"]) for side in ("base", "adapted"))
    change = card_view.change(rule.get("difference"))
    return f"base → adapter: {rates}, {change}{f'. {why}' if why else ''}"


def _switch(rule: RuleEntry) -> str:
    if not rule.get("on", True):
        said, does = "Switch on", "on"
    elif rule.get("counts", True):
        said, does = "Switch off", "off"
    else:
        said, does = "Count it anyway", "count"
    return tables.button(said, str(rule["words"]), "small-button", do=does, rule=rule["name"])


def _reads(rule: RuleEntry) -> str:
    failing = (rule.get("sides") or {}).get("adapted", {}).get("failing")
    if failing is None:
        return ""
    said = f"Read the {words.many(len(failing), 'row')} that fail{'s' if len(failing) == 1 else ''}"
    return tables.button(
        said if failing else "Read the answers",
        str(rule["words"]),
        "small-button",
        do="read",
        rule=rule["name"],
    )


def _edits(rule: RuleEntry) -> str:
    kind = ALL_KINDS.get(str(rule.get("rule", {}).get("kind")))
    said = str(rule["words"])
    edit = (
        tables.button("Edit", said, "small-button", do="edit", rule=rule["name"])
        if kind and kind.parameters
        else ""
    )
    if rule.get("rule", {}).get("source") != "user":
        return edit
    gone = "As it was" if rule["rule"].get("replaces") else "Remove"
    return edit + tables.button(gone, said, "small-button", do="remove", rule=rule["name"])


def form(kind: Kind, values: Mapping[str, Any], editing: str | None, said: str = "") -> str:
    """The fields of a kind of rule, filled in; `editing` names the rule that they belong to, `said` are its words."""
    fields = "".join(_field(field, values.get(field.name, field.default)) for field in kind.parameters)
    sends: dict[str, Any] = {"do": "save", "kind": kind.name}
    if editing is not None:
        sends["rule"] = editing
    save = tables.button("Save this rule" if editing else "Add this rule", "", "small-button strong", **sends)
    head = f"<h3>Edit: {html.escape(said)}</h3>" if editing else ""
    cancel = tables.button("Cancel", "the rule", "word-button", do="cancel") if editing else ""
    return (
        f'<div class="rule-form">{head}<p class="quiet">{html.escape(kind.help)}</p>{fields}'
        f'<p class="does">{save}{cancel}</p></div>'
    )


def _field(field: Field, value: Any) -> str:
    name, label = html.escape(field.name), html.escape(field.label)
    if field.type == "choice":
        options = "".join(
            f'<option value="{html.escape(one)}"{" selected" if one == value else ""}>{html.escape(said)}</option>'
            for said, one in field.choices
        )
        inner = f'<select name="{name}">{options}</select>'
    elif field.type == "lines":
        lines = value if isinstance(value, str) else "\n".join(map(str, value or ()))
        inner = f'<textarea name="{name}" rows="3">{html.escape(lines)}</textarea>'
    else:
        kind = ' inputmode="decimal"' if field.type == "number" else ""
        shown = "" if value is None else str(value)
        inner = f'<input name="{name}" type="text"{kind} value="{html.escape(shown)}">'
    return f'<label class="turn"><span>{label}</span>{inner}</label>'


def values_of(kind: Kind, typed: Mapping[str, str]) -> dict[str, Any]:
    """What was typed into the form, as the kind's parameters; whether they make sense is the kind's own to say."""
    return {field.name: _value(field, typed.get(field.name, "")) for field in kind.parameters}


def _value(field: Field, typed: str) -> Any:
    if field.type == "lines":
        return [line.strip() for line in typed.splitlines() if line.strip()]
    if field.type != "number":
        return typed
    try:
        number = float(typed.strip().replace(",", "."))
    except ValueError:
        return typed.strip()
    return int(number) if number == int(number) else number


def names(found: Sequence[RuleEntry]) -> dict[str, RuleEntry]:
    """The rules by their names."""
    return {str(rule["name"]): rule for rule in found}
