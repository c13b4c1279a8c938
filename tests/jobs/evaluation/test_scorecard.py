"""A whole scorecard, answered by the real model server."""

from __future__ import annotations

import pytest

from jobs.datasets.rows import load_rows
from jobs.evaluation.arms import HeldOutRow, answers_of_all_sides
from jobs.evaluation.scorecard import scorecard
from jobs.serving import client
from jobs.serving.schema import CompareSettings
from storage import adapters, evaluations, files
from storage.errors import StudioError
from tests.jobs.serving.parts import ADAPTERS, DATASET_ID, HELD_OUT_ROWS

SIDES = ["base", "few_shot", "adapted"]


@pytest.mark.usefixtures("base_model_id")
def test_a_card_counts_every_rule_for_every_side():
    told: list = []
    card = scorecard(ADAPTERS[0], report=lambda *words: told.append(words))
    assert (card["adapter_id"], card["dataset_id"], card["rows"]) == (ADAPTERS[0], DATASET_ID, HELD_OUT_ROWS)
    assert [side["side"] for side in card["sides"]] == SIDES
    assert [rule["name"] for rule in card["rules"]] == ["valid_json", "same_keys", "values_equal"]
    for rule in card["rules"]:
        for score in rule["sides"].values():
            assert score["rows"] == HELD_OUT_ROWS
            assert 0 <= score["low"] <= score["rate"] == score["passed"] / score["rows"] <= score["high"] <= 1
    by_side = {side["side"]: side for side in card["sides"]}
    assert by_side["few_shot"]["prompt_tokens_mean"] > by_side["base"]["prompt_tokens_mean"]
    # Random weights keep no rule, and a random change of them keeps none either.
    assert card["verdict"]["code"] == "no_effect"
    assert card["examples"][0].keys() == {"row", "prompt", "wanted", "answers"}
    assert card["examples"][0]["prompt"] == "Row 13?"
    assert list(card["examples"][0]["answers"]) == SIDES
    stored = evaluations.latest(ADAPTERS[0])
    assert stored is not None
    kept = files.adapter_folder(ADAPTERS[0]) / "scorecards" / f"{stored.id}.json"
    assert evaluations.Evaluation(**files.read_json(kept)) == stored, "the database can be made again from it"
    assert told[-1] == ("Answering held-out rows", HELD_OUT_ROWS, HELD_OUT_ROWS)


@pytest.mark.usefixtures("base_model_id")
def test_unchanged_rows_and_weights_are_not_answered_again():
    first = scorecard(ADAPTERS[1], max_rows=8)
    stored = evaluations.latest(ADAPTERS[1])
    told: list = []
    assert scorecard(ADAPTERS[1], lambda *words: told.append(words), max_rows=8) == first
    assert told == []
    assert evaluations.latest(ADAPTERS[1]) == stored
    assert scorecard(ADAPTERS[1], max_rows=9)["rows"] == 9
    scorecard(ADAPTERS[1], lambda *words: told.append(words), max_rows=9, force=True)
    assert told


@pytest.mark.usefixtures("base_model_id")
def test_few_rows_give_no_verdict():
    assert scorecard(ADAPTERS[0], max_rows=3)["verdict"]["code"] == "cannot_tell"


@pytest.mark.usefixtures("base_model_id")
def test_a_stopped_scorecard_is_not_stored():
    before = evaluations.latest(ADAPTERS[0])
    with pytest.raises(StudioError, match="stopped"):
        scorecard(ADAPTERS[0], force=True, should_stop=lambda: True)
    assert evaluations.latest(ADAPTERS[0]) == before


@pytest.mark.usefixtures("base_model_id")
def test_half_an_answer_does_not_count_when_the_playground_stops_it():
    rows = [HeldOutRow.of(row) for row in load_rows(DATASET_ID, "held_out")]
    long = CompareSettings(max_new_tokens=300)
    with pytest.raises(StudioError, match="scorecard was stopped"):
        answers_of_all_sides(
            adapters.get(ADAPTERS[0]),
            rows,
            long,
            report=lambda *words: None,
            should_stop=lambda: client.stop_generation() and False,
        )
