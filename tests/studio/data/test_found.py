from __future__ import annotations

import re
from typing import Any

from storage.datasets import Dataset
from studio.data import found


def dataset(**more: Any) -> Dataset:
    values: dict[str, Any] = {
        "id": "d1", "name": "Mails", "source_name": "mails.csv", "format": "csv", "columns": ["a", "b"],
        "rows": 118, "train_rows": 104, "held_out_rows": 14, "problems": [], "sha256": "", "created_at": 0.0,
        "family": "d1", "version": 1, "parent_id": None, "change": "", "is_current": True, "left_out_rows": 0,
        "summary": {}, "unchecked_changes": 0,
    }  # fmt: skip
    return Dataset(**{**values, **more})


def problem(code: str, label: str = "", rows: tuple[int, ...] = (3,), **more: Any) -> dict[str, Any]:
    values = {
        "code": code,
        "severity": "warning",
        "rows": list(rows),
        "count": len(rows),
        "message": f"It is {code}.",
    }
    return {**values, "fix": "Look at them.", "fix_label": label, **more}


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_answer_counts_what_is_ready_and_what_one_click_puts_right() -> None:
    problems = [problem("a", "Delete"), problem("b", "Keep one"), problem("c", "Mask"), problem("d")]
    said = text(found.verdict(dataset(left_out_rows=6), problems))
    assert said.startswith(
        "Almost. 118 of 124 examples are ready. Three small problems can be fixed with one click each."
    )
    assert "14 kept aside to test on; 104 to learn from." in said


def test_the_answer_to_sound_examples_is_yes() -> None:
    assert text(found.verdict(dataset(), [problem("d")])).startswith("Yes. All 118 examples are ready.")
    assert text(found.verdict(dataset(train_rows=12), [])).startswith("A start.")


def test_every_problem_has_its_rows_its_button_and_a_way_to_its_rows() -> None:
    shown = found.problems_html([problem("a", "Keep one", (40, 41, 97)), problem("few")], ["a"])
    assert "Rows 40, 41, 97." in text(shown)
    assert "&quot;do&quot;: &quot;fix&quot;, &quot;code&quot;: &quot;a&quot;" in shown
    assert shown.count("Keep one</button>") == 1
    assert shown.count("Show rows</button>") == 2


def test_long_lists_of_rows_say_how_many_more_there_are() -> None:
    many = problem("a", "", tuple(range(1, 1001)), count=40_000)
    assert "Rows 1, 2, 3, 4, 5, 6 and 39,994 more." in text(found.problems_html([many], []))


def test_fix_all_is_offered_for_more_than_one_problem_that_it_repairs() -> None:
    two = [problem("a", "Delete"), problem("b", "Leave out")]
    assert "Fix all" not in found.problems_html(two, ["a"])
    assert "Fix all" in found.problems_html(two, ["a", "b"])


def test_what_data_says_is_text() -> None:
    shown = found.problems_html([problem("a", "Delete", message='Not used: “<b onclick="x">”.')], [])
    assert "<b onclick" not in shown


def test_the_last_change_can_be_undone_and_redone() -> None:
    assert found.changed_html(dataset(), can_redo=False) == ""
    second = found.changed_html(
        dataset(version=2, parent_id="d1", change="Row 2 was <edited>."), can_redo=True
    )
    assert "Row 2 was &lt;edited&gt;." in second
    assert "Undo</button>" in second and "Redo</button>" in second
    assert "Undo</button>" not in found.changed_html(dataset(), can_redo=True)


def test_changes_that_were_not_checked_offer_a_check() -> None:
    shown = found.changed_html(dataset(version=9, parent_id="d1", change="x.", unchecked_changes=8), False)
    assert "8 changes since all rows were checked" in shown and "Check all rows</button>" in shown
