"""Copies: what repeats another row is found, and rows of one template with other facts are none."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from jobs.datasets.checks import Checker, Problem
from jobs.datasets.checks.near import said_in, same_again
from tests.jobs.datasets import clean_sets
from tests.jobs.datasets.clean_sets import Messages, pair


def problems(rows: list[Messages], held_out: tuple[int, ...] = ()) -> dict[str, Problem]:
    """The findings about these rows after 90 clean ones, numbered from 101."""
    checker = Checker()
    for line in clean_sets.lines(clean_sets.SETS["talks"](Random(0))):
        checker.see(line)
    for number, messages in enumerate(rows, start=101):
        checker.see(
            {"row": number, "messages": messages, "split": "held_out" if number in held_out else "train"}
        )
    return {problem.code: problem for problem in checker.problems()}


LONG = "Open the lid, wait until the lamp is green, then press both of the buttons and hold them down for a while."


def test_exact_copies_name_all_but_the_first() -> None:
    found = problems([pair("Where is it?", "There.")] * 3)
    assert (found["duplicate"].rows, found["duplicate"].fix_label) == ([102, 103], "Keep one")


def test_a_copy_of_a_row_kept_aside_names_the_one_for_learning() -> None:
    found = problems([pair("Where is it?", "There.")] * 2, held_out=(102,))
    assert found["leak"].rows == [101] and "duplicate" not in found


def test_the_same_question_on_both_sides_is_a_leak_whatever_its_answer_case_and_punctuation() -> None:
    found = problems([pair("Where is it?", "There."), pair("where  IS it", "Here.")], held_out=(101,))
    assert found["leak"].rows == [102] and "same_prompt" not in found


def test_the_same_prompt_with_another_answer_names_all_its_rows() -> None:
    found = problems([pair("Where is it?", "There."), pair("Where is it", "Nobody can say that.")])
    assert (found["same_prompt"].rows, found["same_prompt"].fix_label) == ([101, 102], "")


def test_conversations_that_grow_out_of_one_another_contradict_nothing() -> None:
    start = pair("Where is it?", "There.")
    found = problems([start, [*start, *pair("And now?", "Still there.")]])
    assert not {"duplicate", "near_duplicate", "same_prompt", "leak"} & found.keys()


def test_of_near_copies_all_but_one_are_named() -> None:
    found = problems(
        [pair("How do I start it?", LONG), pair("Hello, how can I start it please?", LONG + "!")]
    )
    assert (found["near_duplicate"].rows, found["near_duplicate"].fix_label) == ([102], "Keep one")


SAME = [
    (pair("How do I start it?", LONG), pair("how do I START it", LONG.upper())),
    (pair("How do I start it?", LONG), pair("Please, how do I start it?", LONG)),
    (pair("How do I organise a trip?", LONG), pair("How do I organize a trip?", LONG)),
    (pair("How do I start the engine?", LONG), pair("How do I start the engien?", LONG)),
    (pair("Can you start it?", LONG), pair("Could you start it?", LONG.replace("a while", "a moment"))),
]
OTHER = [
    (pair("What is 17 + 4?", "17 + 4 is 21."), pair("What is 18 + 4?", "18 + 4 is 22.")),
    (
        pair("What is the capital of France?", "It is Paris."),
        pair("What is the capital of Spain?", "It is Madrid."),
    ),
    (pair("Is it legal to do so?", LONG), pair("Is it illegal to do so?", LONG)),
    (pair("Should I press it?", "Yes, always."), pair("Should I press it?", "No, never.")),
    (pair("How tall is it?", f"{LONG} It is 300 m."), pair("How tall is it?", f"{LONG} It is 320 m.")),
    (pair("Say it kindly: I am late.", "positive"), pair("Say it kindly: I am ill.", "positive")),
    (pair("Where is Ada now?", f"Ada? {LONG}"), pair("Where is Bob now?", f"Bob? {LONG}")),
    (pair("Where?", '{"open": true, "door": "red"}'), pair("Where?", '{"open": false, "door": "red"}')),
    (pair("How do I start it?", LONG), pair("How do I start it?", LONG.replace("then", "never"))),
    (
        pair(f"{LONG * 3} Tell Adelheid so.", f"Adelheid! {LONG}"),
        pair(f"{LONG * 3} Tell Gregory so.", f"Gregory! {LONG}"),
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_in_other_words_is_a_near_copy(one: Messages, other: Messages) -> None:
    assert same_again(said_in(one), said_in(other))


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_other_facts_in_the_same_words_are_no_near_copy(one: Messages, other: Messages) -> None:
    assert not same_again(said_in(one), said_in(other))


def test_a_label_for_many_texts_of_one_template_is_no_copy() -> None:
    order = (
        "Read the message of the customer and say in one word whether it is positive or negative. Message: "
    )
    rows = [pair(f"{order}the {noun} is fine", "positive") for noun in clean_sets.NOUNS]
    assert "near_duplicate" not in problems(rows)


def test_rows_too_many_to_keep_are_fetched_by_their_number() -> None:
    rows = {
        n: pair("How do I start it?" if n == 1 else f"Please, how do I start it{'?' * n}", LONG)
        for n in (1, 2)
    }
    asked: list[int] = []

    def fetch(number: int) -> dict[str, Any]:
        asked.append(number)
        return {"row": number, "messages": rows[number]}

    checker = Checker(fetch=fetch)
    for number, messages in rows.items():
        checker.see({"row": number, "messages": messages, "split": "train"})
    assert "near_duplicate" in {problem.code for problem in checker.problems()} and sorted(asked) == [1, 2]
