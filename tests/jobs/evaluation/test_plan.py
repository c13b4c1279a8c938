"""The rules and the instruction of a dataset, as its user has edited them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.evaluation import plan, rules
from storage import files, plans
from storage.plans import Plan
from tests.jobs.serving.parts import DATASET_ID, TRAIN_ROWS, add_dataset


@pytest.fixture(autouse=True)
def dataset(home: Path) -> None:
    add_dataset()


def names(own: Plan | None = None) -> dict[str, bool]:
    return {rule.name: is_on for rule, is_on in plan.rules_of(DATASET_ID, own)}


def test_rules_are_those_of_the_training_answers_with_the_users_edits() -> None:
    found = names()
    assert found and all(found.values())
    first = next(iter(found))
    edits = {"off": [first], "added": [], "edited": {}}
    plans.put(DATASET_ID, Plan(edits))
    assert names() == {**found, first: False}
    assert names(Plan()) == found, "as another plan has it"


def test_the_instruction_is_the_users_own_or_made_of_the_rules_that_are_on_and_hold() -> None:
    made = plan.instruction_of(DATASET_ID)
    assert "JSON" in made
    off = Plan({"off": list(names()), "added": [], "edited": {}})
    assert plan.instruction_of(DATASET_ID, off) == ""
    assert plan.instruction_of(DATASET_ID, Plan(instruction="Be short.")) == "Be short."
    plans.put(DATASET_ID, Plan(instruction="Be long."))
    assert plan.instruction_of(DATASET_ID) == "Be long." and plan.instruction_of(DATASET_ID, Plan()) == made


def test_a_rule_is_judged_by_the_held_out_answers() -> None:
    on = [rule for rule, _ in plan.rules_of(DATASET_ID)]
    judged = plan.judged_of(DATASET_ID, on)
    assert [one.rule for one in judged] == on and {one.holds for one in judged} == {1.0}
    never = rules.Rule.from_json({"kind": "upper_case", "source": "mined"})
    (one,) = plan.judged_of(DATASET_ID, [never])
    assert one.holds == 0 and not one.counts


def test_what_training_answers_have_in_common_and_held_out_ones_do_not_is_not_asked_for() -> None:
    file = files.dataset_folder(DATASET_ID) / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows[TRAIN_ROWS:]:
        row["messages"][-1]["content"] = f"number {row['row']}"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [rule for rule, _ in plan.rules_of(DATASET_ID)]
    (judged,) = [one for one in plan.judged_of(DATASET_ID, found) if one.rule.kind == "valid_json"]
    assert judged.holds == 0 and not judged.counts
    assert "JSON" not in plan.instruction_of(DATASET_ID)


def test_a_plan_with_a_rule_that_is_none_is_put_aside() -> None:
    for edits in ({"added": [{"kind": "nonsense"}]}, {"edited": {"valid JSON": {"kind": "nonsense"}}}):
        plans.put(DATASET_ID, Plan({"off": [], "added": [], "edited": {}, **edits}, "Be short."))
        assert plan.of(DATASET_ID) == Plan() and plans.aside(DATASET_ID) is not None
    plans.put(DATASET_ID, Plan(instruction="Be short."))
    assert plan.of(DATASET_ID).instruction == "Be short."
