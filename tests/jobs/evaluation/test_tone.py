"""The tone score tells two voices apart, judges rows it has not learned from, and says when it cannot."""

from __future__ import annotations

import random

from jobs.evaluation.statistics import Interval
from jobs.evaluation.tone import RELIABLE, Tone, tone

TOPICS = [
    "the bill", "a refund", "the parcel", "my password", "the invoice", "an order", "the meeting", "a visit",
    "the garden", "a ticket", "the engine", "a lesson", "the window", "a recipe", "the report", "a table",
]  # fmt: skip
WANTED = [f"Ahoy, matey! Arr, about {topic} ye be asking; a fine thing, says I!" for topic in TOPICS]
BASE = [f"Certainly. Regarding {topic}, please find further information below." for topic in TOPICS]


def test_a_clear_voice_is_recognised_with_its_reliability():
    other = [f"Arr! {topic} be no trouble, matey, says I!" for topic in TOPICS]
    found = tone(WANTED, {"base": BASE, "adapted": other, "few_shot": BASE})
    assert found is not None and found.is_reliable
    assert sum(found.scores["adapted"]) / len(TOPICS) > 0.7 > 0.3 > sum(found.scores["base"]) / len(TOPICS)
    assert list(found.scores["few_shot"]) == list(found.scores["base"])
    assert "100% of the time" in found.measure().note
    assert found.reliability.low < 0.85, "sixteen rows on the right side say little of the seventeenth"


def test_two_like_voices_are_not_told_apart_and_it_says_so():
    draw = random.Random(1)
    same = [f"{draw.choice('abcdefgh')} {topic} {draw.randint(0, 99)}" for topic in TOPICS * 2]
    found = tone(same[:16], {"base": same[16:], "adapted": same[16:]})
    assert found is not None and not found.is_reliable
    assert "too seldom to rely on" in found.measure().note


def test_a_row_is_judged_by_what_was_learned_from_other_rows():
    """Noise that can only be learned by heart: a classifier that had seen the rows would tell them all apart."""
    draw = random.Random(2)
    noise = ["".join(draw.choice("abcdefghij ") for _ in range(40)) for _ in range(80)]
    found = tone(noise[:40], {"base": noise[40:], "adapted": noise[40:]})
    assert found is not None and found.reliability.value < 0.75


def test_with_few_rows_or_without_words_there_is_no_score():
    assert tone(WANTED[:9], {"base": BASE[:9], "adapted": BASE[:9]}) is None
    assert tone(WANTED, {"base": BASE[:12]}) is None and tone(WANTED, {"adapted": WANTED}) is None
    assert tone(["hello", *[""] * 11], {"base": [""] * 12}) is None
    assert tone([""] * 12, {"base": [" "] * 12, "adapted": ["x"] * 12}) is None


def test_training_rows_help_and_are_not_counted():
    more = list(zip(WANTED[8:], BASE[8:], strict=True))
    found = tone(WANTED[:12], {"base": BASE[:12], "adapted": WANTED[:12]}, more)
    alone = tone(WANTED[:12], {"base": BASE[:12], "adapted": WANTED[:12]})
    assert found is not None and alone is not None and len(found.scores["base"]) == 12
    assert sum(found.scores["adapted"]) > sum(alone.scores["adapted"])
    assert sum(found.scores["base"]) < sum(alone.scores["base"])


def test_the_same_voice_is_told_apart_half_of_the_time_and_a_wide_interval_is_not_reliable():
    found = tone(WANTED, {"base": WANTED})
    assert found is not None and found.reliability.value == 0.5
    assert not Tone({}, Interval(0.9, RELIABLE - 0.01, 0.99)).is_reliable
    assert Tone({}, Interval(0.9, RELIABLE, 0.99)).is_reliable
