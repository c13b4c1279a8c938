"""What a dataset's adapters are judged by: the rules of its training answers as the user has edited them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from jobs.datasets import rows
from jobs.datasets.row_view import RowView
from jobs.evaluation import rules
from jobs.evaluation.held_out import rows_of
from jobs.evaluation.rules import Judged, Rule
from storage import plans
from storage.errors import StudioError
from storage.plans import Plan

# So many held-out answers tell which rules hold.
MOST_HELD_OUT = 400


def of(dataset_id: str) -> Plan:
    """What the user has set; a plan with a rule that is none is put aside like a damaged one."""
    plan = plans.get(dataset_id)
    try:
        for rule in (*plan.rules.get("added", ()), *plan.rules.get("edited", {}).values()):
            Rule.from_json(rule)
    except StudioError:
        return plans.put_aside(dataset_id, plan)
    return plan


def rules_of(dataset_id: str, plan: Plan | None = None) -> list[tuple[Rule, bool]]:
    """Every rule of a dataset, the user's own last, and whether it is on.

    Raises: StudioError when the rows are gone, or when the `plan` given holds a rule that is none.
    """
    plan = of(dataset_id) if plan is None else plan
    return rules.applied(_mined(rows.opened(dataset_id), dataset_id), plan.rules)


def instruction_of(dataset_id: str, plan: Plan | None = None) -> str:
    """What the base model is told in writing: the user's words, else the rules that hold; "" for nothing.

    Raises: StudioError as `rules_of`.
    """
    plan = of(dataset_id) if plan is None else plan
    if plan.instruction:
        return plan.instruction
    return _instruction(rows.opened(dataset_id), dataset_id, json.dumps(plan.rules, sort_keys=True))


def judged_of(dataset_id: str, found: Sequence[Rule]) -> list[Judged]:
    """Which of these rules the held-out answers keep; what the base model does anyway is not known here.

    Raises: StudioError when the rows are gone.
    """
    return rules.judged(found, _wanted(rows.opened(dataset_id), dataset_id), None)


# Rows never change, so what was found in them is kept; the view stands for the very rows.


@lru_cache(maxsize=8)
def _mined(_view: RowView, dataset_id: str) -> list[Rule]:
    return rules.mine([(row.prompt, row.reference) for row in rows_of(dataset_id, "train", rules.MOST_MINED)])


@lru_cache(maxsize=8)
def _instruction(_view: RowView, dataset_id: str, edits: str) -> str:
    on = [rule for rule, is_on in rules_of(dataset_id, Plan(json.loads(edits))) if is_on]
    return rules.instruction([one.rule for one in judged_of(dataset_id, on) if one.counts])


@lru_cache(maxsize=8)
def _wanted(_view: RowView, dataset_id: str) -> list[tuple[str, str]]:
    return [(row.prompt, row.reference) for row in rows_of(dataset_id, "held_out", MOST_HELD_OUT)]
