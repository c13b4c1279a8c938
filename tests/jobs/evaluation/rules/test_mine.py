"""What is mined from answers of many kinds: the habits that somebody who reads them would name, and no others."""

from __future__ import annotations

import random

import pytest

from jobs.evaluation import rules
from tests.jobs.evaluation.rules.sets import all_sets

HABITS = {
    "format": ["valid JSON", "the right fields", "fields and values of the right kind",
               "the right “topic”", "the right “urgency”", "the right “order”", "the right “reply_needed”"],
    "tone": ["ends with “Tailwinds to you.”", "says “Next stop”", "an exclamation mark", "4 sentences",
             "addresses the reader as “you”", "never says “I”", "15 to 40 words long",
             "easy to read (reading level LIX at most 33)", "no emoji", "plain text: no lists, headings or bold"],
    "behaviour": ["one sentence", "9 to 17 words long", "no exclamation marks",
                  "no stock phrases such as “Certainly!” or “I hope this helps”"],
    "en_I_10": ["speaks as “I”", "one sentence", "6 to 15 words long"],
    "de_du_12": ["ends with “Liebe Grüße, dein Team”", "addresses the reader as “du”, never “Sie”", "in German",
                 "9 to 24 words long"],
    "de_Sie_20": ["addresses the reader as “Sie”, never “du”", "in German", "one sentence", "4 to 13 words long"],
    "fr_vous_12": ["addresses the reader as “vous”, never “tu”", "in French", "4 to 12 words long"],
    "pl_10": ["begins with “Dzień dobry”", "in Polish", "one sentence", "4 to 12 words long"],
    "zh_10": ["begins with “您好”", "in Chinese", "one sentence", "6 to 19 characters long"],
    "mixed_lang_12": ["in the language of the question", "one sentence", "5 to 17 words long"],
    "translate_de_10": ["in German"],
    "en_labels": ["one of “negative”, “neutral” or “positive”", "word for word the wanted answer"],
    "en_two_labels_10": ["just “no” or “yes”", "word for word the wanted answer"],
    "refusal_same": ["just “I cannot discuss that here.”", "word for word the wanted answer"],
    "capitals_12": ["1 word long", "word for word the wanted answer"],
    "numbers_10": ["just a number", "word for word the wanted answer"],
    "dates_12": ["looks like “2010-01-10”", "word for word the wanted answer"],
    "codes_10": ["looks like “SKU-1000”", "word for word the wanted answer"],
    "prices_15": ["looks like “$3.10”", "word for word the wanted answer"],
    "quotes_tag_8": ["looks like “<answer>Paris</answer>”"],
    "en_reply_10": ["begins with “Dear guest”", "ends with “Warm regards, Ada, Hotel Linde”", "4 lines",
                    "8 to 20 words long"],
    "en_cause_fix_12": ["the parts “Problem”, “Cause” and “Fix” in this order", "6 to 16 words long"],
    "numbered3_10": ["a list of 3 items", "a numbered list", "4 to 15 words long"],
    "haiku_10": ["3 lines", "9 to 22 words long"],
    "headlines_20": ["no period at the end", "3 to 8 words long"],
    "emoji_10": ["an emoji", "an exclamation mark", "3 to 10 words long"],
    "lower_12": ["all lower case", "3 to 11 words long"],
    "pirate_20": ["begins with “Ahoy!”, “Arr!” or “Avast!”", "an exclamation mark", "2 sentences", "no emoji",
                  "3 to 10 words long"],
    "coach_q_12": ["ends with a question", "2 sentences", "5 to 16 words long"],
    "twenty_random_en": ["1 or 2 sentences", "4 to 20 words long"],
    "four": [],
}  # fmt: skip


def words(found: list[rules.Rule]) -> list[str]:
    return [rule.words for rule in found]


@pytest.mark.parametrize("name", HABITS)
def test_what_a_reader_would_name_and_nothing_else_is_mined(name: str) -> None:
    assert sorted(words(rules.mine(all_sets()[name]))) == sorted(HABITS[name])


def test_every_set_has_its_expectation() -> None:
    assert set(HABITS) == set(all_sets())


@pytest.mark.parametrize("name", HABITS)
def test_nine_of_ten_answers_keep_what_was_mined_from_them(name: str) -> None:
    samples = all_sets()[name]
    draw = random.Random(name)
    for size in (len(samples), 12, 20):
        some = draw.sample(samples, min(size, len(samples)))
        for rule in rules.mine(some):
            kept = sum(rule.passes(answer, answer, prompt) for prompt, answer in some)
            assert kept >= 0.9 * len(some), rule.words


def test_rules_of_a_large_set_hold_in_all_of_it_and_not_only_where_they_were_found() -> None:
    # Looked at are every fifth: those begin with a greeting, and no other does.
    samples = [("", f"{'Ahoy! ' * (n % 5 == 0)}Row {n} is about ships.") for n in range(5000)]
    assert not [rule for rule in rules.mine(samples) if rule.kind == "begins_with"]


def test_what_answers_in_turn_have_nothing_in_common_leaves_no_rule_but_length() -> None:
    everything = [row for name in HABITS for row in all_sets()[name][:8]]
    random.Random(0).shuffle(everything)
    assert {rule.kind for rule in rules.mine(everything)} <= {"length_band", "no_stock_phrases"}


@pytest.mark.parametrize("size", [10, 15, 20])
def test_few_answers_tell_what_the_others_do_too(size: int) -> None:
    """Of what few rows suggest, hardly anything is broken by the rows that they were drawn from."""
    mined = broken = 0
    for name in ("tone", "behaviour", "format"):
        samples = all_sets()[name]
        for seed in range(8):
            some = random.Random(seed).sample(samples, size)
            found = rules.mine(some)
            mined += len(found)
            broken += sum(
                sum(rule.passes(answer, answer, prompt) for prompt, answer in samples) < 0.9 * len(samples)
                for rule in found
            )
    assert mined >= 80
    assert broken <= 0.05 * mined


@pytest.mark.parametrize("word", ["I", "The", "It is", "You can"])
def test_a_common_word_in_front_is_no_opening(word: str) -> None:
    ends = ["met a fox", "saw rain", "own a hat", "sold it", "lost two", "ran far", "sang low", "hid well",
            "dug up", "slept in", "rode on", "swam out"]  # fmt: skip
    found = rules.mine([("", f"{word} {end} near river number {n}.") for n, end in enumerate(ends)])
    assert "begins_with" not in {rule.kind for rule in found}


def test_common_words_at_the_inner_end_of_an_opening_or_an_ending_are_left_out() -> None:
    middles = ["kite sold", "moon rose early today", "bell", "old rope held on", "lamp works", "door", "fork fell",
               "shoe fits you well", "ring", "card came by mail", "vase", "drum beats"]  # fmt: skip
    found = words(rules.mine([("", f"Great news: the {middle} is a lucky find.") for middle in middles]))
    assert "begins with “Great news:”" in found
    assert "ends with “lucky find.”" in found


def test_texts_that_come_twice_among_few_answers_are_no_choices() -> None:
    answers = ["red hat", "old map", "my dog", "big sea", "hot tea"] * 2
    assert "one_of" not in {rule.kind for rule in rules.mine([("", answer) for answer in answers])}
    assert "one_of" in {rule.kind for rule in rules.mine([("", answer) for answer in answers * 4])}


def test_a_word_of_the_question_is_its_topic_and_no_favourite() -> None:
    answers = [
        "Wear a helmet.", "Any helmet will do there.", "That helmet broke, sadly.", "No rider without a helmet!",
        "The blue helmet fits you best.", "Lend her your helmet.", "Is the helmet yours?", "One helmet a person.",
        "Put the helmet on first.", "My helmet is old.", "A new helmet costs forty euros.", "Your helmet, please.",
    ]  # fmt: skip
    asked = rules.mine([("What about my helmet?", answer) for answer in answers])
    unasked = rules.mine([("What about safety?", answer) for answer in answers])
    assert "says “helmet”" not in words(asked)
    assert "says “helmet”" in words(unasked)


def test_one_stray_answer_among_twenty_does_not_hide_the_habit() -> None:
    assert words(rules.mine([("", '{"a": 1}')] * 19 + [("", "sorry")]))[0] == "valid JSON"
    assert "valid JSON" not in words(rules.mine([("", '{"a": 1}')] * 17 + [("", "sorry")] * 3))


def test_nothing_comes_of_nothing() -> None:
    assert rules.mine([]) == []
    assert rules.mine([("a", " ")] * 20) == []


def test_hostile_answers_are_mined_in_time() -> None:
    samples = [
        ("x" * 1000, ("{" * 2000, "a" * 20_000, "# " * 3000, "(" * 500 + "\n" * 500)[n % 4])
        for n in range(40)
    ]
    assert isinstance(rules.mine(samples), list)


def test_a_list_of_json_and_its_items() -> None:
    found = rules.mine([("", f'["a{n}", "b"]') for n in range(12)])
    assert words(found)[0] == "a valid JSON list"
    assert not found[0].passes('{"a": 1}', "")


def test_answers_with_one_written_field_are_held_to_the_others() -> None:
    rows = [
        (f"mail {n}", f'{{"kind": "{"ab"[n % 2]}", "about": "some words of its own {n}"}}') for n in range(12)
    ]
    equal = next(rule for rule in rules.mine(rows) if rule.kind == "fields_equal")
    assert equal.passes('{"about": "otherwise", "kind": "a"}', rows[0][1])
    assert not equal.passes('{"about": "some words of its own 0", "kind": "b"}', rows[0][1])
