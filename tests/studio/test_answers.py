from __future__ import annotations

from typing import Any

from jobs.evaluation import rules
from jobs.serving.schema import SideAnswer
from studio import answers

WANTED = '{"name": "Blue Spice"}'
HABITS = rules.mine([WANTED] * 3)


def answer(side: str = "adapted", text: str = WANTED, done: bool = True, reason: str = "stop") -> SideAnswer:
    return SideAnswer(
        side=side, label="my adapter", text=text, tokens=24, prompt_tokens=41, weights="3f9a12cd+c21e00aa",
        seconds=1.5, done=done, finish_reason=reason if done else "",
    )  # fmt: skip


def test_a_right_answer_keeps_all_rules() -> None:
    assert answers.checks(WANTED, HABITS, WANTED) == [
        ("valid JSON", True), ("the right fields", True), ("every value right", True),
    ]  # fmt: skip


def test_without_a_wanted_answer_only_what_needs_none_is_checked() -> None:
    assert answers.checks("no JSON", HABITS, None) == [("valid JSON", False)]


def test_half_an_answer_is_not_judged() -> None:
    assert "valid JSON" not in answers.columns([answer(text="{", done=False)], HABITS, WANTED)
    assert "valid JSON" in answers.columns([answer(text="{")], HABITS, WANTED)


def test_what_a_model_writes_is_shown_as_text() -> None:
    hostile = "<script>alert(1)</script>"
    shown = answers.columns([answer(text=hostile), answer(side="base")], [], None)
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "<script>" not in answers.held_out(1, 2, hostile) + answers.waiting(["base"], hostile)


def test_a_column_names_its_side_tokens_and_weights() -> None:
    shown = answers.columns([answer()], [], None)
    assert "reads 41, wrote 24 tokens" in shown
    assert "3f9a+c21e" in shown
    assert 'class="side of-adapted"' in shown


def test_a_cut_answer_says_so() -> None:
    assert "Cut at the longest answer" in answers.columns([answer(reason="length")], [], None)
    assert "Stopped" in answers.columns([answer(reason="stopped")], [], None)


def test_a_question_that_waits_says_so_once_and_as_text() -> None:
    shown = answers.held_up(["base", "adapted"], "Busy with <b>it</b>.")
    assert shown.count("Busy with &lt;b&gt;it&lt;/b&gt;.") == 1
    assert 'role="status"' in shown
    assert shown.count("<section") == 2


def card(code: str = "works", sentence: str = "It works: from 0% to 85%.") -> dict[str, Any]:
    score = {"passed": 34, "rows": 40, "rate": 0.85, "low": 0.709, "high": 0.929}
    side = {"side": "adapted", "label": "<b>x</b>", "prompt_tokens_mean": 41.2, "tokens_mean": 24.0}
    rule = {"name": "same_keys", "words": "begins with “<b>”", "sides": {"adapted": score}}
    return {"rows": 40, "verdict": {"code": code, "sentence": sentence}, "sides": [side], "rules": [rule]}


def test_the_scorecard_gives_rates_with_their_interval() -> None:
    shown = answers.scorecard(card())
    assert "85 %" in shown
    assert "71–93" in shown
    assert "34 of 40" in shown
    assert "&lt;b&gt;" in shown


def test_the_verdict_is_the_cards_own_sentence() -> None:
    assert answers.verdict(card()) == '<strong class="yes">It works:</strong> from 0% to 85%.'
    assert 'class="wrong"' in answers.verdict(card("worse", "It made things worse: a < b."))
    assert "a &lt; b" in answers.verdict(card("worse", "It made things worse: a < b."))
