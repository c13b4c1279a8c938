"""The verdict claims what the intervals allow, and no more."""

from __future__ import annotations

import pytest

from jobs.evaluation.rules import Rule, exact_match
from jobs.evaluation.verdict import verdict

RULES = [Rule("exact_match", "word for word", exact_match)]


def sides(base: str, few_shot: str, adapted: str) -> dict:
    """One letter a row: + kept the rule, - broke it."""
    kept = {"base": base, "few_shot": few_shot, "adapted": adapted}
    return {side: [[mark == "+"] for mark in marks] for side, marks in kept.items()}


@pytest.mark.parametrize(
    "base, few_shot, adapted, code",
    [
        ("-" * 20, "-" * 20, "+" * 20, "works"),
        ("-" * 20, "+" * 20, "+" * 20, "prompting_does_as_well"),
        ("-" * 20, "+" * 20, "+" * 12 + "-" * 8, "prompting_does_as_well"),
        ("+" * 10 + "-" * 10, "-" * 20, "+" * 10 + "-" * 10, "no_effect"),
        ("+" * 20, "+" * 20, "-" * 20, "worse"),
        ("+" * 5 + "-" * 5, "-" * 10, "-" * 4 + "+" * 6, "cannot_tell"),
        ("-" * 7, "-" * 7, "+" * 7, "cannot_tell"),
    ],
)
def test_the_code_follows_the_paired_intervals(base, few_shot, adapted, code):
    assert verdict(sides(base, few_shot, adapted), RULES, 310.0).code == code


def test_the_sentence_names_rule_rates_and_the_price_of_prompting():
    sentence = verdict(sides("-" * 20, "+" * 20, "+" * 20), RULES, 310.0).sentence
    assert "“word for word” rises from 0% to 100%" in sentence
    assert "310 more tokens a call" in sentence


def test_what_prompting_does_as_well_is_never_credited_to_the_adapter_alone():
    rules = [Rule("valid_json", "valid JSON", exact_match), Rule("same_keys", "same fields", exact_match)]
    kept = {
        "base": [[False, False]] * 20,
        "few_shot": [[True, False]] * 20,
        "adapted": [[True, True]] * 20,
    }
    sentence = verdict(kept, rules, 347.0).sentence
    assert "“same fields” rises from 0% to 100%; three examples in the prompt reach 0%" in sentence
    assert "For “valid JSON” alone they do as well, at 347 more tokens a call" in sentence


def test_too_few_rows_are_said_to_be_too_few():
    assert "7 held-out examples are too few" in verdict(sides(*["+" * 7] * 3), RULES, 0.0).sentence


def test_without_a_rule_nothing_is_claimed():
    passed = {side: [[]] * 20 for side in ("base", "few_shot", "adapted")}
    assert verdict(passed, [], 0.0).code == "cannot_tell"
