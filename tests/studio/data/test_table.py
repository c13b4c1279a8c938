from __future__ import annotations

from typing import Any

import pytest

from storage.errors import StudioError
from studio.data import forms, history, table


def row(number: int, answer: str = "Yes.", split: str = "train", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Question {number}?"}, {"role": "assistant", "content": answer}]
    return {"row": number, "messages": messages, "split": split, **more}


def test_a_page_of_rows_says_where_it_is_and_shows_text_as_text() -> None:
    shown = table.table_html([row(26, "<img src=x onerror=alert(1)>"), row(27)], 25, 118, filtered=False)
    assert "Rows 26–27 of 118" in shown
    assert "<img" not in shown and "&lt;img" in shown


def test_long_texts_are_cut_in_the_table() -> None:
    assert len(table.table_html([row(1, "word " * 10_000)], 0, 1, False)) < 2_000


def test_a_row_can_be_edited_turn_by_turn() -> None:
    shown = table.editor_html("family", row(7, "  indented\n\nand </textarea><script>"))
    assert shown.count("<textarea") == 2
    assert "\n  indented\n\nand &lt;/textarea&gt;&lt;script&gt;</textarea>" in shown
    assert 'data-draft="family/7/1"' in shown
    assert "Save</button>" in shown and "Delete</button>" in shown


def test_a_row_that_is_kept_aside_cannot_be_edited_and_says_why() -> None:
    shown = table.editor_html("family", row(7, split="held_out"))
    assert "<textarea" not in shown and "Save</button>" not in shown
    assert "kept aside to test on" in shown
    assert "Delete</button>" in shown


def test_a_row_that_was_left_out_shows_why_and_can_be_completed() -> None:
    asked = {"row": 9, "messages": [{"role": "user", "content": "Where?"}], "split": "left_out"}
    shown = table.editor_html("family", {**asked, "reason": "the answer is empty", "raw": "Where?;<b>"})
    assert "the answer is empty" in shown and "Where?;&lt;b&gt;" in shown
    assert shown.count("<textarea") == 2
    nothing = table.editor_html("family", {**asked, "messages": [], "reason": "the line is broken"})
    assert shown.count("<textarea") == nothing.count("<textarea") == 2


def test_typed_lines_become_pairs_and_empty_ones_nothing() -> None:
    cells = [
        ("user", "a"),
        ("assistant", "b"),
        ("user", " "),
        ("assistant", ""),
        ("user", "c"),
        ("assistant", ""),
    ]
    typed = [{"role": role, "content": content} for role, content in cells]
    assert forms.pairs(typed) == [("a", "b"), ("c", "")]
    with pytest.raises(StudioError, match="Nothing has been typed"):
        forms.pairs(typed[2:4])


def test_an_empty_instruction_is_none() -> None:
    typed = [
        {"role": "system", "content": " "},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": ""},
    ]
    assert [one["role"] for one in forms.messages(typed)] == ["user", "assistant"]


def test_a_difference_shows_only_the_turns_that_differ() -> None:
    totals = {"added": 0, "removed": 60, "changed": 1}
    shown = history.diff_html("What changed", [], [row(3)], [(5, row(5, "old <b>"), row(5, "new"))], totals)
    assert "<del>old &lt;b&gt;</del>" in shown and "<ins>new</ins>" in shown
    assert "Question 5?" not in shown
    assert "60 rows removed" in shown and "And 59 more." in shown
