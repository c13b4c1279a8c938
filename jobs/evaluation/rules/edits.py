"""A user's changes to the mined rules: switched off, edited, added; plain JSON, as storage keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs.evaluation.rules.rule import Rule

Plan = Mapping[str, Any]  # {"off": [name], "added": [rule], "edited": {name: rule}}


def applied(mined: Sequence[Rule], plan: Plan) -> list[tuple[Rule, bool]]:
    """The mined rules as the user has edited them, then the user's own; with each whether it is on.

    Raises: StudioError where the plan holds a rule that is none.
    """
    edited = plan.get("edited", {})
    off = set(plan.get("off", ()))
    rules = [
        replace(Rule.from_json(edited[rule.name]), source="user", replaces=rule.name)
        if rule.name in edited
        else rule
        for rule in mined
    ]
    rules += [Rule.from_json({**rule, "source": "user"}) for rule in plan.get("added", ())]
    return [(rule, rule.name not in off) for rule in {rule.name: rule for rule in rules}.values()]
