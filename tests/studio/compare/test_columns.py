from __future__ import annotations

import json
import re

import pytest

from jobs.evaluation import rules
from jobs.serving.schema import SideAnswer
from studio.compare import columns
from studio.compare.columns import AUTO, BASE, NOTHING
from studio.compare.scene import Scene, Turn

WANTED = '{"name": "Blue Spice"}'
HABITS = rules.mine([(f"place {n}", json.dumps({"name": f"Place {n}"})) for n in range(20)])
HOSTILE = '<img src=x onerror="alert(1)"><script>alert(1)</script>'


def answer(side: str = "adapted", text: str = WANTED, done: bool = True, reason: str = "stop") -> SideAnswer:
    return SideAnswer(
        side=side, label="my adapter", text=text, tokens=24, prompt_tokens=41, weights="3f9a12cd+c21e00aa",
        seconds=1.5, done=done, finish_reason=reason if done else "",
    )  # fmt: skip


def scene(*answers: SideAnswer, wanted: str | None = None, prompt: str = "place?") -> Scene:
    return Scene(now=Turn([{"role": "user", "content": prompt}], wanted, {}, list(answers)))


def test_a_right_answer_keeps_all_rules() -> None:
    found = columns.checks(WANTED, HABITS, WANTED)
    assert ("valid JSON", True) in found
    assert all(passed for _, passed in found)


def test_without_a_wanted_answer_only_what_needs_none_is_checked() -> None:
    found = columns.checks("no JSON", HABITS, None)
    assert ("valid JSON", False) in found
    assert len(found) < len(columns.checks("no JSON", HABITS, WANTED))


def test_half_an_answer_is_not_judged() -> None:
    assert "valid JSON" not in columns.drawn(scene(answer(text="{", done=False), wanted=WANTED), HABITS)
    assert "valid JSON" in columns.drawn(scene(answer(text="{"), wanted=WANTED), HABITS)


@pytest.mark.parametrize("marks", [AUTO, BASE, NOTHING])
def test_what_people_and_models_write_is_shown_as_text(marks: str) -> None:
    said = [answer(text=HOSTILE), {**answer("base", HOSTILE + " more"), "label": HOSTILE}]
    turn = Turn([{"role": "user", "content": HOSTILE}], HOSTILE + " words", {}, said)  # type: ignore[arg-type]
    whole = Scene((turn,), turn, goes_on=True)
    shown = columns.drawn(whole, [], marks)
    shown += columns.waiting(whole, {"base": HOSTILE}, HOSTILE) + columns.held_up(
        whole, {"base": HOSTILE}, HOSTILE
    )
    shown += columns.refused(whole, HOSTILE)
    shown += columns.held_out(1, 2, HOSTILE, [{"role": "user", "content": HOSTILE}])
    assert not re.search("<(img|script)", re.sub("</?(ins|del)>", "", shown))
    assert "&lt;script&gt;" in shown


def test_a_column_names_its_side_tokens_speed_and_weights() -> None:
    shown = columns.drawn(scene(answer()), [])
    assert "reads 41, wrote 24 tokens" in shown
    assert "16 tokens/s" in shown
    assert "3f9a+c21e" in shown
    assert 'class="side of-adapted"' in shown


@pytest.mark.parametrize(
    ("side", "kind"),
    [("base", "base"), ("similar", "similar"), ("k3fa-1", "adapter"), ("k3fa-1@120", "look"),
     ("k3fa-1*0.7", "adapter"), ("k3fa-1*0.7+m2xe*0.3", "blend")],
)  # fmt: skip
def test_every_side_has_a_kind_that_the_style_sheet_knows(side: str, kind: str) -> None:
    assert f"of-{kind}" in columns.drawn(scene(answer(side)), [])


def test_an_adapter_says_at_which_strength_it_answered() -> None:
    weaker: SideAnswer = {**answer(), "weights": "3f9a12cd+c21e00aa*0.7"}  # type: ignore[assignment]
    assert " · " in columns.drawn(scene(weaker), []) and "at 0.7×" in columns.drawn(scene(weaker), [])
    assert "at 1" not in columns.drawn(scene(answer()), [])


def test_a_blend_says_what_it_is_made_of() -> None:
    shown = columns.drawn(scene({**answer("a*0.7+b*0.3"), "label": "0.7 × A + 0.3 × B"}), [])  # type: ignore[arg-type]
    assert "<h3>Blend</h3>" in shown
    assert "0.7 × A + 0.3 × B" in shown


def test_the_label_of_a_blend_is_text_and_no_time_at_all_is_no_speed() -> None:
    shown = columns.drawn(scene({**answer("a+b"), "label": HOSTILE, "seconds": 0.0}), [])  # type: ignore[arg-type]
    assert "<img" not in shown and "tokens/s" not in shown


def test_half_an_answer_of_the_base_model_marks_nothing() -> None:
    said = (answer("base", "It comes on", done=False), answer(text="It comes on Friday by post."))
    assert "<ins>" not in columns.drawn(scene(*said), [], BASE)


def test_without_the_base_model_the_first_answer_is_what_others_differ_from() -> None:
    said = (answer("k3fa-1", "It comes on Monday by post."), answer(text="It comes on Friday by post."))
    shown = columns.drawn(scene(*said), [], BASE)
    assert "<ins>Friday</ins>" in shown and "<ins>Monday" not in shown


def test_while_it_is_written_an_answer_is_text_and_nobody_is_told_that_all_have_answered() -> None:
    shown = columns.drawn(scene(answer("base"), answer(text=HOSTILE, done=False)), [])
    assert "<img" not in shown and "All have answered" not in shown
    assert "All have answered" in columns.drawn(scene(answer("base"), answer()), [])


def test_a_cut_answer_says_so() -> None:
    assert "Cut at the longest answer" in columns.drawn(scene(answer(reason="length")), [])
    assert "Stopped" in columns.drawn(scene(answer(reason="stopped")), [])


def test_answers_are_marked_against_what_was_chosen() -> None:
    said = (answer("base", "It comes on Monday by post."), answer(text="It comes on Friday by post."))
    asked = scene(*said, wanted="It comes on Sunday by post.")
    auto = columns.drawn(asked, [], AUTO)
    assert "<ins>Monday</ins><del>Sunday</del>" in auto and "<ins>Friday</ins><del>Sunday</del>" in auto
    base = columns.drawn(asked, [], BASE)
    assert "<ins>Friday</ins>" in base and "<ins>Monday" not in base
    assert "1 word differs from the base model’s answer." in base
    assert "<ins>" not in columns.drawn(asked, [], NOTHING)
    assert "<ins>Friday</ins>" in columns.drawn(scene(*said), [], AUTO)


def test_every_answer_can_be_corrected_once_it_is_there() -> None:
    assert "data-sends" not in columns.drawn(scene(answer(done=False)), [])
    shown = columns.drawn(scene(answer("base"), answer()), [])
    assert re.findall(r'data-sends="\{&quot;correct&quot;: &quot;(\w+)', shown) == ["base", "adapted"]


def test_a_long_answer_scrolls_where_the_keyboard_reaches_it() -> None:
    assert 'tabindex="0"' in columns.drawn(scene(answer(text="word " * 1000)), [])
    assert 'tabindex="0"' not in columns.drawn(scene(answer()), [])


def test_a_question_that_waits_says_so_once_and_as_text() -> None:
    shown = columns.held_up(scene(), {"base": "Base model", "adapted": "Adapter"}, "Busy with <b>it</b>.")
    assert shown.count("Busy with &lt;b&gt;it&lt;/b&gt;.") == 1
    assert 'role="status"' in shown
    assert shown.count("<section") == 2
