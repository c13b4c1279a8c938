"""How likely answers are, asked of the real model server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.base_models import catalogue
from jobs.generation.engine import Continuation, Engine
from jobs.serving import client, resident
from jobs.serving.schema import CompareSettings
from storage import files
from storage.errors import StudioError
from tests.jobs.serving.parts import ADAPTERS
from tests.jobs.waiting import until


def asked(count: int) -> list[dict]:
    weights = ({}, {ADAPTERS[0]: 1.0}, {ADAPTERS[0]: 0.5, ADAPTERS[1]: 0.5})
    return [
        {
            "adapters": weights[number % 3],
            "messages": [{"role": "user", "content": f"Row {number}?"}],
            "answer": f"The answer is {number * 7}.",
        }
        for number in range(count)
    ]


def test_likelihoods_are_the_engines_own_in_the_order_asked(base_model_id):
    engine = Engine(catalogue.find(base_model_id).folder, "cpu")
    for adapter_id in ADAPTERS:
        engine.load_adapter(adapter_id, files.adapter_folder(adapter_id))
    alone = engine.likelihoods([Continuation(**one) for one in asked(7)])
    found = client.likelihoods(base_model_id, asked(7))
    assert [one["tokens"] for one in found] == [one.tokens for one in alone]
    assert [one["nats"] for one in found] == pytest.approx([one.nats for one in alone], rel=1e-4)
    assert [one["divergence"] for one in found] == pytest.approx([one.divergence for one in alone], abs=1e-3)
    assert found[0]["divergence"] == 0.0 < found[1]["divergence"]


def test_none_are_none(base_model_id):
    assert client.likelihoods(base_model_id, []) == []
    assert client.answers(base_model_id, [], CompareSettings()) == []


def test_a_persons_question_comes_in_between_and_what_was_done_is_kept(base_model_id):
    count = 40 * resident.LIKELIHOODS_AT_ONCE
    undisturbed = client.likelihoods(base_model_id, asked(count))
    each: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(
            client.likelihoods, base_model_id, asked(count), each=lambda place, _: each.append(place)
        )
        until(lambda: len(each) > 0)
        client.compare_all(ADAPTERS[0], "Row 3?", CompareSettings(max_new_tokens=2))
        assert not batch.done()
        assert batch.result(120) == undisturbed
    assert each == list(range(count))


def test_a_conversation_longer_than_the_context_is_refused_with_its_length(base_model_id):
    long = {"adapters": {}, "messages": [{"role": "user", "content": "word " * 60_000}], "answer": "Yes."}
    with pytest.raises(StudioError, match=r"[\d,]+ tokens.* 60,000"):
        client.likelihoods(base_model_id, [long])


def test_an_adapter_that_is_gone_is_refused_by_name(base_model_id):
    with pytest.raises(StudioError, match="'gnnn2222' are gone"):
        client.likelihoods(base_model_id, [{**asked(1)[0], "adapters": {"gnnn2222": 1.0}}])


def test_measuring_can_be_stopped(base_model_id):
    with pytest.raises(StudioError, match="stopped"):
        client.likelihoods(base_model_id, asked(40), should_stop=lambda: True)
