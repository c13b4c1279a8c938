"""The verdict claims what the intervals allow, and no more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from jobs.evaluation.measures import Measure
from jobs.evaluation.statistics import paired_difference, together
from jobs.evaluation.verdict import Evidence, comparisons, verdict

TOKENS = {"base": 40.0, "few_shot": 350.0, "instruction": 90.0, "constrained": 40.0, "adapted": 40.0}


def evidence(
    rules: tuple[str, ...] = ("word for word",), measures: Sequence[Measure] = (), **sides: str
) -> Evidence:
    """One letter a row: + kept all rules, - broke them; for several rules, letters in words a row."""
    passed = {
        side: [[mark == "+" for mark in row] for row in (marks.split() if " " in marks else marks)]
        for side, marks in sides.items()
    }
    return Evidence(passed, rules, measures, TOKENS)


@pytest.mark.parametrize(
    "base, few_shot, adapted, code",
    [
        ("-" * 20, "-" * 20, "+" * 20, "works"),
        ("-" * 20, "+" * 20, "+" * 20, "prompting_does_as_well"),
        ("-" * 20, "+" * 20, "+" * 12 + "-" * 8, "prompting_does_as_well"),
        ("+" * 20 + "-" * 20, "-" * 40, "+" * 20 + "-" * 20, "no_effect"),
        ("+" * 10 + "-" * 10, "-" * 20, "+" * 10 + "-" * 10, "cannot_tell"),
        ("+" * 20, "+" * 20, "-" * 20, "worse"),
        ("+" * 5 + "-" * 5, "-" * 10, "-" * 4 + "+" * 6, "cannot_tell"),
        ("-" * 7, "-" * 7, "+" * 7, "cannot_tell"),
        # Three rows of twenty, all in the same direction: equal sides do as much in a quarter of all cases.
        ("-" * 20, "-" * 20, "+" * 3 + "-" * 17, "cannot_tell"),
    ],
)
def test_the_code_follows_the_paired_differences(base, few_shot, adapted, code):
    assert verdict(evidence(base=base, few_shot=few_shot, adapted=adapted)).code == code


def test_the_best_way_of_prompting_is_the_rival_with_its_price():
    said = verdict(evidence(base="-" * 20, few_shot="-" * 20, instruction="+" * 20, adapted="+" * 20))
    assert said.code == "prompting_does_as_well"
    assert said.sentence.startswith("Yes, but prompting does as well. On 20 examples it never saw, ")
    assert "“word for word” rises from 0 % to 100 %" in said.sentence
    assert (
        "a written instruction does as well, as far as these rows can tell, at 50 more tokens a call"
        in said.sentence
    )


def test_prompting_that_does_better_is_said_to():
    kept = {"base": "-" * 30, "few_shot": "+" * 30, "adapted": "+" * 15 + "-" * 15}
    assert "three examples in the prompt do better, at 310 more tokens" in verdict(evidence(**kept)).sentence


def test_of_two_that_do_as_well_the_cheaper_one_is_named():
    kept = dict.fromkeys(("few_shot", "constrained", "adapted"), "+" * 20)
    said = verdict(evidence(base="-" * 20, **kept)).sentence
    assert "holding the base model to the form of your JSON does as well" in said
    assert "at no more tokens a call" in said


def test_what_prompting_does_as_well_is_never_credited_to_the_adapter_alone():
    both = ("valid JSON", "same fields")
    kept = {"base": "-- " * 20, "few_shot": "+- " * 20, "adapted": "++ " * 20}
    said = verdict(evidence(both, **{side: marks.strip() for side, marks in kept.items()}))
    assert said.code == "works"
    assert said.sentence.startswith(
        "Yes. On 20 examples it never saw, “same fields” rises from 0 % to 100 %."
    )
    assert (
        "For “valid JSON” alone, three examples in the prompt do as well, at 310 more tokens a call."
        in said.sentence
    )


def test_too_few_rows_are_said_to_be_too_few():
    said = verdict(evidence(base="-" * 7, adapted="+" * 7))
    assert said.short == "Cannot tell." and "7 held-out examples are too few" in said.sentence


def test_the_very_same_answers_are_no_effect_however_few_rows():
    same = Evidence({"base": [[True]] * 3, "adapted": [[True]] * 3}, ["x"], [], TOKENS, same_text=True)
    assert verdict(same).code == "no_effect"


def test_without_a_rule_or_a_measure_nothing_is_claimed():
    assert (
        verdict(evidence((), base=" ".join(["-"] * 20), adapted=" ".join(["+"] * 20))).code == "cannot_tell"
    )


def measure(name: str, **scores: list[float]) -> Measure:
    return Measure(name, name, "share", "higher", scores)


def test_without_a_rule_a_reliable_tone_decides_and_an_unreliable_one_does_not():
    tone = measure("tone", base=[0.1] * 20, adapted=[0.9] * 20)
    far = measure("chrf", base=[20.0, 22.0] * 20, adapted=[22.0, 20.0] * 20)
    passed = {"base": [[]] * 20, "adapted": [[]] * 20}
    reliable = Evidence(passed, [], [tone], TOKENS, tone_is_reliable=True)
    assert verdict(reliable).code == "works" and "tone rises from 10 % to 90 %" in verdict(reliable).sentence
    passed = {"base": [[]] * 40, "adapted": [[]] * 40}
    assert verdict(Evidence(passed, [], [tone, far], TOKENS)).code == "no_effect"


NOISE = list(np.random.default_rng(0).normal(0, 0.05, 40))
ABOVE = [0.3 + value for value in NOISE]


def asked_for(fit: list[float], about: list[float], base_about: list[float] = ABOVE) -> Evidence:
    """An adapter with the form alone, as its answers have to do with what was asked."""
    signs = [
        measure("fit", base=NOISE, adapted=fit),
        measure("about", base=base_about, adapted=about),
    ]
    return evidence(("valid JSON",), signs, base="-" * 40, adapted="+" * 40)


def test_a_form_without_what_belongs_into_it_is_worse():
    """As after training on shuffled answers: always valid, never about the question."""
    said = verdict(asked_for(fit=NOISE, about=NOISE))
    assert said.code == "worse"
    assert "nothing to do with their questions any more, though “valid JSON” rises from 0 %" in said.sentence


def test_a_small_rest_is_said_to_be_hardly_anything():
    rest = [0.1 + value / 10 for value in NOISE]
    assert "hardly anything to do with their questions" in verdict(asked_for(fit=NOISE, about=rest)).sentence


@pytest.mark.parametrize(
    "signs",
    [
        {"fit": NOISE, "about": [0.2 + value for value in NOISE]},
        {"fit": ABOVE, "about": NOISE},
        {"fit": NOISE, "about": ABOVE},
        {"fit": NOISE, "about": NOISE, "base_about": NOISE},
    ],
    ids=[
        "somewhat less about it than the base model",
        "right without a word of the question",
        "about it in other words",
        "the base model shows nothing either",
    ],
)
def test_one_sign_of_an_answer_to_the_question_is_enough(signs):
    assert verdict(asked_for(**signs)).code == "works"


def test_every_way_of_prompting_is_compared_with_its_tokens():
    found = comparisons(evidence(base="-" * 20, few_shot="+" * 10 + "-" * 10, adapted="+" * 20))
    assert [(one["side"], one["tokens_per_call"], one["difference"]["value"]) for one in found] == [
        ("few_shot", 310.0, 0.5)
    ]


def test_chance_alone_is_hardly_ever_called_an_effect():
    """Two sides that keep three rules equally often: at most the stated 1 in 20 is called better or worse."""
    rng = np.random.default_rng(7)
    alarms, repeats = 0, 400
    for _ in range(repeats):
        rows, rate = int(rng.integers(8, 41)), rng.uniform(0.1, 0.9, 3)
        drawn = {side: (rng.random((rows, 3)) < rate).tolist() for side in ("base", "adapted")}
        said = verdict(Evidence(drawn, ["a", "b", "c"], [], TOKENS))
        alarms += said.code in ("works", "prompting_does_as_well", "worse")
    assert alarms / repeats <= 0.05 + 0.02


def test_as_well_is_said_of_rules_that_were_gained_and_that_prompting_hardly_lacks():
    """Of 40 rows, prompting lacks one, five (more than a tenth), or none of a rule that the base keeps anyway."""
    rules = ("same fields", "hardly lacked", "lacked in five rows", "kept anyway")
    kept = {
        "base": ["---+"] * 40,
        "few_shot": ["-+++"] * 34 + ["-+-+"] * 5 + ["--++"],
        "adapted": ["++++"] * 40,
    }
    sentence = verdict(evidence(rules, **{side: " ".join(rows) for side, rows in kept.items()})).sentence
    assert "For “hardly lacked” alone, three examples" in sentence
    assert "lacked in five" not in sentence and "kept anyway" not in sentence


def test_a_lack_beyond_chance_is_no_as_well_however_small():
    rules = ("same fields", "lacked in six of 80")
    kept = {"base": ["--"] * 80, "few_shot": ["-+"] * 74 + ["--"] * 6, "adapted": ["++"] * 80}
    assert "alone" not in verdict(evidence(rules, **{side: " ".join(r) for side, r in kept.items()})).sentence


def test_a_form_without_content_is_named_by_what_rose_most_whatever_prompting_does():
    signs = [measure("fit", base=NOISE, adapted=NOISE), measure("about", base=ABOVE, adapted=NOISE)]
    rows = {"base": ["--"] * 40, "few_shot": ["+-"] * 40, "adapted": ["++"] * 12 + ["+-"] * 28}
    kept = {side: " ".join(marks) for side, marks in rows.items()}
    said = verdict(evidence(("valid JSON", "the right “topic”"), signs, **kept))
    assert said.code == "worse" and "“valid JSON” rises from 0 % to 100 %" in said.sentence


def test_a_rule_that_quotes_is_quoted_with_single_marks():
    said = verdict(evidence(("the right “topic”",), base="-" * 20, adapted="+" * 20)).sentence
    assert "“the right ‘topic’” rises" in said


def test_a_long_list_of_rules_is_cut_short_in_the_sentence():
    rules = ("best", "a", "b", "c", "d", "e")
    rows = {"base": ["------"] * 20, "few_shot": ["-+++++"] * 20, "adapted": ["++++++"] * 20}
    said = verdict(evidence(rules, **{side: " ".join(marks) for side, marks in rows.items()})).sentence
    assert "For “a”, “b”, “c” and 2 more rules alone, three examples" in said


def test_the_rule_that_is_named_is_one_that_rose_even_where_prompting_does_better_everywhere():
    rules = ("gained by both", "kept anyway")
    rows = {"base": ["-+"] * 40, "few_shot": ["++"] * 40, "adapted": ["++"] * 20 + ["-+"] * 20}
    said = verdict(evidence(rules, **{side: " ".join(marks) for side, marks in rows.items()}))
    assert said.code == "prompting_does_as_well"
    assert "“gained by both” rises from 0 % to 50 %" in said.sentence


def test_only_all_is_called_100_per_cent():
    said = verdict(evidence(base="-" * 300, adapted="+" * 299 + "-")).sentence
    assert "rises from 0 % to 99 %" in said


def test_one_example_is_no_examples():
    same = Evidence({"base": [[True]], "adapted": [[True]]}, ["x"], [], TOKENS, same_text=True)
    assert "On 1 example it never saw" in verdict(same).sentence


def test_a_lead_that_chance_may_explain_is_not_called_as_well():
    """Ahead by 25 points in 20 rows: too few to call it better, and no reason to call prompting as good."""
    kept = {"base": "-" * 20, "few_shot": "-" * 5 + "+" * 13 + "-" * 2, "adapted": "+" * 18 + "-" * 2}
    said = verdict(evidence(**kept))
    assert said.code == "works"
    assert "these rows cannot tell whether three examples in the prompt do as well" in said.sentence
    assert "25 points ahead, which may be chance" in said.sentence
    assert said.speaks_of == ["few_shot"]
    assert comparisons(evidence(**kept))[0]["standing"] == "unclear"


@pytest.mark.parametrize(
    "few_shot, standing",
    [("-" * 20, "ahead"), ("+" * 20, "behind"), ("+" * 9 + "-" * 11, "alike")],
)
def test_each_way_of_prompting_has_its_standing(few_shot, standing):
    kept = evidence(base="-" * 20, few_shot=few_shot, adapted="+" * 10 + "-" * 10)
    assert comparisons(kept)[0]["standing"] == standing


@pytest.mark.parametrize(
    "side, shown, said",
    [
        ("few_shot", (3, 3), "three examples in the prompt do"),
        ("few_shot", (2, 2), "two examples in the prompt do"),
        ("few_shot", (1, 1), "one example in the prompt does"),
        ("few_shot", (0, 3), "up to three examples in the prompt do"),
        ("similar", (3, 3), "the three most similar examples in the prompt do"),
        ("similar", (1, 1), "the most similar example in the prompt does"),
        ("similar", (1, 2), "up to two similar examples in the prompt do"),
    ],
)
def test_as_many_examples_are_named_as_were_really_shown(side, shown, said):
    kept = {"base": [[False]] * 20, side: [[True]] * 20, "adapted": [[True]] * 20}
    found = verdict(Evidence(kept, ["x"], [], TOKENS, examples={side: shown}))
    assert f"But {said} as well" in found.sentence and found.speaks_of == [side]


def test_where_chance_explains_every_rule_by_itself_none_is_named():
    """Each of ten rules is gained in six rows: by itself one would be called real, among ten none is."""
    adapted = ["".join("+" if row // 6 == rule else "-" for rule in range(10)) for row in range(60)]
    rules = [f"rule {number}" for number in range(10)]
    kept = {"base": ["-" * 10] * 60, "few_shot": ["-" * 10] * 60, "adapted": adapted}
    said = verdict(evidence(tuple(rules), **{side: " ".join(rows) for side, rows in kept.items()}))
    assert said.code == "works" and "rule " not in said.sentence
    assert "the share of rules that it keeps rises from 0 % to 10 %" in said.sentence


def test_a_gain_that_chance_explains_among_many_is_no_gain_that_prompting_has_as_well():
    rules = ("surely", *(f"rule {number}" for number in range(9)))
    kept = {
        "base": ["-" * 10] * 40,
        "few_shot": ["-" + "+" * 9] * 6 + ["-" * 10] * 34,
        "adapted": ["+" * 10] * 6 + ["+" + "-" * 9] * 34,
    }
    said = verdict(evidence(rules, **{side: " ".join(rows) for side, rows in kept.items()}))
    assert "“surely” rises from 0 % to 100 %" in said.sentence and "rule " not in said.sentence


def test_a_lead_is_judged_among_all_ways_of_prompting():
    """Six rows of 20, all in one direction: by itself more than chance, among four ways of prompting not."""
    kept = dict.fromkeys(("instruction", "few_shot", "similar", "constrained"), "+" * 10 + "-" * 10)
    alone = comparisons(evidence(base="-" * 20, few_shot="+" * 10 + "-" * 10, adapted="+" * 16 + "-" * 4))
    among = comparisons(evidence(base="-" * 20, adapted="+" * 16 + "-" * 4, **kept))
    assert [one["standing"] for one in alone] == ["ahead"]
    assert [one["standing"] for one in among] == ["unclear"] * 4


def test_a_small_lead_that_is_one_by_itself_is_not_called_alike_among_many():
    """Ahead in six rows of 80: by itself more than chance, however small."""
    kept = dict.fromkeys(("instruction", "few_shot", "similar", "constrained"), "+" * 40 + "-" * 40)
    found = comparisons(evidence(base="-" * 80, adapted="+" * 46 + "-" * 34, **kept))
    assert [one["standing"] for one in found] == ["unclear"] * 4


def test_equal_sides_hardly_ever_differ_in_any_of_twenty_rules():
    rng, alarms, repeats = np.random.default_rng(3), 0, 200
    for _ in range(repeats):
        drawn = [(rng.random((40, 20)) < 0.5).astype(float) for _ in range(2)]
        found = together([paired_difference(*(side[:, rule] for side in drawn)) for rule in range(20)])
        alarms += any(one.is_real for one in found)
    assert alarms / repeats <= 0.05 + 0.02


def test_what_is_explained_behind_a_rule_does_not_lengthen_the_sentence():
    said = verdict(
        evidence(("easy to read (reading level LIX at most 33)",), base="-" * 20, adapted="+" * 20)
    )
    assert "“easy to read” rises" in said.sentence


@pytest.mark.parametrize(
    "base, adapted, said",
    [
        (
            "+" * 10 + "-" * 10,
            "+" * 12 + "-" * 8,
            "the share of rules that it keeps rises from 50 % to 60 %, but chance may explain it",
        ),
        ("+-" * 20, "+-" * 20, "it keeps the rules as often as the base model, within 10 points"),
    ],
)
def test_what_cannot_be_told_and_what_is_no_effect_are_said_with_their_numbers(base, adapted, said):
    assert said in verdict(evidence(base=base, adapted=adapted)).sentence
