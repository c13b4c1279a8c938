"""What only the whole set shows: a format, a style, a language, kinds, system prompts; and what is remembered of it."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from jobs.datasets.checks import Checker, Problem
from jobs.datasets.checks.majorities import settled
from jobs.datasets.records import LeftOut
from tests.jobs.datasets import clean_sets
from tests.jobs.datasets.clean_sets import Messages, pair

Row = dict[str, Any]


def checked(rows: list[Row]) -> Checker:
    checker = Checker()
    for row in rows:
        checker.see(row)
    return checker


def found(rows: list[Row]) -> dict[str, Problem]:
    return {problem.code: problem for problem in checked(rows).problems()}


def clean(name: str) -> list[Row]:
    return clean_sets.lines(clean_sets.SETS[name](Random(0)))


def with_answer(rows: list[Row], number: int, answer: str) -> None:
    (row,) = (row for row in rows if row["row"] == number)
    row["messages"] = [*row["messages"][:-1], {"role": "assistant", "content": answer}]


def test_three_answers_that_are_no_json_are_named_with_the_reason() -> None:
    rows = clean("tickets")
    for number, answer in ((4, "Sorry, no idea."), (17, '{"topic": '), (60, "[]")):
        with_answer(rows, number, answer)
    problem = found(rows)["format_outlier"]
    assert problem.rows == [4, 17, 60]
    assert problem.message == "Of 92 answers 3 are not a JSON object (rows 4, 17, 60)."


def test_other_fields_and_other_kinds_of_values_are_named() -> None:
    rows = clean("tickets")
    ticket = json.loads(rows[0]["messages"][-1]["content"])
    with_answer(rows, 5, json.dumps({**ticket, "reply_needed": "yes"}))
    with_answer(rows, 6, json.dumps({key: value for key, value in ticket.items() if key != "topic"}))
    with_answer(rows, 7, json.dumps({**ticket, "extra": 1}))
    assert found(rows)["format_outlier"].rows == [5, 6, 7]


def test_fields_that_are_often_left_away_are_no_format() -> None:
    rows = clean("tickets")
    for row in rows[::2]:
        ticket = json.loads(row["messages"][-1]["content"])
        with_answer(
            rows, row["row"], json.dumps({key: value for key, value in ticket.items() if key != "order"})
        )
    assert found(rows) == {}


def test_a_missing_mark_at_the_end_is_named() -> None:
    rows = clean_sets.lines(
        [
            pair(f"How many {noun}s are {n} of them?", f"There are {n} of them.\n#### {n}")
            for n, noun in enumerate(clean_sets.NOUNS)
        ]
    )
    with_answer(rows, 9, "There are nine of them.\nNine.")
    assert found(rows)["format_outlier"].rows == [9]


def test_a_label_that_is_spelled_otherwise_is_named() -> None:
    rows = clean("labels")
    with_answer(rows, 3, rows[2]["messages"][-1]["content"].upper() + ".")
    assert found(rows)["format_outlier"].rows == [3]


def test_a_few_answers_twenty_times_longer_are_named() -> None:
    rows = clean("talks")[:80]
    for number in (8, 30, 71):
        with_answer(rows, number, "It takes some time until all of that is done. " * 60)
    assert found(rows)["length_outlier"].rows == [8, 30, 71]


def test_a_long_answer_to_a_long_text_is_as_it_should_be() -> None:
    rows = clean("talks")[:80]
    rows[20]["messages"] = pair("Correct this: " + "It take some time. " * 120, "It takes some time. " * 120)
    assert "length_outlier" not in found(rows)


def test_few_answers_that_do_not_close_like_the_others_are_named() -> None:
    rows = clean("tone")
    answer = rows[10]["messages"][-1]["content"]
    with_answer(rows, 11, answer.replace("Tailwinds to you.", "Best regards, Tess."))
    problem = found(rows)["style_outlier"]
    assert problem.rows == [11] and "1 closing unlike nearly all others" in problem.message


def test_who_asks_for_a_language_gets_it() -> None:
    rows = clean("tone")
    spanish = "El paquete todavía no ha llegado, pero llegará mañana por la tarde. Next stop: espere. Tailwinds to you."
    rows[3]["messages"] = pair("Please answer in Spanish: where is my parcel?", spanish)
    rows[4]["messages"] = pair("Where is my parcel today?", spanish)
    assert found(rows)["mixed_language"].rows == [5]


def test_a_set_in_two_languages_is_mixed_only_where_question_and_answer_differ() -> None:
    german = [row["messages"] for row in clean("german")]
    english = [row["messages"] for row in clean("talks")]
    rows = clean_sets.lines(german + english)
    assert "mixed_language" not in found(rows)
    with_answer(rows, 100, german[0][-1]["content"])
    assert found(rows)["mixed_language"].rows == [100]


def test_kinds_ten_times_rarer_than_the_largest_are_pointed_at() -> None:
    many = [
        pair(f"Summarise this: {clean_sets.sentence(Random(n))} {n}", f"In short: {n}.") for n in range(60)
    ]
    few = [pair(f"Translate this: the number {n}", f"Die Zahl {n}.") for n in range(4)]
    problem = found(clean_sets.lines(many + few))["unbalanced_kinds"]
    assert (problem.severity, problem.rows, problem.fix_label) == ("info", [61, 62, 63, 64], "")


def test_system_prompts_that_differ_in_spaces_are_named_and_others_are_not() -> None:
    rows = clean("tickets")
    system = rows[0]["messages"][0]["content"]
    rows[7]["messages"][0] = {"role": "system", "content": system.replace(" ", "  ").upper()}
    rows[8]["messages"][0] = {"role": "system", "content": "Be brief."}
    checker = checked(rows)
    assert {p.code: p.rows for p in checker.problems()}["system_spacing"] == [8]
    assert checker.context().systems == {rows[7]["messages"][0]["content"]: system}


def test_few_examples_are_said() -> None:
    problem = found(clean("talks")[:19])["few_examples"]
    assert (problem.severity, problem.rows, problem.fix_label) == ("warning", [], "")
    assert "few_examples" not in found(clean("talks")[:20])


def test_rows_left_out_are_counted_by_kind_with_the_first_reason() -> None:
    checker = Checker([LeftOut(9, "broken_json", "late"), LeftOut(3, "broken_json", "early")])
    left = {
        "row": 5,
        "split": "left_out",
        "code": "role_order",
        "reason": "x",
        "messages": pair("Hello?", "")[:1],
    }
    checker.see(left)
    problems = {problem.code: problem for problem in checker.problems()}
    assert problems["broken_json"].rows == [3, 9]
    assert problems["broken_json"].message == "2 rows left out. Row 3: early."
    assert (problems["one_sided"].rows, problems["one_sided"].message) == (
        [5],
        "1 row left out: nobody answers.",
    )
    assert problems["one_sided"].severity == "error"


def test_errors_come_first_and_json_lists_a_thousand_rows_and_counts_all() -> None:
    rows = [
        {"row": n, "split": "train", "messages": pair(f"Write to a{n}@b{n}.org", f"{n}")}
        for n in range(1, 1501)
    ]
    checker = checked(rows)
    checker.see(
        {
            "row": 2000,
            "split": "left_out",
            "code": "empty_answer",
            "reason": "the answer is empty",
            "messages": [],
        }
    )
    first, *others = checker.problems()
    assert (first.code, first.severity) == ("empty_answer", "error")
    email = next(problem for problem in others if problem.code == "email_address").as_json()
    assert (len(email["rows"]), email["count"]) == (1000, 1500)


def test_the_summary_says_what_the_set_consists_of() -> None:
    rows = clean("german") + [{**row, "row": row["row"] + 1000} for row in clean("talks")]
    summary = checked(rows).summary()
    assert summary["rows"] == len(rows) and summary["held_out_rows"] == sum(
        r["split"] == "held_out" for r in rows
    )
    assert (
        summary["languages"]["answers"]["German"] == 64 and summary["languages"]["answers"]["English"] >= 85
    )
    assert summary["openings"][:2] == [["And how would", 90], ["Wie kann ich", 64]]
    assert sum(summary["characters"]["answers"]) == len(rows)
    assert sum(summary["turns"].values()) == len(rows) and summary["turns"]["1"] == 64
    assert json.loads(json.dumps(summary)) == summary


def test_a_saved_checker_goes_on_with_changed_and_gone_rows_alone(tmp_path: Path) -> None:
    rows = clean("talks")
    by_row = {row["row"]: row for row in rows}
    checked([*rows, {**rows[0], "row": 500}]).save(tmp_path)
    checker = Checker.load(tmp_path, by_row.get)
    assert {p.code: p.rows for p in checker.problems()} == {"duplicate": [500]}
    checker.forget(500)
    assert checker.problems() == []
    changed = {
        **rows[5],
        "messages": [*rows[5]["messages"][:-1], {"role": "assistant", "content": "Write to ada@home.org."}],
    }
    checker.see(changed)
    afresh = checked([changed if row["row"] == changed["row"] else row for row in rows])
    assert checker.problems() == afresh.problems() and checker.summary() == afresh.summary()
    assert checker.context() == afresh.context()


def test_the_order_in_which_rows_are_seen_does_not_matter() -> None:
    rows: list[Row] = clean("facts")
    messages: Messages = rows[0]["messages"]
    rows += [
        {"row": 900, "split": "train", "messages": messages},
        {"row": 901, "split": "train", "messages": messages},
    ]
    shuffled = Random(1).sample(rows, len(rows))
    assert checked(rows).problems() == checked(shuffled).problems()


def test_who_leaves_outliers_out_is_not_shown_new_ones() -> None:
    values = np.array([1] * 20 + [10, 100])
    marked = settled(lambda rows: rows > 2 * rows.mean(), values)
    assert values[marked].tolist() == [10, 100]
