"""What each kind of rule lets pass, with the cases that are easily got wrong."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.evaluation.rules import ALL_KINDS

JSON = '{"a": 1, "b": true}'
LONG_DE = "Wir freuen uns sehr, dass Ihnen das Zimmer gefallen hat und dass es ruhig war."


def keeps(kind: str, answer: str, reference: str = "", prompt: str = "", **parameters: Any) -> bool:
    return ALL_KINDS[kind].make(**parameters).passes(answer, reference, prompt)


@pytest.mark.parametrize(
    "answer, expected",
    [
        ('{"b": true, "a": 1.0}', (True, True, True)),
        ('{"a": 1, "b": 1}', (True, True, False)),
        ('{"a": 1}', (True, False, False)),
        ('Here: {"a": 1, "b": true}', (False, False, False)),
        ('```json\n{"a": 1, "b": true}\n```', (False, False, False)),
        ('{"a": NaN, "b": true}', (False, False, False)),
        ("[1]", (False, False, False)),
        ("[" * 100_000, (False, False, False)),
        ("1" * 5000, (False, False, False)),
    ],
)
def test_json_is_judged_by_meaning(answer: str, expected: tuple[bool, ...]) -> None:
    assert (
        tuple(keeps(kind, answer, JSON) for kind in ("valid_json", "same_keys", "values_equal")) == expected
    )


def test_long_order_numbers_are_told_apart() -> None:
    assert not keeps("values_equal", '{"order": 12345678901234567}', '{"order": 12345678901234568}')


def test_fields_compare_only_what_they_name() -> None:
    wanted = '{"topic": "delivery", "summary": "late parcel"}'
    assert keeps("fields_equal", '{"topic": "delivery", "summary": "else"}', wanted, fields=["topic"])
    assert not keeps(
        "fields_equal", '{"topic": "billing", "summary": "late parcel"}', wanted, fields=["topic"]
    )
    assert not keeps("fields_equal", '{"summary": "late parcel"}', wanted, fields=["topic"])
    assert not keeps(
        "fields_equal", '{"topic": "delivery", "x": null}', wanted.replace("summary", "y"), fields=["x"]
    )


@pytest.mark.parametrize(
    "answer, count",
    [
        ("It costs 3.5 million.", 1), ("Yes. It does.", 2), ("One\nTwo", 2), ("No", 1), ("Dr. Who came at 5 p.m.", 1),
        ("“Go!” she said.", 1), ("Wait… what? Yes!", 2), ("Das ist z.B. so. Gut.", 2), ("come by. we open at nine", 2),
        ("您好。再见。", 2),
    ],
)  # fmt: skip
def test_sentences_are_counted(answer: str, count: int) -> None:
    assert keeps("sentences", answer, fewest=count, most=count)
    assert keeps("one_sentence", answer) is (count == 1)


@pytest.mark.parametrize(
    "kind, answer, kept",
    [
        ("begins_with", "ahoy  there, sailor", True),
        ("begins_with", "Ahoy there", True),
        ("begins_with", "Ahoy thereabouts", False),
        ("begins_with", "Well, ahoy there", False),
        ("ends_with", "Say ahoy there", True),
        ("ends_with", "Say ahoy there.", False),
        ("contains", "I say: ahoy there!", True),
        ("contains", "I sayahoy there", False),
        ("contains", "ahoy\nthere", True),
        ("never_contains", "ahoy thereabouts", True),
        ("never_contains", "AHOY THERE", False),
    ],
)
def test_texts_are_found_as_whole_words_whatever_the_case(kind: str, answer: str, kept: bool) -> None:
    assert keeps(kind, answer, texts=["Ahoy there"]) is kept


def test_one_of_several_texts_is_enough_to_be_found_and_all_must_be_missing() -> None:
    assert keeps("contains", "b c", texts=["a", "b"])
    assert not keeps("never_contains", "b c", texts=["a", "b"])
    assert keeps("contains", "我们包含这个", texts=["包含"])


@pytest.mark.parametrize(
    "form, answer, kept",
    [
        ("du", "Hast du dein Paket?", True),
        ("du", "Du findest es dort.", True),
        ("du", "Haben Sie Ihr Paket?", False),
        ("du", "Frag deine Chefin, ob sie ihre Mail las.", True),
        ("Sie", "Bitte prüfen Sie Ihre Mail.", True),
        ("Sie", "Sie hat ihre Mail geprüft.", False),
        ("Sie", "Gut. Sie hat ihre Mail geprüft.", False),
        ("Sie", "Prüfen Sie deine Mail.", False),
        ("tu", "Tu peux l'envoyer à ton ami.", True),
        ("tu", "Vous pouvez l'envoyer.", False),
        ("tu", "Je t'envoie cela.", True),
        ("vous", "Vos billets sont prêts.", True),
        ("you", "You're right.", True),
        ("you", "They are right.", False),
    ],
)
def test_forms_of_address(form: str, answer: str, kept: bool) -> None:
    assert keeps("address", answer, form=form) is kept


def test_where_nobody_is_addressed_only_a_rule_for_every_answer_is_broken() -> None:
    assert keeps("address", "Das Paket kommt morgen.", form="du", always="no")
    assert not keeps("address", "Das Paket kommt morgen.", form="du", always="yes")
    assert not keeps("address", "Haben Sie Geduld.", form="du", always="no")


@pytest.mark.parametrize(
    "person, language, answer, kept",
    [
        ("we", "en", "We're open.", True), ("we", "en", "The west gate is open.", False),
        ("i", "en", "I’ll see.", True), ("i", "en", "It is in Rome.", False),
        ("we", "de", "Unser Laden ist offen.", True), ("i", "fr", "J'arrive demain.", True),
    ],
)  # fmt: skip
def test_who_speaks(person: str, language: str, answer: str, kept: bool) -> None:
    assert keeps("speaks_as", answer, person=person, language=language) is kept
    assert keeps("never_speaks_as", answer, person=person, language=language) is not kept


@pytest.mark.parametrize(
    "answer, has", [("It’s fine.", True), ("don't", True), ("Tom's hat is here.", False), ("its hat", False)]
)
def test_contractions(answer: str, has: bool) -> None:
    assert keeps("contractions", answer) is has
    assert keeps("no_contractions", answer) is not has


def test_languages() -> None:
    assert keeps("language", LONG_DE, language="de")
    assert not keeps("language", LONG_DE, language="en")
    assert keeps("language", "Paris", language="de")
    assert keeps("same_language", LONG_DE, prompt="Wie war es denn so bei euch in den Ferien am Meer?")
    assert not keeps("same_language", LONG_DE, prompt="What did the guests say about the room in the end?")


@pytest.mark.parametrize(
    "kind, answer, kept",
    [
        ("bullets", "- a\n- b", True), ("bullets", "a - b - c", False), ("bullets", "-5\n-6", False),
        ("numbered", "1. a\n2) b", True), ("numbered", "In 2010. Then", False),
        ("headings", "# Title\ntext", True), ("headings", "text\n#### 42", False), ("headings", "#hashtag", False),
        ("bold", "a **b** c", True), ("bold", "2**3**4 = 2 ** 12", False), ("bold", "a ** b", False),
        ("code_block", "```py\nx\n```", True), ("code_block", "`x`", False),
        ("plain_text", "Just words - really.", True), ("plain_text", "**No**", False),
        ("plain_text", "- a\n- b", False),
        ("emoji", "ok 👍", True), ("emoji", "ok :)", False), ("emoji", "© 2020 ™", False), ("no_emoji", "ok ☀️", False),
        ("exclamation", "Hi!", True), ("no_exclamation", "Hi！", False),
        ("asks_last", "Why? “Who?”", True), ("asks_last", "Why? So.", False),
        ("no_final_period", "A headline", True), ("no_final_period", "A sentence.", False),
        ("lower_case", "all small, 3 of them", True), ("lower_case", "Not small", False), ("lower_case", "123", False),
        ("upper_case", "LOUD 3", True), ("upper_case", "Loud", False),
    ],
)  # fmt: skip
def test_marks(kind: str, answer: str, kept: bool) -> None:
    assert keeps(kind, answer) is kept


@pytest.mark.parametrize(
    "answer, shape, value",
    [
        ("6 * 7 = 42\n#### 42", True, True),
        ("6 * 7 = 42\n#### 42.0", True, True),
        ("6 * 7 = 41\n#### 41", True, False),
        ("#### 42\nSo it is 42.", False, True),
        ("It is 1,042 in all", False, False),
        ("no number", False, False),
    ],
)
def test_the_right_result_is_told_from_the_right_shape(answer: str, shape: bool, value: bool) -> None:
    asked = {"place": "last", "shape": "#### {number}"}
    assert keeps("line_shape", answer, **asked) is shape
    assert keeps("right_value", answer, "so\n#### 42", **asked) is value


def test_thousands_are_the_same_number_however_they_are_set_apart() -> None:
    assert keeps("right_value", "#### 1042", "#### 1,042", place="last", shape="#### {number}")


def test_shapes_with_many_ways_to_fit_are_judged_in_time() -> None:
    assert not keeps("line_shape", "a: " * 260, place="whole", shape="{text}: {text}: x")
    assert not keeps(
        "line_shape", "a-a'" * 200, place="whole", shape="{word} {word} {word} {word} {word} {word} x"
    )


def test_parts_stand_in_their_order() -> None:
    labels = {"labels": ["Cause", "Fix"]}
    assert keeps("parts", "Cause: x\nmore\nFix: y", **labels)
    assert keeps("parts", "## Cause\nx\n## Fix\ny", **labels)
    assert keeps("parts", "**Cause:** x\n\n- **Fix**: y", **labels)
    assert not keeps("parts", "Fix: y\nCause: x", **labels)
    assert not keeps("parts", "The cause is x and the fix is y", **labels)


def test_lengths_in_words_and_in_characters() -> None:
    assert keeps("length_band", "one two three", fewest=3, most=3)
    assert not keeps("length_band", "one two", fewest=3)
    assert keeps("length_band", "您好，再见", fewest=5, most=5, unit="characters")
    assert keeps("length_band", "a b c", most=3, unit="characters")


def test_reading_levels() -> None:
    easy = "The cat sat on the mat. It was warm. The sun was out. We had tea and a bun by the sea."
    hard = (
        "Notwithstanding considerable methodological disagreements, contemporary epidemiological investigations "
        "consistently demonstrate statistically significant relationships between socioeconomic circumstances and "
        "cardiovascular morbidity throughout industrialised populations."
    )
    assert keeps("reading_level", easy, most=30)
    assert not keeps("reading_level", hard, most=50)
    assert keeps("reading_level", hard, fewest=55)
    assert keeps("reading_level", "Incomprehensibilities notwithstanding.", most=30)


@pytest.mark.parametrize(
    "answer", ["Certainly! Here it is.", "As an AI, I cannot.", "Here. I hope this helps!", "Gerne! Hier."]
)
def test_stock_phrases(answer: str) -> None:
    assert not keeps("no_stock_phrases", answer)


def test_a_phrase_within_another_word_is_no_stock_phrase() -> None:
    assert keeps("no_stock_phrases", "He is certainly right, and surely happy to go.")
