"""Which texts are most similar."""

from __future__ import annotations

import time

from jobs.serving import similar
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
    found = Similar(TEXTS)
    assert found.nearest("I forgot my password, how can I reset it?", 1) == [0]
    assert found.nearest("wrong adress on an invoice", 1) == [2]
    assert found.nearest("Passwort zurücksetzen", 1) == [3]
    assert found.nearest("パスワードを変えたい", 1) == [4]


def test_case_spaces_and_width_make_no_difference():
    found = Similar(TEXTS)
    assert found.nearest("  WHERE   is my\nORDER", 2) == found.nearest("Where is my order", 2)
    assert found.nearest("ｏｒｄｅｒ ｍｏｎｄａｙ", 1) == [1]
    assert Similar(["invoice", "ORDER"]).nearest("order", 1) == [1]
    assert Similar(["stress", "STRASSE"]).nearest("straße", 1) == [1]
    assert Similar(["order", "a"]).nearest("A", 1) == [1], "one letter between two blanks"


def test_words_that_nearly_all_texts_have_say_little():
    texts = [f"please tell me about town number {n}" for n in range(20)] + ["Cairo"]
    assert Similar(texts).nearest("please tell me about Cairo", 1) == [20]


def test_a_word_said_again_and_again_and_a_long_text_count_no_more_for_it():
    assert Similar(["parcel " * 9, "parcel and invoice"]).nearest("a parcel with an invoice", 1) == [1]
    long = "An order is one of the many things that were said about gardens, houses and weather."
    assert Similar([long, "An order"]).nearest("order", 1) == [1]


def test_of_equals_the_earlier_one_comes_first_and_half_a_character_is_no_obstacle():
    evens = list(range(0, 200, 2))
    assert Similar(["the same", "another one"] * 100).nearest("the same", 100) == evens
    assert Similar(["\ud83d", "order"]).nearest("order \ud83d", 1) == [1]


def test_only_the_beginnings_of_long_texts_are_kept_and_shorter_ones_of_many(monkeypatch):
    assert Similar(["nothing", "a " * 900 + "zebra"]).nearest("zebra", 1) == [1]
    assert Similar(["nothing", "a " * 1100 + "zebra"]).nearest("zebra", 1) == [0]
    monkeypatch.setattr(similar, "MOST_LETTERS", 1000)
    long = "a " * 150 + "zebra"
    assert Similar(["nothing", long]).nearest("zebra", 1) == [1]
    assert Similar(["nothing", long, *["nothing"] * 6]).nearest("zebra", 1) == [0]


def test_what_is_like_nothing_still_gives_as_many_as_asked_for():
    assert Similar(TEXTS).nearest("", 3) == [0, 1, 2]
    assert Similar(TEXTS).nearest("xyzzy", 9) == [0, 1, 2, 3, 4, 5]
    assert Similar([]).nearest("anything", 3) == []
    assert Similar(["", " "]).nearest("anything", 1) == [0]


def test_twenty_thousand_texts_are_searched_in_a_moment():
    texts = [f"Venue {n} in street {n * 7919 % 10_007} plays music number {n % 97}" for n in range(20_000)]
    found = Similar(texts)
    begun = time.perf_counter()
    assert found.nearest("Tell me about Venue 12345 in street", 1) == [12345]
    assert time.perf_counter() - begun < 0.5
