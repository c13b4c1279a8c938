from __future__ import annotations

import re

from studio.compare import differences


def test_what_only_the_answer_has_is_underlined_and_what_it_lacks_is_struck_out() -> None:
    found = differences.marked(
        "It comes on Monday, by post.", "It comes on Friday, by post.", "the wanted answer", True
    )
    assert "<ins>Monday</ins>" in found.text
    assert "<del>Friday</del>" in found.text
    assert found.said == "1 word differs from the wanted answer."


def test_beside_another_answer_nothing_is_missing() -> None:
    found = differences.marked(
        "It comes on Monday.", "It comes on Monday by post.", "the base model’s answer", False
    )
    assert "<del>" not in found.text
    assert found.text == "It comes on Monday."


def test_the_same_words_are_said_to_be_the_same() -> None:
    assert (
        differences.marked("Yes. \n", "Yes.", "the wanted answer", True).said
        == "Word for word the wanted answer."
    )


def test_where_nearly_all_differs_nothing_is_marked() -> None:
    found = differences.marked(
        "The weather is fine in the north today", '{"number": 3}', "the wanted answer", True
    )
    assert "<" not in found.text
    assert found.said == "Different throughout from the wanted answer."


def test_what_a_model_writes_stays_text_between_the_marks() -> None:
    answer = 'one two three four <img src=x onerror="alert(1)"> five'
    found = differences.marked(answer, "one two three four & five <b>six</b>", "the wanted answer", True)
    assert "<ins>" in found.text and "<del>" in found.text
    assert "<" not in re.sub(r"</?(ins|del)>", "", found.text)


def test_an_answer_without_marks_is_text_too() -> None:
    image = "<img src=x>"
    for other in (image, "quite another thing that was wanted instead", "word " * 5000):
        assert differences.marked(image, other, "x", True).text == "&lt;img src=x&gt;"


def test_words_that_differ_in_a_row_are_one_mark_and_each_of_them_counts() -> None:
    found = differences.marked(
        "It comes to you on Friday morning by post.", "It comes to you on Monday evening by post.", "x", True
    )
    assert "<ins>Friday morning</ins><del>Monday evening</del>" in found.text
    assert found.said == "2 words differ from x."
    missing = differences.marked("It comes by post.", "It comes on Monday by post.", "x", True)
    assert missing.said == "2 words differ from x."


def test_other_spaces_are_no_missing_words() -> None:
    found = differences.marked("one two three\nfour", "one two  three four five", "x", True)
    assert re.findall("<del>(.*?)</del>", found.text) == [" five"] and "<ins>" not in found.text


def test_without_the_marks_the_text_is_whole() -> None:
    answer = "a  b\n\nc, d – e 😀 f"
    text = differences.marked(answer, "a b c d e g", "x", True).text
    kept = re.sub(r"<del>.*?</del>|</?ins>", "", text)
    assert kept == answer


def test_a_very_long_answer_does_not_keep_the_page_waiting() -> None:
    long = "word " * 5000
    assert differences.marked(long, long + "more", "the wanted answer", True).said == ""
    assert differences.marked("word", long, "the wanted answer", True).said == ""
    half = "word " * 1900
    assert "differ" in differences.marked(half + "end", half + "close", "the wanted answer", True).said
