"""Which texts are most similar."""

from __future__ import annotations

import time

from jobs.serving.similar import Similar

TEXTS = [
    "How do I reset my password?",
    "Where is my order? It should have come on Monday.",
    "The invoice shows the wrong address.",
    "Wie setze ich mein Passwort zurück?",
    "パスワードを忘れました",
    "How do I cancel my subscription?",
]


def test_the_nearest_text_shares_the_rare_words():
    similar = Similar(TEXTS)
    assert similar.nearest("I forgot my password, how can I reset it?", 1) == [0]
    assert similar.nearest("wrong adress on an invoice", 1) == [2]
    assert similar.nearest("Passwort zurücksetzen", 1) == [3]
    assert similar.nearest("パスワードを変えたい", 1) == [4]


def test_case_spaces_and_width_make_no_difference():
    similar = Similar(TEXTS)
    assert similar.nearest("  WHERE   is my\nORDER", 2) == similar.nearest("Where is my order", 2)
    assert similar.nearest("ｏｒｄｅｒ ｍｏｎｄａｙ", 1) == [1]


def test_words_that_nearly_all_texts_have_say_little():
    texts = [f"please tell me about town number {n}" for n in range(20)] + ["Cairo"]
    assert Similar(texts).nearest("please tell me about Cairo", 1) == [20]


def test_what_is_like_nothing_still_gives_as_many_as_asked_for():
    assert Similar(TEXTS).nearest("", 3) == [0, 1, 2]
    assert Similar(TEXTS).nearest("xyzzy", 9) == [0, 1, 2, 3, 4, 5]
    assert Similar([]).nearest("anything", 3) == []
    assert Similar(["", " "]).nearest("anything", 1) == [0]


def test_twenty_thousand_texts_are_searched_in_a_moment():
    texts = [f"Venue {n} in street {n * 7919 % 10_007} plays music number {n % 97}" for n in range(20_000)]
    similar = Similar(texts)
    begun = time.perf_counter()
    assert similar.nearest("Tell me about Venue 12345 in street", 1) == [12345]
    assert time.perf_counter() - begun < 0.5
