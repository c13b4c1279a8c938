"""What was settled when somebody asked stays so, whatever is changed afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.serving import sides
from jobs.serving.settled import Settled, settle
from storage import adapters, plans
from storage.adapters import Adapter
from storage.errors import StudioError
from storage.plans import Plan
from tests.jobs.serving.parts import ADAPTERS, DATASET_ID, add_adapter, add_dataset, add_look

FIRST, SECOND = ADAPTERS
QUESTION = [{"role": "user", "content": "Why?"}]


@pytest.fixture
def adapter(home: Path, tiny_model: Path) -> Adapter:
    add_dataset()
    for seed, adapter_id in enumerate(ADAPTERS):
        add_adapter(adapter_id, "starter", tiny_model, seed)
    add_look(FIRST, 5, of=FIRST)
    adapters.set_strength(FIRST, 0.5)
    adapters.set_strength(SECOND, 0.75)
    return adapters.get(FIRST)


def test_strengths_and_the_instruction_stay_as_they_were(adapter: Adapter) -> None:
    plans.put(DATASET_ID, Plan(instruction="Be short."))
    asked = ["adapted", SECOND, "instruction"]
    settled = Settled.from_json(settle(asked, adapter).as_json())
    names = [settled.name(side, adapter) for side in asked]
    assert names[:2] == ["adapted*0.5", f"{SECOND}*0.75"] and names[2].startswith("instruction:")
    adapters.set_strength(FIRST, 1.2)
    adapters.set_strength(SECOND, 1.0)
    plans.put(DATASET_ID, Plan(instruction="Be long."))
    now = adapters.get(FIRST)
    assert [settled.name(side, now) for side in asked] == names
    _, other, told = sides.requests_for(asked, now, "starter", QUESTION, settled=settled)
    assert other.adapters == {SECOND: 0.75} and told.messages[0]["content"] == "Be short."
    later = [settle(asked, now).name(side, now) for side in asked]
    assert later[:2] == ["adapted*1.2", SECOND] and later[2] != names[2]


def test_what_a_side_says_itself_is_settled_by_nothing(adapter: Adapter) -> None:
    settled = settle([f"{SECOND}*0.3+{FIRST}", f"{FIRST}@5", "base"], adapter)
    assert settled.name(f"{SECOND}*0.3+{FIRST}", adapter) == f"{SECOND}*0.3+{FIRST}*0.5"
    assert settled.name(f"{FIRST}@5", adapter) == f"{FIRST}@5", "a saved look is as trained"
    assert settled.name("base", adapter) == "base"


def test_nobody_needs_the_examples_but_who_tells_an_instruction(adapter: Adapter, tiny_model: Path) -> None:
    add_adapter("dptr4444", "starter", tiny_model, 2, dataset_id="gnnn2222")
    alone = adapters.get("dptr4444")
    assert settle(["base", "adapted"], alone) == Settled({"dptr4444": 1.0}, None)
    with pytest.raises(StudioError):
        settle(["instruction"], alone)
