from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from jobs.evaluation.rules import KINDS
from jobs.evaluation.statistics import holm, paired_difference
from studio.compare import card_view, effects_view, film_strip, reader, rules_view
from tests.studio.compare import sample_card

CARD = sample_card.card()
SIDES = ("adapted", "base")
HOSTILE = '"><img src=x onerror=alert(1)>'


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def speaking_of(*sides: str) -> dict[str, Any]:
    return {**CARD, "verdict": {"code": "works", "short": "Yes.", "sentence": "Yes.", "speaks_of": sides}}


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
    for side in ("few_shot", "instruction"):
        shown = [one["side"] for one in card_view.first_sides(speaking_of(side))]
        assert shown == ["base", side, "adapted"]


def test_where_the_verdict_names_no_way_of_asking_the_closest_one_is_shown() -> None:
    shown = [one["side"] for one in card_view.first_sides(speaking_of())]
    assert shown == ["base", card_view.rival(CARD), "adapted"]
    closest = min(CARD["comparisons"], key=lambda one: one["difference"]["value"])
    assert card_view.rival(CARD) == closest["side"]


def test_a_row_has_rates_with_intervals_and_the_change_and_only_rules_that_count() -> None:
    rules = [{**rule, "on": rule["name"] != "json_values", "counts": True} for rule in CARD["rules"]]
    shown = text_of(card_view.scorecard({**CARD, "rules": rules}))
    assert "the right fields 0 % 0–9 0 % 0–9 92 % 80–97 +92 points 82 to 100" in shown
    assert "other questions answered differently – – 2 of 60 hardly changed" in shown
    left_out = [rule["words"] for rule in rules if not rule["on"]]
    assert all(words not in shown for words in left_out)


def test_one_that_works_and_changes_much_else_is_said_to_in_the_same_breath() -> None:
    strong = {**CARD["side_effects"], "code": "strong", "unchanged": 0}
    assert "60 of 60 other questions" in card_view.verdict({**CARD, "side_effects": strong})
    assert "other questions" not in card_view.verdict(CARD)
    worse = {**CARD["verdict"], "code": "worse"}
    assert "other questions" not in card_view.verdict({**CARD, "side_effects": strong, "verdict": worse})


def test_the_changes_of_one_table_are_judged_together() -> None:
    by_name = {rule["name"]: rule for rule in CARD["rules"] if rule["counts"]}
    kept = {
        name: [
            [row["row"] not in rule["sides"][side]["failing"] for row in CARD["answers"]] for side in SIDES
        ]
        for name, rule in by_name.items()
    }
    alone = [paired_difference(*sides).p for sides in kept.values()]
    assert [rule["difference"]["p"] for rule in by_name.values()] == holm(alone) != alone
    measured = [one["difference"]["p"] for one in CARD["measures"]]
    of_words = next(one for one in CARD["measures"] if one["name"] == "chrf")["scores"]
    assert min(measured) > paired_difference(*(of_words[side] for side in SIDES)).p


def test_rows_that_were_left_out_and_answers_that_were_cut_are_said_in_one_line() -> None:
    assert card_view.limits(CARD) == ""
    sides = [
        {**side, "cut": {"base": 12, "adapted": 1}.get(side["side"], 0)}
        | (
            {"label": "Base model + up to 3 examples", "examples": [1, 3]}
            if side["side"] == "few_shot"
            else {}
        )
        for side in CARD["sides"]
    ]
    left_out = {"learned": [7], "too_long": [3, 9]}
    said = text_of(card_view.limits({**CARD, "sides": sides, "left_out": left_out}))
    assert said == (
        "Left out: 1 held-out example that the adapter was trained on and 2 held-out examples too long for the base "
        "model to read. Answers cut off because they became too long, of 40 each: Base model 12, Adapter 1. "
        "Base + up to 3 examples: from 1 to 3, as many as fitted before each question."
    )
    assert card_view.limits({**CARD, "left_out": []}) == "", "as older cards have it"


def test_a_way_of_asking_that_could_not_be_asked_is_named_with_its_reason() -> None:
    assert card_view.not_asked(CARD) == ""
    said = card_view.not_asked({**CARD, "not_asked": [{"side": "constrained", "why": "Too <large>."}]})
    assert text_of(said) == "Base held to JSON was not asked. Too &lt;large&gt;."


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


def test_whatever_a_card_holds_is_shown_as_text() -> None:
    side = {"side": "base", "label": HOSTILE, "weights": HOSTILE}
    rule = {"name": "r", "words": HOSTILE, "sides": {"base": {"failing": [1]}}}
    answered = {"row": 1, "prompt": HOSTILE, "wanted": HOSTILE, "answers": {"base": HOSTILE}}
    page = reader.row_html({"sides": [side], "rules": [rule], "answers": [answered]}, "r", "base", 0)
    one = dict.fromkeys(("prompt", "base", "adapted", "why", "answer", "training"), HOSTILE)
    told = {"sentence": HOSTILE, "words": HOSTILE, "style": {"base": 0.0, "adapted": 1.0, "words": HOSTILE}}
    some = {"prompts": 1, "unchanged": 0, "examples": [one]}
    page += effects_view.side_effects(
        sample_card.effects(**told, examples=[one], own=some, copied={"answers": 1, "examples": [one]})
    )
    shown = {"source": "user", "kind": "contains", "parameters": {"texts": [HOSTILE]}}
    page += rules_view.rules(
        [{"name": "r", "words": HOSTILE, "counts": False, "why": HOSTILE, "rule": shown}]
    )
    page += rules_view.form(KINDS["contains"], {"texts": [HOSTILE]}, "r")
    page += rules_view.form(KINDS["matches"], {"pattern": HOSTILE}, "r")
    assert "<img" not in page and page.count("&lt;img") > 15


def test_an_answer_is_marked_by_what_this_row_keeps_and_by_the_rule_that_is_read() -> None:
    rule = {"name": "r", "words": "short", "on": False, "sides": {"base": {"failing": [2]}}}
    answered: list[dict[str, str]] = [{"base": "So."}, {"base": "So.", "adapted": "So."}, {"base": "So."}]
    rows = [
        {"row": row, "prompt": "?", "wanted": "", "answers": said} for row, said in enumerate(answered, 1)
    ]
    sides = [{"side": side, "label": side} for side in ("base", "adapted")]
    card = {"sides": sides, "rules": [rule], "answers": rows}
    page = text_of(reader.row_html(card, "r", "base", 0))
    assert "row 2 1 of 1" in page and page.count("✗ no: short") == 1 and "Next row" not in page
    assert page.count("short") == 2, "in the heading, and under the one answer that was judged"
    every = text_of(reader.row_html(card, reader.EVERY, "base", 0))
    assert "row 1 1 of 3" in every and "short" not in every, "a rule that is switched off judges nobody"
    places = re.findall(r"&quot;place&quot;: (-?\d+)", reader.row_html(card, reader.EVERY, "base", 0))
    assert places == ["2", "1"], "the last one is before the first"


def entry(**parts: Any) -> dict[str, Any]:
    return {"name": "r", "words": "short", "rule": {"kind": "length_band", "source": "mined"}, **parts}


def test_a_rule_says_whether_it_counts_and_offers_what_can_be_done_with_it() -> None:
    def buttons(**parts: Any) -> list[str]:
        return re.findall(r">([^<]+)</button>", rules_view.rules([entry(**parts)]))

    assert buttons() == ["Switch off", "Edit"]
    assert buttons(on=False, counts=True) == ["Switch on", "Edit"]
    assert buttons(counts=False) == ["Count it anyway", "Edit"]
    assert buttons(sides={"adapted": {"failing": []}})[1] == "Read the answers"
    assert buttons(sides={"adapted": {"failing": [3]}})[1] == "Read the 1 row that fails"
    own = {"kind": "length_band", "source": "user"}
    assert buttons(rule=own)[2] == "Remove" and buttons(rule={**own, "replaces": "x"})[2] == "As it was"
    assert buttons(rule={"kind": "valid_json", "source": "mined"}) == ["Switch off"]
    assert "switched off" in rules_view.rules([entry(on=False)])
    assert "does not count" in rules_view.rules([entry(counts=False)])


def test_rules_that_were_found_not_to_count_stand_last_and_those_switched_off_keep_their_place() -> None:
    found = [
        entry(words="A", counts=False, why="The base model keeps it as well."),
        entry(words="B", counts=False, on=False),
        entry(words="C"),
    ]
    assert re.findall(r"<b>(\w)</b>", rules_view.rules(found)) == ["B", "C", "A"]


def test_what_is_typed_into_a_form_is_read_as_it_was_meant() -> None:
    band = KINDS["length_band"]
    assert rules_view.values_of(band, {"fewest": "2,5", "most": "3.0"})["fewest"] == 2.5
    most = rules_view.values_of(band, {"most": "3.0"})["most"]
    assert (most, type(most)) == (3, int)
    assert rules_view.values_of(band, {"most": " many "})["most"] == "many", "the kind itself refuses it"
    assert "&quot;rule&quot;: &quot;r&quot;" in rules_view.form(band, {}, "r")
    assert "&quot;rule&quot;" not in rules_view.form(band, {}, None)


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
    assert "Your own" not in effects_view.side_effects(
        sample_card.effects(own={"prompts": 0, "unchanged": 0})
    )


def test_the_film_strip_says_which_step_and_does_not_repeat_the_same_answer() -> None:
    page = film_strip.strip(sample_card.film())
    frames = [one["frames"] for one in sample_card.film()["prompts"]]
    same = sum(a["text"] == b["text"] for found in frames for a, b in itertools.pairwise(found))
    assert page.count("the same as before") == same > 0
    assert "Base model" in page and "Step 120" in page and "<i>parcel" not in page
    assert film_strip.strip(None) == "" == film_strip.strip({"prompts": [{"frames": []}]})
