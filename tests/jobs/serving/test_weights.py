"""The right weights answer, at the right strengths: all kinds of sides through the real model server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.evaluation import schemas
from jobs.serving import client
from jobs.serving.schema import CompareSettings, SideRequest
from storage import adapters, files
from storage.errors import StudioError
from tests.jobs.serving.parts import ADAPTERS, DATASET_ID, add_adapter, add_look

PROMPT = "Row 3?"
FIRST, SECOND = ADAPTERS

pytestmark = pytest.mark.usefixtures("base_model_id")


def answered(*sides: str, **how) -> dict:
    settings = CompareSettings.from_json({"sides": sides, "max_new_tokens": 12, **how})
    return {answer["side"]: answer for answer in client.compare_all(FIRST, PROMPT, settings)}


def short_hash(adapter_id: str) -> str:
    return files.sha256_of(files.adapter_folder(adapter_id) / "adapter_model.safetensors")[:8]


def test_strength_goes_from_the_base_model_to_the_adapter():
    names = ("base", "adapted", f"{FIRST}*0", f"{FIRST}*1", f"{FIRST}*0.5")
    found = answered(*names)
    assert found[f"{FIRST}*0"]["text"] == found["base"]["text"] != found["adapted"]["text"]
    assert found[f"{FIRST}*1"]["text"] == found["adapted"]["text"]
    base = found["base"]["weights"]
    own = f"{base}+{short_hash(FIRST)}"
    assert [found[name]["weights"] for name in names] == [base, own, f"{own}*0", own, f"{own}*0.5"]


def test_the_dial_turns_only_the_chosen_adapter():
    as_trained, turned = answered("adapted", FIRST), answered("adapted", FIRST, strength=0)
    assert turned[FIRST]["text"] == as_trained[FIRST]["text"] == as_trained["adapted"]["text"]
    assert turned["adapted"]["text"] == answered("base")["base"]["text"]


def test_an_adapter_answers_as_strongly_as_was_kept():
    adapters.set_strength(SECOND, 0.0)
    try:
        assert answered(SECOND)[SECOND]["text"] == answered("base")["base"]["text"]
    finally:
        adapters.set_strength(SECOND, 1.0)


def test_a_blend_of_one_whole_and_nothing_of_the_other_is_the_one():
    blend, even = f"{FIRST}*0+{SECOND}*1", f"{FIRST}*0.5+{SECOND}*0.5"
    found = answered(blend, even, FIRST, SECOND)
    assert found[blend]["text"] == found[SECOND]["text"] != found[FIRST]["text"]
    hashes = [short_hash(FIRST), short_hash(SECOND)]
    assert found[even]["weights"].endswith("+{}*0.5+{}*0.5".format(*hashes))


def test_a_saved_look_answers_with_the_weights_it_was_saved_with():
    add_look(FIRST, 5, of=SECOND)
    found = answered(f"{FIRST}@5", FIRST, SECOND)
    assert found[f"{FIRST}@5"]["text"] == found[SECOND]["text"] != found[FIRST]["text"]
    assert found[f"{FIRST}@5"]["weights"] == found[SECOND]["weights"]


def test_the_constrained_side_writes_json_of_the_answers_form():
    found = answered("constrained", "base", max_new_tokens=40)
    schema = schemas.of(DATASET_ID)
    assert found["constrained"]["weights"] == found["base"]["weights"]
    if found["constrained"]["finish_reason"] == "stop":
        assert schemas.keeps(found["constrained"]["text"], schema)
    assert re.match(r'\{\s*"n"\s*:', found["constrained"]["text"])
    assert not found["base"]["text"].lstrip().startswith("{")


def test_every_side_may_go_on_from_a_conversation_of_its_own():
    turns = [
        {"role": "user", "content": "Row 1?"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": PROMPT},
    ]
    settings = CompareSettings(sides=("base", "adapted"), max_new_tokens=4)
    own = client.compare_all(FIRST, {"base": turns, "adapted": PROMPT}, settings)
    together = client.compare_all(FIRST, PROMPT, settings)
    assert own[0]["prompt_tokens"] > together[0]["prompt_tokens"]
    assert own[1] | {"seconds": 0} == together[1] | {"seconds": 0}
    with pytest.raises(StudioError, match="prompt is empty"):
        client.compare(FIRST, {"base": turns}, settings)


def test_an_answer_may_be_shorter_than_the_others(base_model_id):
    messages = [{"role": "user", "content": PROMPT}]
    asked = [SideRequest("base", str(most), messages, max_new_tokens=most) for most in (2, None)]
    short, usual = client.answers(base_model_id, asked, CompareSettings(max_new_tokens=6))
    assert (short["tokens"], usual["tokens"]) == (2, 6)
    assert usual["text"].startswith(short["text"])


def test_more_adapters_than_are_kept_loaded_answer_all_the_same(base_model_id, tiny_model: Path):
    more = [f"dptr{number}" for number in range(4, 9)]
    for seed, adapter_id in enumerate(more, 4):
        add_adapter(adapter_id, base_model_id, tiny_model, seed)
    first = answered(FIRST)[FIRST]
    many = answered(*more)
    assert len({answer["weights"] for answer in many.values()}) == len(more)
    assert len(client.status()["adapters"]) == len(more)
    assert answered(FIRST)[FIRST] | {"seconds": 0} == first | {"seconds": 0}
    assert len(client.status()["adapters"]) == 4
    assert client.status()["base_loads"] == 1


def test_a_side_whose_prompt_is_too_long_is_named_at_once():
    with pytest.raises(StudioError, match=r"The prompt has [\d,]+ tokens.* 60,000"):
        client.compare(FIRST, "word " * 60_000, CompareSettings(sides=("base",)))
    with pytest.raises(StudioError, match=r"prompt for “Numbers 0” has [\d,]+ tokens.* 60,000"):
        client.compare(FIRST, "word " * 60_000, CompareSettings(sides=("adapted", "base")))
