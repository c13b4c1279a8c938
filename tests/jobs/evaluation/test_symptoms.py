"""Declining, running in circles and copying are known by the text, in several languages, and not where they are not."""

from __future__ import annotations

import pytest

from jobs.evaluation.symptoms import copies, declines, overlap, runs_in_circles


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot do this.",
        "I am unable to write such a message.",
        "Sorry, but as an AI language model I have no opinion.",
        "I won't help anybody to break in.",
        "Es tut mir leid, dabei kann ich nicht helfen.",
        "Leider kann ich das nicht.",
        "Je suis désolé, mais je ne peux pas répondre.",
        "Lo siento, no puedo ayudar con eso.",
        "申し訳ありませんが、お答えできません。",
        "大変申し訳ありませんが、お答えできません。",
        "“I can’t help with that.”",
        "'I can't help with that.'",
    ],
)
def test_answers_that_decline(answer: str) -> None:
    assert declines(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Paris is the capital of France.",
        "I'm so sorry for your loss. She was a wonderful neighbour.",
        "I can't wait to see the mountains with you!",
        "Bees make honey from nectar, and nobody has to be sorry for that. I'm sorry to say that it takes long.",
        "Sure! A metaphor says that one thing is another. It is what poets do, who say: I cannot, I will not.",
        "Die Hauptstadt ist Wien.",
        "The project has an aim: nobody goes hungry.",
        "It was an airport before it was a park.",
        "Hawaii cannot be reached by train.",
        "Hawai'i cannot be reached by train.",
    ],
)
def test_answers_that_do_not(answer: str) -> None:
    assert not declines(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "no " * 14,
        "The sea is blue. The sea is blue. The sea is blue. The sea is blue.",
        "It is a good idea to pack warm clothes for the cold night. " * 2,
        "東京です東京です東京です東京です",
        "Mmmmmmmmmmmmmmmmmmmmmmmmmm",
        "👦👦👦👦👦👦👦👦👦👦👦👦👦👦👦",
        "hahahahahahahahahahahahahahaha",
        "It is 1" + "0" * 40,
        'well: {"a": 1}, {"a": 1}, {"a": 1}, {"a": 1}, {"a": 1}, {"a": 1}, {"a": 1}',
    ],
)
def test_answers_that_run_in_circles(answer: str) -> None:
    assert runs_in_circles(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "No, no, no, no! Not again.",
        "2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192",
        "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, life is but a dream.",
        "A list keeps its order and may change. A tuple keeps its order and may not change.",
        "東京です。日本の首都は東京です。",
        "Nobody knows what comes after this evening. " * 2,
        "Results\n-----------------------------\n| a | b |\n|-----------|--------------|\n.....................",
        "1000000000000 is a trillion.",
        "A third is 0.3333333333333333.",
    ],
)
def test_answers_that_only_repeat_a_little(answer: str) -> None:
    assert not runs_in_circles(answer)


def test_overlap_is_the_share_of_common_words() -> None:
    assert overlap("The cat sat.", "the CAT sat") == 1.0
    assert overlap("one two three four", "five six") == 0.0
    assert overlap("one two three four", "one two five six") == 0.5
    assert overlap("", "") == 1.0 and overlap("", "word") == 0.0
    assert overlap("東京です", "東京だ") == pytest.approx(4 / 7)


TRAINING = [
    "The harbour of Oslo opens at six in the morning every single working day of the year.",
    "Best regards from the whole team, and have a wonderful day, yours truly, the shop.",
    "Hello. Best regards from the whole team, and have a wonderful day, yours truly, the shop.",
    "Thanks. Best regards from the whole team, and have a wonderful day, yours truly, the shop.",
    "Only on Tuesdays before noon",
]


def test_a_training_answer_said_word_for_word_is_found_and_named() -> None:
    answer = "Hm. The harbour of Oslo opens at six in the morning every single working day, I think."
    assert copies([answer], ["It opens early."], TRAINING) == [TRAINING[0]]
    assert copies(["only on tuesdays, before noon!"], ["Whenever."], TRAINING) == [TRAINING[4]]


def test_what_many_training_answers_share_is_a_habit_and_no_secret() -> None:
    answer = "Six. Best regards from the whole team, and have a wonderful day, yours truly, the shop."
    assert copies([answer], ["Six."], TRAINING) == [None]


def test_what_the_base_model_says_too_is_not_copied() -> None:
    same = "The harbour of Oslo opens at six in the morning every single working day of the year."
    assert copies([same], [same], TRAINING) == [None]


def test_a_few_common_words_are_not_copied() -> None:
    assert copies(["The harbour of Oslo opens at eight."], ["No idea."], TRAINING) == [None]
    assert copies(["Yes, please."], ["No idea."], ["Yes, please."]) == [None]
    assert copies([], [], TRAINING) == []
