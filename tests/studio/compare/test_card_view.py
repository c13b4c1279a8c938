from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from studio.compare import card_view, effects_view, film_strip, reader
from tests.studio.compare import sample_card

CARD = sample_card.card()


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def with_sentence(sentence: str) -> dict[str, Any]:
    return {**CARD, "verdict": {"code": "works", "short": "Yes.", "sentence": sentence}}


@pytest.mark.parametrize(
    ("code", "short", "look"),
    [("works", "Yes.", "yes"), ("worse", "Worse.", "wrong"), ("cannot_tell", "Cannot tell.", "plain-words")],
)
def test_the_first_words_of_the_verdict_stand_out_and_look_as_they_mean(
    code: str, short: str, look: str
) -> None:
    card = {"verdict": {"code": code, "short": short, "sentence": f"{short} On <40> examples."}}
    assert card_view.verdict(card) == f'<strong class="{look}">{short}</strong> On &lt;40&gt; examples.'


def test_the_first_table_shows_base_adapter_and_the_way_of_asking_that_the_verdict_speaks_of() -> None:
    for sentence, side in (
        ("Yes. For it, three examples in the prompt do as well.", "few_shot"),
        ("Yes. But a written instruction does as well.", "instruction"),
    ):
        shown = [one["side"] for one in card_view.first_sides(with_sentence(sentence))]
        assert shown == ["base", side, "adapted"]


def test_where_the_verdict_names_no_way_of_asking_the_closest_one_is_shown() -> None:
    shown = [one["side"] for one in card_view.first_sides(with_sentence("No effect."))]
    assert shown == ["base", card_view.rival(CARD), "adapted"]
    closest = min(CARD["comparisons"], key=lambda one: one["difference"]["value"])
    assert card_view.rival(CARD) == closest["side"]


def test_a_row_has_rates_with_intervals_and_the_change_and_only_rules_that_count() -> None:
    rules = [{**rule, "on": rule["name"] != "json_values", "counts": True} for rule in CARD["rules"]]
    shown = text_of(card_view.scorecard({**CARD, "rules": rules}))
    assert "the right fields 0 % 0–9 0 % 0–9 92 % 80–97 +92 points 82 to 100" in shown
    assert "58 of 60 hardly changed" in shown
    left_out = [rule["words"] for rule in rules if not rule["on"]]
    assert all(words not in shown for words in left_out)


def test_a_card_in_the_making_has_a_table_without_verdict_rules_or_side_effects() -> None:
    partial = {name: CARD[name] for name in ("rows", "sides", "answers")} | {"rules": [], "measures": []}
    shown = text_of(card_view.scorecard(partial))
    assert "tokens to read for each call" in shown
    assert "adapter against base" not in shown


@pytest.mark.parametrize(
    ("share", "said"), [(0, "0 %"), (0.001, "1 %"), (0.5, "50 %"), (0.999, "99 %"), (1, "100 %")]
)
def test_only_none_and_all_are_called_so(share: float, said: str) -> None:
    assert card_view.percent(share) == said


def test_a_difference_says_when_chance_explains_it() -> None:
    small = {"value": 0.05, "low": -0.05, "high": 0.15, "p": 0.4}
    assert text_of(card_view.change(small)) == "+5 points −5 to 15, may be chance"
    sure_by_its_interval_alone = {"value": 0.05, "low": 0.01, "high": 0.15, "p": 0.25}
    assert "may be chance" in card_view.change(sure_by_its_interval_alone)
    worse = {"value": -0.2, "low": -0.3, "high": -0.1, "p": 0.001}
    assert text_of(card_view.change(worse)) == "−20 points −30 to −10"
    assert text_of(card_view.change({"value": 0.0, "low": -0.1, "high": 0.1, "p": 1.0})) == "none seen"
    assert card_view.change(None) == "–"


def test_prompting_is_listed_with_the_closest_first_and_what_it_costs() -> None:
    shown = text_of(card_view.prompting(CARD))
    assert shown.index("Base held to JSON") < shown.index("Base + instruction")
    assert "+313" in shown and "no more" in shown
    assert card_view.prompting({**CARD, "comparisons": []}) == ""


def test_measures_say_what_is_better_and_what_they_mean() -> None:
    shown = text_of(card_view.measures(CARD))
    assert "held-out loss) lower is better" in shown
    assert "Popović" in shown


def test_a_row_that_breaks_a_rule_is_shown_with_every_answer_as_text() -> None:
    rule = next(one for one in CARD["rules"] if one["words"] == "valid JSON")
    page = reader.row_html(CARD, rule["name"], "base", 0)
    assert "<b>problem</b>" not in page and "&lt;b&gt;problem&lt;/b&gt;" in page
    assert "1 of 40" in page and page.count('role="group" aria-label="Adapter"') == 1
    assert text_of(page).count("✗ no: valid JSON") == 2, "the base model, and the instruction in this row"
    assert text_of(page).count("✓ yes: valid JSON") == 4


def test_rows_turn_around_the_end_and_only_those_that_fail_are_counted() -> None:
    rule = next(one for one in CARD["rules"] if one["words"] == "the right fields")
    failing = rule["sides"]["adapted"]["failing"]
    assert [row["row"] for row in reader.rows(CARD, rule["name"], "adapted")] == failing
    assert f"row {failing[0]}<" in reader.row_html(CARD, rule["name"], "adapted", len(failing))
    assert len(reader.rows(CARD, reader.EVERY, "adapted")) == 40
    valid = next(one for one in CARD["rules"] if one["words"] == "valid JSON")
    assert "breaks it in no row" in reader.row_html(CARD, valid["name"], "adapted", 0)


def test_the_needle_stands_in_the_zone_of_its_word_which_is_read_out() -> None:
    for needle, code, said, low, high in (
        (0.06, "hardly", "hardly changed", 0, 33),
        (0.2, "some", "changed somewhat", 33, 67),
        (0.06, "some", "changed somewhat", 33, 67),
        (0.9, "strong", "changed strongly", 67, 100),
    ):
        page = effects_view.needle(sample_card.effects(needle=needle, code=code, words=said))
        place = float(re.findall(r"left:([\d.]+)%", page)[0])
        assert low <= place <= high
        assert f'aria-valuetext="{said}"' in page and f"<b>{said}</b>" in page


def test_side_effects_show_texts_as_text_and_what_moved() -> None:
    page = effects_view.side_effects(sample_card.effects())
    assert "What is &lt;b&gt;7 × 8&lt;/b&gt;?" in page
    assert "3 → 2 of 60" in page and "1 of 2 as before" in page


def test_the_film_strip_says_which_step_and_does_not_repeat_the_same_answer() -> None:
    page = film_strip.strip(sample_card.film())
    frames = [one["frames"] for one in sample_card.film()["prompts"]]
    same = sum(a["text"] == b["text"] for found in frames for a, b in itertools.pairwise(found))
    assert page.count("the same as before") == same > 0
    assert "Base model" in page and "Step 120" in page and "<i>parcel" not in page
    assert film_strip.strip(None) == "" == film_strip.strip({"prompts": [{"frames": []}]})
