"""Rules are plain JSON with stable names; what is no rule is refused in words."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from jobs.evaluation import rules
from jobs.evaluation.rules import ALL_KINDS, KINDS, Rule
from storage.errors import StudioError
from tests.jobs.evaluation.rules.sets import all_sets

PARAMETERS = {
    "contains": {"texts": ["hello"]}, "never_contains": {"texts": ["cheap", "problem"]},
    "begins_with": {"texts": ["Ahoy!"]},
    "ends_with": {"texts": ["Bye."]}, "length_band": {"fewest": 2, "most": 9}, "sentences": {"most": 3},
    "lines": {"fewest": 2}, "reading_level": {"most": 40}, "address": {"form": "du"}, "speaks_as": {"person": "we"},
    "never_speaks_as": {"person": "i"}, "language": {"language": "de"}, "items": {"fewest": 3, "most": 3},
    "line_shape": {"place": "last", "shape": "#### {number}"},
    "right_value": {"place": "last", "shape": "#### {number}"},
    "parts": {"labels": ["Cause", "Fix"]}, "one_of": {"texts": ["yes", "no"]}, "fields_equal": {"fields": ["topic"]},
    "matches": {"pattern": "[0-9]+"}, "never_matches": {"pattern": "[0-9]+"},
    "json_schema": {"schema": {"type": "object"}},
}  # fmt: skip


@pytest.mark.parametrize("name", ALL_KINDS)
def test_a_rule_of_every_kind_survives_as_json(name: str) -> None:
    rule = ALL_KINDS[name].make(**PARAMETERS.get(name, {}))
    again = Rule.from_json(json.loads(json.dumps(rule.as_json())))
    assert again == rule
    assert again.name == rule.name
    assert rule.source == "user"
    assert rule.words and rule.words[0] != " "
    assert isinstance(again.passes("An answer.", "A wanted one.", "A question?"), bool)
    assert isinstance(again.imperative(), str)


@pytest.mark.parametrize("name", ALL_KINDS)
def test_no_rule_but_one_about_what_is_missing_is_kept_by_an_empty_answer(name: str) -> None:
    absent = {
        "never_contains",
        "no_stock_phrases",
        "never_speaks_as",
        "never_matches",
        "items",
        "reading_level",
    }
    rule = ALL_KINDS[name].make(**PARAMETERS.get(name, {}))
    if name not in absent:
        assert not rule.passes("", "wanted", "asked")


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_on_offer_explains_itself(name: str) -> None:
    about = KINDS[name]
    assert about.label[0].isupper()
    assert about.help.endswith(".")
    assert {field.type for field in about.parameters} <= {"text", "number", "choice", "lines"}
    for field in about.parameters:
        assert field.label
        assert (field.type == "choice") == bool(field.choices)


@pytest.mark.parametrize("set_name", all_sets())
def test_what_is_mined_survives_as_json_and_has_names_of_its_own(set_name: str) -> None:
    found = rules.mine(all_sets()[set_name])
    assert [Rule.from_json(json.loads(json.dumps(rule.as_json()))) for rule in found] == found
    assert len({rule.name for rule in found}) == len(found)
    assert {rule.source for rule in found} <= {"mined"}


def test_a_mined_band_keeps_its_name_while_its_numbers_follow_the_examples() -> None:
    before, after = (ALL_KINDS["length_band"].mined(fewest=low, most=40) for low in (10, 11))
    assert before.name == after.name == "length_band"


def test_the_shape_of_the_last_line_keeps_its_name_while_its_example_follows_the_examples() -> None:
    shape = {"place": "last", "shape": "#### {number}"}
    names = {ALL_KINDS["line_shape"].mined(**shape, example=f"#### {n}").name for n in (5, 6)}
    assert names == {"line_shape-last"}
    assert ALL_KINDS["line_shape"].mined(place="first", shape="Day {number}").name == "line_shape-first"


def test_two_rules_of_a_users_own_have_two_names() -> None:
    one, other = (KINDS["contains"].make(texts=[text]) for text in ("a b", "c d"))
    assert one.name != other.name
    assert one.name == KINDS["contains"].make(texts=["a b"]).name


@pytest.mark.parametrize(
    "plain, said",
    [
        ("rule", "has to be an object"),
        ({"kind": "nonsense"}, "no kind of rule called “nonsense”"),
        ({"kind": ["contains"]}, "no kind of rule"),
        ({"kind": "contains", "parameters": []}, "have to be an object"),
        ({"kind": "contains", "parameters": {}}, "“Texts”"),
        ({"kind": "contains", "parameters": {"texts": [" "]}}, "“Texts” is empty"),
        ({"kind": "contains", "parameters": {"texts": [1]}}, "not a list of texts"),
        ({"kind": "contains", "parameters": {"texts": ["x" * 501]}}, "holds too much"),
        ({"kind": "length_band", "parameters": {}}, "neither “at least” nor “at most”"),
        ({"kind": "length_band", "parameters": {"fewest": 9, "most": 2}}, "at least 9 and at most 2"),
        ({"kind": "length_band", "parameters": {"most": -1}}, "“at most” says “-1”"),
        ({"kind": "length_band", "parameters": {"most": "many"}}, "says “many”"),
        ({"kind": "length_band", "parameters": {"most": True}}, "says “True”"),
        ({"kind": "length_band", "parameters": {"most": 2, "unit": "miles"}}, "no choice"),
        ({"kind": "language", "parameters": {"language": "klingon"}}, "no choice"),
        ({"kind": "line_shape", "parameters": {"shape": "{word}{word}"}}, "touch each other"),
        ({"kind": "line_shape", "parameters": {"shape": "{text} {text} {text}"}}, "too many"),
        ({"kind": "json_schema", "parameters": {"schema": {"type": 3}}}, "no JSON schema"),
        ({"kind": "exact_match", "source": "nobody"}, "“nobody”"),
    ],
)
def test_what_is_no_rule_is_refused_in_words(plain: object, said: str) -> None:
    with pytest.raises(StudioError) as refused:
        Rule.from_json(plain)
    assert said in str(refused.value)


def test_the_page_can_import_it_without_a_heavy_library() -> None:
    heavy = "torch transformers peft datasets sklearn scipy jsonschema genson regex"
    code = f"import sys, jobs.evaluation.rules; print([m for m in '{heavy}'.split() if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
