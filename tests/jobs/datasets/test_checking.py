"""What is worth knowing about usable examples is said, and they are kept."""

from __future__ import annotations

from jobs.datasets.checking import check, rows_left_out
from jobs.datasets.conversations import Example
from jobs.datasets.records import LeftOut


def example(row: int, prompt: str, answer: str) -> Example:
    return Example(row, [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}])


def plenty() -> list[Example]:
    return [example(row, f"Question {row}", f"Answer {row}") for row in range(1, 31)]


def test_clean_examples_have_no_problem() -> None:
    assert check(plenty()) == []


def test_exact_duplicates_name_the_later_rows() -> None:
    (found,) = check(
        [*plenty(), example(31, "Question 4", "Answer 4"), example(32, "Question 4", "Answer 4")]
    )
    assert (found.code, found.severity, found.rows) == ("duplicate", "warning", [31, 32])


def test_the_same_prompt_with_another_answer_names_all_its_rows() -> None:
    (found,) = check([*plenty(), example(31, "question  4", "Something else")])
    assert (found.code, found.severity, found.rows) == ("same_prompt", "warning", [4, 31])


def test_few_examples_are_said() -> None:
    assert [found.code for found in check(plenty()[:19])] == ["few_examples"]


def test_an_email_address_is_pointed_at() -> None:
    (found,) = check([*plenty(), example(31, "Write to ada@example.org", "Yes @ once")])
    assert (found.code, found.severity, found.rows) == ("email_address", "info", [31])


def test_differing_reasons_of_one_kind_show_the_first_rows() -> None:
    (found,) = rows_left_out([LeftOut(9, "broken_json", "late"), LeftOut(3, "broken_json", "early")])
    assert (found.rows, found.message) == ([3, 9], "2 rows left out. Row 3: early.")
