"""What each side is asked."""

from __future__ import annotations

import json

import pytest

from jobs.base_models import catalogue
from jobs.serving import client, sides
from jobs.serving.schema import CompareSettings
from storage import adapters, files, plans
from storage.errors import StudioError
from storage.plans import Plan
from tests.jobs.serving.parts import (
    ADAPTERS,
    DATASET_ID,
    SYSTEM,
    TRAIN_ROWS,
    add_adapter,
    add_dataset,
    add_look,
)

QUESTION = [{"role": "user", "content": "Why?"}]


@pytest.fixture
def adapter(home, tiny_model):
    add_dataset()
    add_adapter(ADAPTERS[0], "starter", tiny_model, 0)
    return adapters.get(ADAPTERS[0])


def asked(adapter, side, messages=QUESTION, **how):
    (request,) = sides.requests_for([side], adapter, "starter", messages, **how)
    return request


def shown_rows(request):
    """The numbers of the training rows before the prompt."""
    said = [turn["content"] for turn in request.messages if turn["role"] == "user"]
    return [int(text.removeprefix("Row ").removesuffix("?")) for text in said[:-1]]


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
    request = asked(adapter, "few_shot", sides.behind(QUESTION, SYSTEM))
    assert request.adapters == {}
    assert [turn["role"] for turn in request.messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert request.messages[-1] == QUESTION[0]
    assert asked(adapter, "few_shot", sides.behind(QUESTION, SYSTEM)) == request
    assert set(shown_rows(request)) <= set(range(1, TRAIN_ROWS + 1))


def test_a_row_that_is_asked_is_not_shown_and_another_takes_its_place(adapter):
    first, second, third = shown_rows(asked(adapter, "few_shot"))
    without = shown_rows(asked(adapter, "few_shot", exclude_row=second))
    assert without[:2] == [first, third] and len(set(without)) == 3
    similar = asked(adapter, "similar", [{"role": "user", "content": "Row 7?"}], exclude_row=7)
    assert len(shown_rows(similar)) == 3 and 7 not in shown_rows(similar)


def test_similar_shows_the_most_similar_training_rows_the_nearest_one_last(adapter):
    request = asked(adapter, "similar", [{"role": "user", "content": "Row 11?"}])
    assert shown_rows(request)[-1] == 11
    assert (request.label, request.examples) == ("Base model + 3 similar examples", 3)
    assert asked(adapter, "base").examples is None
    assert request.messages[-2]["content"] == json.dumps({"n": 11})
    later = asked(
        adapter, "similar", [*QUESTION, {"role": "assistant", "content": "So."}, *request.messages[-3:-2]]
    )
    assert [turn["content"] for turn in later.messages if turn["role"] == "user"][2] == "Row 11?"


def test_of_a_training_conversation_its_last_question_is_searched(adapter):
    path = files.dataset_folder(DATASET_ID) / "rows.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    more = [{"role": "user", "content": "And zebras?"}, {"role": "assistant", "content": "{}"}]
    lines[TRAIN_ROWS - 1]["messages"] += more
    lines[0]["messages"] = [{"role": "assistant", "content": "zebras, unasked"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    request = asked(adapter, "similar", [{"role": "user", "content": "zebras"}])
    assert request.messages[-3]["content"] == "And zebras?"


def test_a_prompt_that_leaves_no_room_for_all_examples_is_shown_the_nearest(adapter, tiny_model):
    base = catalogue.add_custom(str(tiny_model)).id
    examples = sides.similar_shots(DATASET_ID, "Row 11?")
    for words in range(40, 400, 4):
        messages = [{"role": "user", "content": "word " * words}]
        shown_to, shown = sides.with_shots(messages, examples, base)
        if shown < 3:
            break
    assert shown == 2
    assert [turn["content"] for turn in shown_to if turn["role"] == "user"][1] == "Row 11?"
    assert sides.with_shots([{"role": "user", "content": "word " * 400}], examples, base)[1] == 0
    assert sides.with_shots(messages, examples, base, room=8)[1] == 3, "a short answer leaves room for more"


def test_the_instruction_stands_behind_the_system_message(adapter):
    plans.put(DATASET_ID, Plan(instruction="Answer with one number."))
    request = asked(adapter, "instruction", sides.behind(QUESTION, SYSTEM))
    assert request.messages == [
        {"role": "system", "content": f"{SYSTEM}\n\nAnswer with one number."},
        *QUESTION,
    ]
    assert (request.adapters, request.schema) == ({}, None)
    alone = asked(adapter, "instruction")
    assert alone.messages[0] == {"role": "system", "content": "Answer with one number."}


def test_without_a_plan_the_instruction_says_the_rules_of_the_examples(adapter):
    assert "JSON" in asked(adapter, "instruction").messages[0]["content"]


def test_constrained_is_the_base_model_held_to_the_answers_schema(adapter):
    request = asked(adapter, "constrained")
    assert (request.adapters, request.messages) == ({}, QUESTION)
    assert request.schema["properties"] == {"n": {"type": "integer"}}
    path = files.dataset_folder(DATASET_ID) / "rows.jsonl"
    path.write_text(path.read_text().replace('{\\"n\\": ', "number "))
    with pytest.raises(StudioError, match="are not JSON"):
        asked(adapter, "constrained")


def test_base_and_adapted_are_asked_the_same(adapter):
    base, adapted = sides.requests_for(["base", "adapted"], adapter, "starter", QUESTION)
    assert base.messages == adapted.messages == QUESTION
    assert (base.adapters, adapted.adapters) == ({}, {adapter.id: 1.0})


def test_the_dial_turns_the_chosen_adapter_and_an_id_answers_as_it_was_kept(adapter):
    adapters.set_strength(adapter.id, 0.5)
    assert asked(adapter, "adapted", strength=0.25).adapters == {adapter.id: 0.25}
    assert asked(adapter, adapter.id, strength=0.25).adapters == {adapter.id: 0.5}
    assert asked(adapter, f"{adapter.id}*1.2").adapters == {adapter.id: 1.2}
    assert asked(adapter, adapter.id).label == "0.5 × Numbers 0"
    assert asked(adapter, "adapted").label == "Numbers 0"


def test_a_blend_is_named_by_its_parts(adapter, tiny_model):
    add_adapter(ADAPTERS[1], "starter", tiny_model, 1)
    request = asked(adapter, f"{ADAPTERS[0]}*0.7+{ADAPTERS[1]}*0.3")
    assert request.adapters == {ADAPTERS[0]: 0.7, ADAPTERS[1]: 0.3}
    assert request.label == "0.7 × Numbers 0 + 0.3 × Numbers 1"


def test_a_saved_look_answers_as_it_was_trained(adapter):
    add_look(adapter.id, 5, of=adapter.id)
    adapters.set_strength(adapter.id, 0.5)
    request = asked(adapter, f"{adapter.id}@5")
    assert request.adapters == {f"{adapter.id}@5": 1.0}
    assert request.label == "Numbers 0, step 5"
    with pytest.raises(StudioError, match=r"no saved look after step 6\. There are looks after step 5"):
        asked(adapter, f"{adapter.id}@6")


def test_what_may_be_chosen_beside_an_adapter(adapter, tiny_model):
    add_adapter(ADAPTERS[1], "starter", tiny_model, 1)
    add_adapter("dptr4444", "another", tiny_model, 2)
    add_look(adapter.id, 5, of=adapter.id)
    assert sides.offered(adapter) == [
        ("Base model", "base"),
        ("Numbers 0", "adapted"),
        ("Base model + instruction", "instruction"),
        ("Base model + 3 examples", "few_shot"),
        ("Base model + 3 similar examples", "similar"),
        ("Base model held to JSON", "constrained"),
        ("Numbers 0, step 5", f"{adapter.id}@5"),
        ("Numbers 1", ADAPTERS[1]),
    ]


def test_adapters_of_one_name_are_told_apart_by_the_ends_of_their_ids(adapter, tiny_model):
    for id, seed in (("dptr-92222", 0), ("dptr4444", 1), ("dptr5555", 0)):
        base = "another" if id == "dptr5555" else "starter"
        add_adapter(id, base, tiny_model, seed)
    add_look(adapter.id, 5, of=adapter.id)
    found = {side: label for label, side in sides.offered(adapter)}
    assert found["adapted"] == "Numbers 0 (…r2222)" and found["dptr-92222"] == "Numbers 0 (…92222)"
    assert found[f"{adapter.id}@5"] == "Numbers 0 (…r2222), step 5" and found["dptr4444"] == "Numbers 1"
    assert sides.name_of(adapters.get("dptr5555")) == "Numbers 0", "of another base model"
    assert asked(adapter, "dptr-92222").label == found["dptr-92222"]
    assert asked(adapter, f"{adapter.id}*0.5").label == "0.5 × Numbers 0 (…r2222)"


def test_all_that_is_offered_can_be_asked(adapter):
    add_look(adapter.id, 5, of=adapter.id)
    offered = [side for _, side in sides.offered(adapter)]
    labels = [request.label for request in sides.requests_for(offered, adapter, "starter", QUESTION)]
    assert labels == [label for label, _ in sides.offered(adapter)]


def test_without_its_examples_an_adapter_is_compared_with_the_base_model_alone(adapter):
    (files.dataset_folder(DATASET_ID) / "rows.jsonl").unlink()
    assert [side for _, side in sides.offered(adapter)] == ["base", "adapted"]
    with pytest.raises(StudioError, match="are gone"):
        asked(adapter, "few_shot")


def test_an_adapter_of_another_base_model_is_refused_by_name(adapter, tiny_model):
    add_adapter(ADAPTERS[1], "another", tiny_model, 1)
    for side in (ADAPTERS[1], f"{ADAPTERS[0]}*0.5+{ADAPTERS[1]}*0.5"):
        with pytest.raises(StudioError, match="“Numbers 1” was made for the base model another"):
            asked(adapter, side)


def test_an_unknown_adapter_is_refused_by_name(adapter):
    with pytest.raises(StudioError, match="no adapter 'nobody-1'"):
        asked(adapter, "nobody-1")
    with pytest.raises(StudioError, match="no adapter 'nobody-1'"):
        client.compare("nobody-1", "Why?")


@pytest.mark.parametrize("side", ["adapted", "few_shot", "instruction", "constrained"])
def test_sides_that_need_an_adapter_say_so(home, side):
    with pytest.raises(StudioError, match=f"{side} needs an adapter"):
        client.compare(None, "Why?", CompareSettings(sides=("base", side)))


@pytest.mark.parametrize("prompt", ["", "  \n", [], [{"role": "assistant", "content": "Yes."}]])
def test_nothing_to_answer_is_refused(adapter, prompt):
    with pytest.raises(StudioError, match="prompt is empty"):
        client.compare(adapter.id, prompt)


@pytest.mark.parametrize(
    "turn", ["Why?", {"content": "Why?"}, {"role": "judge", "content": "?"}, {"role": "user", "content": 5}]
)
def test_a_turn_that_is_none_is_refused_with_its_place(adapter, turn):
    with pytest.raises(StudioError, match="Turn 2 of the conversation"):
        client.compare(adapter.id, [QUESTION[0], turn])


def test_half_a_character_is_refused(adapter):
    with pytest.raises(StudioError, match="half a character"):
        client.compare(adapter.id, "Why \ud83d?")
    with pytest.raises(StudioError, match="system message holds half a character"):
        CompareSettings.from_json({"system": "Be \ud83d."})


@pytest.mark.parametrize("prompt", [5, None, {"role": "user", "content": "Why?"}])
def test_what_is_neither_text_nor_turns_is_refused(prompt):
    with pytest.raises(StudioError, match="The prompt is "):
        sides.conversation(prompt)


def test_a_base_model_that_is_not_here_has_to_be_fetched_first(adapter):
    with pytest.raises(StudioError, match="etch it first"):
        client.compare_all(adapter.id, "Why?")
