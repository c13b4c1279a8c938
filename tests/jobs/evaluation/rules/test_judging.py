"""Which rules count, what a user's edits make of them, and the instruction that they become."""

from __future__ import annotations

import time
from typing import Any

import pytest

from jobs.evaluation import rules
from jobs.evaluation.rules import ALL_KINDS, KINDS
from storage.errors import StudioError
from tests.jobs.evaluation.rules.sets import all_sets

ONE = ALL_KINDS["one_sentence"].mined()
HELLO = ALL_KINDS["begins_with"].mined(texts=["Hello"])


def judge(rule: rules.Rule, kept: int, base: int | None, total: int = 20) -> rules.Judged:
    references = [("", "One sentence." if n < kept else "Two. Are here.") for n in range(total)]
    answers = [("", "One.", "One." if n < (base or 0) else "Two. Are.") for n in range(total)]
    (found,) = rules.judged([rule], references, answers if base is not None else None)
    return found


@pytest.mark.parametrize(
    "kept, base, counts",
    [
        (20, 0, True),
        (18, 0, True),
        (17, 0, False),
        (20, 18, True),
        (20, 19, False),
        (18, 16, True),
        (18, 17, False),
    ],
)
def test_a_rule_counts_where_the_wanted_answers_keep_it_and_the_base_model_does_not(
    kept: int, base: int, counts: bool
) -> None:
    found = judge(ONE, kept, base)
    assert found.counts is counts
    assert bool(found.why) is not counts
    assert found.holds == kept / 20
    assert found.base == base / 20


def test_why_a_rule_does_not_count_is_said_with_its_numbers() -> None:
    assert "Only 85% of the held-out answers keep it" in judge(ONE, 17, 0).why
    assert "already, in 95% of its answers" in judge(ONE, 20, 19).why
    (none,) = rules.judged([ONE], [], None)
    assert not none.counts
    assert "no held-out examples" in none.why


def test_before_the_base_model_has_answered_it_is_no_reason_against_a_rule() -> None:
    found = judge(ONE, 20, None)
    assert found.counts
    assert found.base is None


def test_a_users_own_rule_counts_whatever_the_answers_do_and_is_warned_about() -> None:
    own = KINDS["one_sentence"].make()
    found = judge(own, 5, 20)
    assert found.counts
    assert "Only 25% of the held-out answers keep it" in found.why


def test_a_plan_switches_edits_and_adds() -> None:
    own = KINDS["contains"].make(texts=["please"])
    edit = KINDS["begins_with"].make(texts=["Dear"]).as_json()
    plan = {"off": ["one_sentence", own.name], "edited": {"begins_with": edit}, "added": [own.as_json()]}
    one, edited, added = rules.applied([ONE, HELLO], plan)
    assert one == (ONE, False)
    assert added == (own, False)
    rule, on = edited
    assert on
    assert rule.name == "begins_with"
    assert rule.source == "user"
    assert rule.passes("Dear all", "") and not rule.passes("Hello", "")
    assert rules.Rule.from_json(rule.as_json()) == rule


def test_an_empty_plan_changes_nothing() -> None:
    assert rules.applied([ONE, HELLO], {}) == [(ONE, True), (HELLO, True)]


def test_an_edit_of_a_rule_that_is_no_longer_mined_waits() -> None:
    edit = KINDS["begins_with"].make(texts=["Dear"]).as_json()
    assert rules.applied([ONE], {"edited": {"begins_with": edit}}) == [(ONE, True)]


@pytest.mark.parametrize(
    "plan", [{"added": [{"kind": "x"}]}, {"edited": {"one_sentence": {"kind": "contains"}}}]
)
def test_a_plan_with_a_rule_that_is_none_is_refused(plan: dict[str, Any]) -> None:
    with pytest.raises(StudioError):
        rules.applied([ONE], plan)


def test_the_instruction_asks_for_every_habit_of_the_examples() -> None:
    said = rules.instruction(rules.mine(all_sets()["tone"]))
    for part in ("End with “Tailwinds to you.”", "Say “Next stop”", "15 to 40 words", "4 sentences", "“you”"):
        assert part in said
    assert ".”." not in said
    assert "  " not in said


def test_the_instruction_for_json_names_the_fields_and_what_may_be_in_them() -> None:
    said = rules.instruction(rules.mine(all_sets()["format"]))
    assert "one JSON object and nothing else" in said
    assert "“urgency” (one of “high”, “low” or “normal”)" in said
    assert "“order” (text or null)" in said


def test_fields_that_come_only_now_and_then_are_said_to_be_left_out() -> None:
    rows = [("", f'{{"name": "n{n}"' + (', "price": 3}' if n % 2 else "}")) for n in range(12)]
    said = rules.instruction(rules.mine(rows))
    assert "“price” (whole number, left out where it does not apply)" in said
    assert "“name” (text)" in said


def test_without_rules_there_is_nothing_to_say() -> None:
    assert rules.instruction([]) == ""
    assert rules.instruction([ALL_KINDS["exact_match"].mined()]) == ""


@pytest.mark.parametrize(
    "pattern, text, found", [(r"^#### \d+$", "so\n#### 42", True), (r"\A\d", "a\n1", False)]
)
def test_a_users_pattern_is_searched_line_by_line(pattern: str, text: str, found: bool) -> None:
    assert KINDS["matches"].make(pattern=pattern).passes(text, "") is found
    assert KINDS["never_matches"].make(pattern=pattern).passes(text, "") is not found


def test_a_pattern_that_would_run_for_years_ends_in_time() -> None:
    rule = KINDS["matches"].make(pattern=r"(z+)+y$")
    started = time.monotonic()
    assert not rule.passes("z" * 5000 + "!", "")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("pattern", ["[", "(a+)+$", "(x{1000}){1000}", "x{100000}", "", " ", "(?P<"])
def test_a_pattern_that_is_none_or_is_careless_is_refused_in_words(pattern: str) -> None:
    started = time.monotonic()
    with pytest.raises(StudioError):
        KINDS["matches"].make(pattern=pattern)
    assert time.monotonic() - started < 5
