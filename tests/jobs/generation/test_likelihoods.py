"""How likely an answer is, and answers held to a schema, are what the model itself says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from jobs.generation.engine import Continuation, Engine, Request
from storage.errors import StudioError
from tests.jobs.generation.test_engine import answers, messages, save_adapter, texts

SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["fox", "user"]}, "ok": {"type": "boolean"}},
    "required": ["name", "ok"],
    "additionalProperties": False,
}


@pytest.fixture(params=["plain", "dora"])
def engine(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> Engine:
    """With an adapter "a", on the fast path or on the plain one."""
    engine = Engine(tiny_model, "cpu", "fp32")
    kind = {"use_dora": True} if request.param == "dora" else {}
    engine.load_adapter("a", save_adapter(tiny_model, tmp_path / "a", 1, 0.3, **kind))
    return engine


@torch.inference_mode()
def test_likelihoods_are_the_models_own(engine: Engine, tiny_model: Path, tmp_path: Path) -> None:
    continuations = [
        Continuation({}, messages("who?"), "the quick fox"),
        Continuation({"a": 1.0}, messages("who?"), "the quick fox"),
    ]
    base, adapted = engine.likelihoods(continuations)
    ids, count = engine.chat.prompt_and_answer(messages("who?"), "the quick fox")
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    plain = model(torch.tensor([ids])).logits[0, -count - 1 : -1].log_softmax(-1)
    changed = PeftModel.from_pretrained(model, tmp_path / "a")(torch.tensor([ids])).logits
    changed = changed[0, -count - 1 : -1].log_softmax(-1)
    for got, scores in ((base, plain), (adapted, changed)):
        wanted = -scores[torch.arange(count), torch.tensor(ids[-count:])].sum()
        assert got.tokens == count and ids[-1] in engine.chat.stop_ids
        assert got.nats == pytest.approx(float(wanted), rel=1e-4)
    assert base.divergence == 0
    divergence = torch.nn.functional.kl_div(changed, plain, reduction="sum", log_target=True)
    assert adapted.divergence == pytest.approx(float(divergence), rel=1e-3)
    (zero,) = engine.likelihoods([Continuation({"a": 0.0}, messages("who?"), "the quick fox")])
    assert zero.divergence == pytest.approx(0, abs=1e-5) and zero.nats == pytest.approx(base.nats, rel=1e-5)


def test_measuring_can_be_stopped(engine: Engine) -> None:
    with pytest.raises(StudioError, match="stopped"):
        engine.likelihoods([Continuation({}, messages("who?"), "fox")], should_stop=lambda: True)


def test_an_answer_is_held_to_its_schema_and_its_neighbours_are_not(engine: Engine) -> None:
    requests = [
        Request("free", {}, messages("who?")),
        Request("held", {}, messages("who?"), SCHEMA),
        Request("adapted", {"a": 1.0}, messages("who?"), SCHEMA),
    ]
    rows = answers(engine, requests, max_new_tokens=120, temperature=1.0, seed=4)
    for row in rows[1:]:
        value = json.loads("".join(delta.text for delta in row))
        assert value["name"] in ("fox", "user") and isinstance(value["ok"], bool)
        assert row[-1].finish_reason == "stop"
    alone = answers(engine, requests[:1], max_new_tokens=120, temperature=1.0, seed=4)
    assert texts(rows)[0] == texts(alone)[0]


def test_a_schema_that_cannot_be_held_to_is_refused(engine: Engine) -> None:
    with pytest.raises(StudioError, match="schema"):
        list(engine.generate([Request("held", {}, messages("who?"), {"type": "unheard-of"})]))


def test_rows_beyond_the_memory_come_one_after_the_other(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [Request(str(i), {"a": 0.5 * i}, messages("fox")) for i in range(3)]
    together = texts(answers(engine, requests, temperature=1.0, seed=2))
    monkeypatch.setattr("jobs.generation.fast.MEMORY_BYTES_CPU", 1)
    monkeypatch.setattr("jobs.generation.plain.MOST_TOKENS", 1)
    rows = answers(engine, requests, temperature=1.0, seed=2)
    assert texts(rows) == together


def test_an_answer_may_be_shorter_than_the_batch(engine: Engine) -> None:
    requests = [Request("a", {}, messages("fox"), max_new_tokens=2), Request("b", {}, messages("fox"))]
    rows = answers(engine, requests, max_new_tokens=6)
    assert [row[-1].tokens for row in rows] == [2, 6]
