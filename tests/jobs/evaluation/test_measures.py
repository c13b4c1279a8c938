"""Closeness, fit and loss on answers whose place is known."""

from __future__ import annotations

import pytest

from jobs.evaluation import measures

QUESTIONS = [f"Where is {town}?" for town in ("Bern", "Graz", "Lyon", "Turin", "Gent", "Porto")]
WANTED = [
    "Bern lies on the Aare, in Switzerland.",
    "Graz lies on the Mur, in Austria.",
    "Lyon lies where the Rhône meets the Saône, in France.",
    "Turin lies on the Po, below the Alps, in Italy.",
    "Gent lies where Lys and Scheldt meet, in Belgium.",
    "Porto lies at the mouth of the Douro, in Portugal.",
]
SHUFFLED = [*WANTED[1:], WANTED[0]]


def named(found: list, name: str):
    return next(one for one in found if one.name == name)


def test_the_wanted_answer_is_the_closest_and_another_ones_is_not_close():
    found = measures.of({"base": SHUFFLED, "adapted": WANTED}, WANTED, QUESTIONS)
    assert list(named(found, "exact_match").scores["adapted"]) == [1.0] * 6
    assert list(named(found, "exact_match").scores["base"]) == [0.0] * 6
    assert min(named(found, "chrf").scores["adapted"]) == 100.0
    assert max(named(found, "chrf").scores["base"]) < 80
    assert named(found, "chrf").as_json()["difference"]["value"] > 20


def test_spaces_around_an_answer_are_no_other_answer():
    found = measures.of({"base": [" Yes.\n", "Yes"], "adapted": ["No.", "No."]}, ["Yes.", "Yes."], ["q", "r"])
    assert list(named(found, "exact_match").scores["base"]) == [1.0, 0.0]


def test_an_answer_is_held_against_the_other_rows_alone():
    texts = ["aaaa bbbb", "cccc dddd", "eeee ffff"]
    fit, about = measures.fits({"base": texts}, texts, texts), measures.about({"base": texts}, texts)
    assert fit is not None and list(fit.scores["base"]) == pytest.approx([100.0] * 3)
    assert about is not None and list(about.scores["base"]) == pytest.approx([100.0] * 3)


def test_small_words_speak_of_no_question():
    questions = ["is it on by me", "at or of us", "to be in an"]
    about = measures.about({"base": questions}, questions)
    assert about is not None and set(about.scores["base"]) == {0.0}


def test_a_score_that_is_no_yes_or_no_has_the_interval_of_a_mean():
    scores = {"base": [0.5] * 16}
    found = measures.Measure("tone", "", "share", "higher", scores).as_json()["sides"]["base"]
    assert found["low"] == found["high"] == 0.5
    assert measures.difference_json(scores) is None, "nobody to differ from"


def test_answers_of_other_questions_do_not_fit_theirs():
    fit = measures.fits({"base": SHUFFLED, "adapted": WANTED}, WANTED, QUESTIONS)
    assert fit is not None
    assert min(fit.scores["adapted"]) > 20
    assert sum(fit.scores["base"]) / 6 < 5


@pytest.mark.parametrize(
    "references, prompts",
    [
        (["Thank you for writing."] * 6, QUESTIONS),
        (WANTED, ["A sentence, please."] * 6),
        (WANTED[:2], QUESTIONS[:2]),
    ],
    ids=["one answer to all", "one question", "two rows"],
)
def test_fit_is_left_out_where_it_says_nothing(references, prompts):
    answers = {"base": references, "adapted": references}
    assert measures.fits(answers, references, prompts) is None


def test_empty_answers_are_far_from_everything_but_each_other():
    found = measures.of({"base": ["", " "], "adapted": ["", "b"]}, ["", "a"], ["q", "r"])
    assert list(named(found, "chrf").scores["base"]) == [100.0, 0.0]


def test_loss_is_per_token_and_lower_for_the_better_side():
    rows = {
        "base": [{"nats": 30.0, "tokens": 10}, {"nats": 20.0, "tokens": 10}],
        "adapted": [{"nats": 3.0, "tokens": 10}, {"nats": 2.0, "tokens": 10}],
    }
    found = measures.loss(rows)
    assert found is not None
    assert found["sides"]["base"]["value"] == 2.5 and found["sides"]["adapted"]["value"] == 0.25
    assert found["difference"]["value"] == pytest.approx(-2.25)
    assert measures.loss({"base": []}) is None
    some = measures.loss({side: [*told, {"nats": 0.0, "tokens": 0}] for side, told in rows.items()})
    assert some is not None and some["sides"]["base"]["value"] == 2.5, "a row without a token"


def test_without_rows_nothing_is_measured():
    assert measures.of({"base": [], "adapted": []}, [], []) == []


def test_none_of_six_word_for_word_is_not_surely_never():
    found = named(measures.of({"base": SHUFFLED, "adapted": WANTED}, WANTED, QUESTIONS), "exact_match")
    sides = found.as_json()["sides"]
    assert sides["base"]["low"] == 0 and sides["base"]["high"] > 0.3
    assert sides["adapted"]["low"] < 0.7 and sides["adapted"]["high"] == 1


def test_an_answer_that_speaks_of_its_question_is_told_from_one_that_does_not():
    found = measures.about({"base": WANTED, "adapted": SHUFFLED}, QUESTIONS)
    assert found is not None
    assert min(found.scores["base"]) > 20 and max(found.scores["adapted"]) < 5
    assert measures.about({"base": WANTED}, ["the same question"] * 6) is None


def test_in_writing_without_spaces_characters_are_shared():
    questions = ["猫は何を食べますか", "空はなぜ青いですか", "川はどこへ流れますか"]
    told = ["猫は魚を食べます", "空の光が青いから", "川は海へ流れます"]
    found = measures.about({"base": told, "adapted": [*told[1:], told[0]]}, questions)
    assert found is not None and sum(found.scores["base"]) > 50 > sum(found.scores["adapted"])
