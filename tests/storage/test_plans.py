"""What a user sets about judging: kept for all versions of a dataset, whole or not at all."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from storage import datasets, files, plans
from storage.errors import StudioError
from storage.plans import Plan

RULE = {"kind": "contains", "parameters": {"text": "please"}}


def add(id: str, family: str | None = None, version: int = 1) -> str:
    files.dataset_folder(id).mkdir(parents=True)
    datasets.add(
        id=id, name="Tone", source_name="t.csv", format="csv", columns=["prompt", "response"], rows=3, train_rows=2,
        held_out_rows=1, problems=[], sha256="0" * 64, family=family, version=version,
    )  # fmt: skip
    return id


def test_nothing_set_is_an_empty_plan(home: Path) -> None:
    assert plans.get(add("bcdf")) == Plan()
    assert plans.get("nosuchid") == Plan(), "an adapter outlives its examples"


def test_a_plan_is_kept_for_all_versions_of_a_dataset(home: Path) -> None:
    first, second = add("bcdf"), add("bcdg", family="bcdf", version=2)
    kept = plans.put(
        second, Plan({"off": ["json"], "added": [RULE]}, " Answer in one line. ", ["Who are you?"])
    )
    assert kept == plans.get(first) == plans.get(second)
    assert kept == Plan(
        {"off": ["json"], "added": [RULE], "edited": {}}, "Answer in one line.", ["Who are you?"]
    )
    assert (files.dataset_folder(first) / "evaluation.json").is_file()


def test_a_part_is_set_without_touching_the_others(home: Path) -> None:
    add("bcdf")
    plans.change("bcdf", instruction="Be brief.")
    plans.change("bcdf", must_not_change=[" Who are you? ", "", "Who are you?"])
    assert plans.change("bcdf", rules={"off": ["json", "json"]}) == Plan(
        {"off": ["json"], "added": [], "edited": {}}, "Be brief.", ["Who are you?"]
    )
    assert plans.change("bcdf", instruction="  ").instruction is None


def test_of_parts_that_are_set_at_once_none_is_lost(home: Path) -> None:
    add("bcdf")
    changes: list[dict[str, Any]] = [
        {"instruction": "Be brief."}, {"must_not_change": ["a"]}, {"rules": {"off": ["json"]}},
    ]  # fmt: skip
    for _ in range(10):
        plans.put("bcdf", Plan())
        at_once = [threading.Thread(target=plans.change, args=["bcdf"], kwargs=one) for one in changes]
        for thread in at_once:
            thread.start()
        for thread in at_once:
            thread.join()
        assert plans.get("bcdf") == Plan({"off": ["json"], "added": [], "edited": {}}, "Be brief.", ["a"])


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"rules": []}, "off, added and edited"),
        ({"rules": {"on": []}}, "off, added and edited"),
        ({"rules": {"off": [1]}}, "“off”"),
        ({"rules": {"added": ["json"]}}, "“added”"),
        ({"rules": {"edited": [RULE]}}, "“edited”"),
        ({"rules": {"added": [RULE] * 101}}, "too many rules"),
        ({"instruction": 7}, "instruction is not a text"),
        ({"instruction": "x" * 20_001}, "20,001 characters"),
        ({"must_not_change": "Who are you?"}, "not a list of texts"),
        ({"must_not_change": [str(n) for n in range(201)]}, "201 prompts"),
        ({"must_not_change": ["x" * 20_001]}, "Prompt 1 .* 20,001 characters"),
        ({"colour": "red"}, "not a plan"),
        ("everything", "not a plan"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(home: Path, parts: Any, said: str) -> None:
    add("bcdf")
    before = plans.put("bcdf", Plan(instruction="Be brief."))
    with pytest.raises(StudioError, match=said):
        plans.put_parts("bcdf", parts)
    assert plans.get("bcdf") == before


def test_a_plan_needs_its_dataset(home: Path) -> None:
    with pytest.raises(StudioError, match="nosuchid"):
        plans.put("nosuchid", Plan())
    add("bcdf")
    files.dataset_folder("bcdf").rmdir()
    with pytest.raises(StudioError, match="gone"):
        plans.put("bcdf", Plan())


@pytest.mark.parametrize("damaged", ['{"rules": ', "[]", '{"rules": []}', "\x00", "[" * 100_000])
def test_a_damaged_plan_is_put_aside_and_stops_nothing(home: Path, damaged: str) -> None:
    path = files.dataset_folder(add("bcdf")) / plans.PLAN_FILE
    assert plans.aside("bcdf") is None
    path.write_text(damaged)
    assert plans.get("bcdf") == Plan()
    kept = plans.aside("bcdf")
    assert kept is not None and kept.read_text() == damaged and not path.exists(), "nothing is lost"
    path.write_text(damaged)
    assert plans.change("bcdf", instruction="Be brief.") == Plan(instruction="Be brief.")
    assert plans.aside("bcdf") is None, "what is set since then needs no word of it"
    path.unlink()
    other = plans.aside("bcdf")
    assert other is not None and other != kept and kept.exists(), "nor is the one before"


def test_a_plan_that_makes_no_sense_is_put_aside_unless_there_is_another_by_now(home: Path) -> None:
    add("bcdf")
    wrong = plans.put("bcdf", Plan(rules={"added": [{"kind": "nosuchkind"}]}))
    right = plans.put("bcdf", Plan(instruction="Be brief."))
    assert plans.put_aside("bcdf", wrong) == right == plans.get("bcdf") and plans.aside("bcdf") is None
    assert plans.put_aside("bcdf", right) == Plan() == plans.get("bcdf") and plans.aside("bcdf")


def test_of_rules_that_are_edited_at_once_none_is_lost(home: Path) -> None:
    add("bcdf")

    def switch_off(name: str) -> None:
        plans.edit_rules("bcdf", lambda edits: {**edits, "off": [*edits["off"], name]})

    names = [f"rule-{number}" for number in range(12)]
    threads = [threading.Thread(target=switch_off, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(plans.get("bcdf").rules["off"]) == sorted(names)
