"""Rules come from the wanted answers, and count only where these keep them."""

from __future__ import annotations

import pytest

from jobs.evaluation import rules


def names(found: list[rules.Rule]) -> list[str]:
    return [rule.name for rule in found]


def test_json_answers_ask_for_json_fields_and_values():
    assert names(rules.mine(['{"a": 1}', '{"a": 2}'])) == ["valid_json", "same_keys", "values_equal"]


def test_one_stray_answer_among_twenty_does_not_hide_the_habit():
    assert names(rules.mine(['{"a": 1}'] * 19 + ["sorry"]))[0] == "valid_json"
    assert "valid_json" not in names(rules.mine(['{"a": 1}'] * 17 + ["sorry"] * 3))


@pytest.mark.parametrize(
    "answer, expected",
    [
        ('{"b": true, "a": 1.0}', (True, True, True)),
        ('{"a": 1, "b": 1}', (True, True, False)),
        ('{"a": 1}', (True, False, False)),
        ('Here: {"a": 1, "b": true}', (False, False, False)),
        ("[1]", (False, False, False)),
        ("[" * 100_000, (False, False, False)),
    ],
)
def test_json_is_judged_by_meaning(answer, expected):
    reference = '{"a": 1, "b": true}'
    judged = (rules.valid_json, rules.same_keys, rules.values_equal)
    assert tuple(rule(answer, reference) for rule in judged) == expected


@pytest.mark.parametrize(
    "answer, single",
    [
        ("It costs 3.5 million.", True),
        ("Yes. It does.", False),
        ("One\nTwo", False),
        ("", False),
        ("No", True),
    ],
)
def test_one_sentence(answer, single):
    assert rules.one_sentence(answer, "") is single


def test_a_shared_first_and_last_line_become_rules():
    found = rules.mine([f"Dear guest,\nroom {n}.\nYours, Ada" for n in range(10)])
    assert {"opening_line", "closing_line"} <= set(names(found))
    opening = next(rule for rule in found if rule.name == "opening_line")
    assert opening.passes("Dear guest,\nno.", "") and not opening.passes("Hi,\nno.", "")


def test_the_length_band_is_that_of_the_wanted_answers():
    band = next(rule for rule in rules.mine(["a b c", "a b c d"] * 10) if rule.name == "length_band")
    assert band.passes("x y z", "") and not band.passes("x", "") and not band.passes("x " * 9, "")


def test_a_rule_that_the_held_out_answers_break_does_not_count():
    mined = rules.mine(["One sentence only."] * 10)
    assert "one_sentence" in names(rules.that_hold(mined, ["One sentence only."] * 9 + ["Two. Are here."]))
    assert "one_sentence" not in names(rules.that_hold(mined, ["One."] * 8 + ["Two. Are."] * 2))
    assert rules.that_hold(mined, []) == []
