"""What the examples of an adapter lend to its comparison: held-out rows to ask, and the rules that answers keep."""

from __future__ import annotations

import json
from functools import lru_cache

from jobs.evaluation import held_out, plan, rules
from jobs.evaluation.held_out import HeldOutRow
from jobs.evaluation.rules import Rule
from storage import evaluations
from storage.adapters import Adapter
from storage.errors import StudioError
from studio.notices import passes

# Of a very large set so many held-out rows are offered as prompts, from all over it.
MOST_OFFERED = 5000
# Rules are checked on so many held-out answers; more would let the first question wait.
MOST_JUDGED = 200


@lru_cache(maxsize=4)
def offered_rows(dataset_id: str) -> list[HeldOutRow]:
    """A dataset's held-out rows; datasets never change, so read once. Raises StudioError when it is gone."""
    return held_out.rows_of(dataset_id, "held_out", MOST_OFFERED)


def rows_of(adapter: Adapter) -> list[HeldOutRow]:
    """The held-out rows; none when the adapter's dataset has been deleted, which takes nothing from asking."""
    try:
        return offered_rows(adapter.dataset_id)
    except StudioError as error:
        if passes(error):
            raise
        return []


def rules_of(adapter: Adapter) -> list[Rule]:
    """The rules that the scorecard counts, as the user has edited them now; none when the dataset is gone."""
    try:
        on = [rule for rule, is_on in plan.rules_of(adapter.dataset_id) if is_on]
        found = _that_hold(adapter.dataset_id, json.dumps([rule.as_json() for rule in on]))
    except StudioError as error:
        if passes(error):
            raise
        return []
    stored = evaluations.latest(adapter.id)
    judged = stored.card["rules"] if stored is not None else []
    # What the base model keeps anyway says nothing about the adapter.
    idle = {one["name"] for one in judged if not one.get("counts", True)}
    return [rule for rule in found if rule.source == "user" or rule.name not in idle]


@lru_cache(maxsize=8)
def _that_hold(dataset_id: str, candidates: str) -> list[Rule]:
    found = [Rule.from_json(rule) for rule in json.loads(candidates)]
    references = [(row.prompt, row.reference) for row in offered_rows(dataset_id)[:MOST_JUDGED]]
    return [one.rule for one in rules.judged(found, references, None) if one.counts]
