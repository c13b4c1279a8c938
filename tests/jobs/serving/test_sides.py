"""What each side is asked."""

from __future__ import annotations

import pytest

from jobs.serving import client, sides
from jobs.serving.schema import CompareSettings
from storage import adapters, files
from storage.errors import StudioError
from tests.jobs.serving.parts import ADAPTERS, DATASET_ID, SYSTEM, add_adapter, add_dataset

QUESTION = [{"role": "user", "content": "Why?"}]


@pytest.fixture
def adapter(home, tiny_model):
    add_dataset()
    add_adapter(ADAPTERS[0], "starter", tiny_model, 0)
    return adapters.get(ADAPTERS[0])


def test_the_message_that_all_training_rows_share_is_found(adapter):
    assert sides.shared_system(DATASET_ID) == SYSTEM
    path = files.dataset_folder(DATASET_ID) / "rows.jsonl"
    path.write_text(path.read_text().replace(SYSTEM, "Another.", 1))
    assert sides.shared_system(DATASET_ID) is None


def test_an_adapter_whose_dataset_is_gone_is_asked_without(home):
    assert sides.shared_system("gnnn2222") is None
    assert sides.shared_system("") is None


def test_a_conversation_keeps_the_system_message_it_brings():
    own = [{"role": "system", "content": "Mine."}, *QUESTION]
    assert sides.behind(own, SYSTEM) == own
    assert sides.behind(QUESTION, SYSTEM)[0] == {"role": "system", "content": SYSTEM}
    assert sides.with_system(own, SYSTEM)[0]["content"] == SYSTEM
    assert sides.with_system(own, "") == QUESTION


def test_few_shot_shows_the_same_three_training_rows_each_time(adapter):
    asked = sides.requests_for(["few_shot"], adapter, "starter", sides.behind(QUESTION, SYSTEM))[0]
    assert asked.adapter_id is None
    assert [turn["role"] for turn in asked.messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert asked.messages[-1] == QUESTION[0]
    again = sides.requests_for(["few_shot"], adapter, "starter", sides.behind(QUESTION, SYSTEM))[0]
    assert again == asked
    held_out = {f"Row {number}?" for number in range(13, 23)}
    assert not held_out & {turn["content"] for turn in asked.messages}


def test_base_and_adapted_are_asked_the_same(adapter):
    base, adapted = sides.requests_for(["base", "adapted"], adapter, "starter", QUESTION)
    assert base.messages == adapted.messages == QUESTION
    assert (base.adapter_id, adapted.adapter_id) == (None, adapter.id)


def test_an_adapter_of_another_base_model_is_refused_by_name(adapter, tiny_model):
    add_adapter(ADAPTERS[1], "another", tiny_model, 1)
    with pytest.raises(StudioError, match="“Numbers 1” was made for the base model another"):
        sides.requests_for([ADAPTERS[1]], adapter, "starter", QUESTION)


def test_sides_that_need_an_adapter_say_so(home):
    with pytest.raises(StudioError, match="adapted needs an adapter"):
        client.compare(None, "Why?", CompareSettings(sides=("base", "adapted")))


@pytest.mark.parametrize("prompt", ["", "  \n", [], [{"role": "assistant", "content": "Yes."}]])
def test_nothing_to_answer_is_refused(adapter, prompt):
    with pytest.raises(StudioError, match="prompt is empty"):
        client.compare(adapter.id, prompt)


def test_a_base_model_that_is_not_here_has_to_be_fetched_first(adapter):
    with pytest.raises(StudioError, match="etch it first"):
        client.compare_all(adapter.id, "Why?")
