from __future__ import annotations

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
    assert "<" not in differences.re.sub(r"</?(ins|del)>", "", found.text)


def test_without_the_marks_the_text_is_whole() -> None:
    answer = "a  b\n\nc, d – e 😀 f"
    text = differences.marked(answer, "a b c d e g", "x", True).text
    kept = differences.re.sub(r"<del>.*?</del>|</?ins>", "", text)
    assert kept == answer


def test_a_very_long_answer_does_not_keep_the_page_waiting() -> None:
    long = "word " * 5000
    assert differences.marked(long, long + "more", "the wanted answer", True).said == ""
    half = "word " * 1900
    assert "differ" in differences.marked(half + "end", half + "close", "the wanted answer", True).said
