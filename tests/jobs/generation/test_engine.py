"""Sides differ by weights only: what a row answers depends on nothing else in its batch."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from jobs.generation.base import number_format
from jobs.generation.engine import Delta, Engine, Request
from jobs.generation.mixing import MixedLinear
from storage.errors import StudioError

QUESTIONS = [
    "the quick brown fox",
    "who answers?",
    "a much longer question about the user and the assistant in JSON",
]


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def save_adapter(model_folder: Path, folder: Path, seed: int, size: float, **kind: Any) -> Path:
    """A LoRA adapter with random matrices of the given size, or one of another `kind`."""
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    peft = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], **kind)
    )
    torch.manual_seed(seed)
    for name, value in peft.named_parameters():
        if "lora_magnitude_vector" in name:
            value.data.mul_(1 + torch.rand_like(value))
        elif "lora_" in name:
            value.data.normal_(0, size)
    peft.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "huge": save_adapter(tiny_model, folder / "huge", 1, 30.0),
        "small": save_adapter(tiny_model, folder / "small", 2, 0.3),
    }


@pytest.fixture
def engine(tiny_model: Path, adapters: dict[str, Path]) -> Engine:
    engine = Engine(tiny_model, "cpu", "fp32")
    for name, folder in adapters.items():
        engine.load_adapter(name, folder)
    return engine


def answers(engine: Engine, requests: list[Request], **options) -> list[list[Delta]]:
    """All deltas of each request."""
    rows: list[list[Delta]] = [[] for _ in requests]
    for deltas in engine.generate(requests, **{"max_new_tokens": 12, **options}):
        for delta in deltas:
            rows[delta.row].append(delta)
    return rows


def texts(rows: list[list[Delta]]) -> list[str]:
    return ["".join(delta.text for delta in row) for row in rows]


def base_only(tiny_model: Path, questions: list[str], **options) -> list[str]:
    engine = Engine(tiny_model, "cpu", "fp32")
    return [texts(answers(engine, [Request("base", {}, messages(q))], **options))[0] for q in questions]


def test_base_rows_are_the_base_models_own_answers_beside_a_huge_adapter(
    engine: Engine, tiny_model: Path
) -> None:
    requests = [Request("base", {}, messages(q)) for q in QUESTIONS]
    requests += [Request("adapted", {"huge": 1.0}, messages(q)) for q in QUESTIONS]
    together = texts(answers(engine, requests))
    assert together[:3] == base_only(tiny_model, QUESTIONS)
    assert together[3:] != together[:3]


def test_adapted_rows_equal_pefts_own_generate(
    engine: Engine, tiny_model: Path, adapters: dict[str, Path]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    peft = PeftModel.from_pretrained(model, adapters["small"]).eval()
    requests = [Request("small", {"small": 1.0}, messages(q)) for q in QUESTIONS]
    requests.append(Request("huge", {"huge": 1.0}, messages(QUESTIONS[0])))
    ours = texts(answers(engine, requests))
    for question, text in zip(QUESTIONS, ours, strict=False):
        prompt = torch.tensor([engine.chat.prompt_ids(messages(question))])
        mask = torch.ones_like(prompt)
        theirs = peft.generate(input_ids=prompt, attention_mask=mask, max_new_tokens=12, do_sample=False)
        new = [i for i in theirs[0, prompt.shape[1] :].tolist() if i not in engine.chat.stop_ids]
        assert text == engine.chat.decode(new)


KINDS = {
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"v_proj": 2, "layers.1.mlp.down_proj": 8}, "alpha_pattern": {"v_proj": 32}},
    "dora": {"use_dora": True, "rank_pattern": {"v_proj": 2}},
}


@pytest.fixture(scope="module")
def of_kinds(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter of each kind that a training can make, and another with DoRA."""
    folder = tmp_path_factory.mktemp("kinds")
    found = {
        name: save_adapter(tiny_model, folder / name, seed, 0.3, **kind)
        for seed, (name, kind) in enumerate(KINDS.items())
    }
    return {**found, "dora2": save_adapter(tiny_model, folder / "dora2", 9, 0.3, use_dora=True)}


def merged(tiny_model: Path, folder: Path | None) -> Any:
    """The base model with the adapter's change added to its weights."""
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    return base if folder is None else PeftModel.from_pretrained(base, folder).merge_and_unload().eval()


@torch.inference_mode()
def first_logits(engine: Engine, requests: list[Request], strength: float = 1.0) -> torch.Tensor:
    """What each request's first token is chosen from, (requests, vocabulary); finer than the answers."""
    shares = [{name: strength * share for name, share in request.adapters.items()} for request in requests]
    prompts = [engine.chat.prompt_ids(request.messages) for request in requests]
    return engine._model_for(shares).begin(prompts, shares, max(map(len, prompts))).read()


def test_every_kind_of_adapter_answers_side_by_side_as_if_merged(
    tiny_model: Path, of_kinds: dict[str, Path]
) -> None:
    engine = Engine(tiny_model, "cpu", "fp32")
    for name, folder in of_kinds.items():
        engine.load_adapter(name, folder)
    sides = [*of_kinds, None, "dora", "rslora"]
    questions = [QUESTIONS[i % len(QUESTIONS)] for i in range(len(sides))]
    requests = [
        Request(str(i), {side: 1.0} if side else {}, messages(question))
        for i, (side, question) in enumerate(zip(sides, questions, strict=True))
    ]
    logits = first_logits(engine, requests)
    for i, text in enumerate(texts(answers(engine, requests))):
        model = merged(tiny_model, of_kinds.get(sides[i]))
        prompt = torch.tensor([engine.chat.prompt_ids(requests[i].messages)])
        torch.testing.assert_close(logits[i], model(prompt).logits[0, -1], rtol=1e-3, atol=1e-3)
        mask = torch.ones_like(prompt)
        whole = model.generate(input_ids=prompt, attention_mask=mask, max_new_tokens=12, do_sample=False)
        new = whole[0, prompt.shape[1] :].tolist()
        assert text == engine.chat.decode([token for token in new if token not in engine.chat.stop_ids])
    assert len({engine.weights_of(name) for name in of_kinds}) == len(of_kinds)


def test_deltas_come_in_the_order_of_their_requests(tiny_model: Path, of_kinds: dict[str, Path]) -> None:
    engine = Engine(tiny_model, "cpu", "fp32")
    engine.load_adapter("dora", of_kinds["dora"])
    requests = [
        Request(str(i), side, messages("fox")) for i, side in enumerate([{"dora": 1.0}, {}, {"dora": 1.0}])
    ]
    first = next(iter(engine.generate(requests, max_new_tokens=2)))
    assert [delta.row for delta in first] == [0, 1, 2]
    equal = texts(answers(engine, requests, temperature=1.0, seed=3))
    assert equal[0] == equal[2] != equal[1]


@pytest.mark.parametrize("kind", [*KINDS])
def test_strength_means_the_same_for_every_kind(
    tiny_model: Path, of_kinds: dict[str, Path], kind: str
) -> None:
    engine = Engine(tiny_model, "cpu", "fp32")
    engine.load_adapter(kind, of_kinds[kind])
    request = Request("adapted", {kind: 1.0}, messages(QUESTIONS[0]))
    base = first_logits(engine, [Request("base", {}, request.messages)])[0]
    full = first_logits(engine, [request])[0]
    torch.testing.assert_close(first_logits(engine, [request], 0.0)[0], base)
    half = first_logits(engine, [request], 0.5)[0]
    assert min((half - base).abs().max(), (half - full).abs().max()) > 0.01
    assert torch.equal(first_logits(engine, [request])[0], full)


def test_a_dora_adapter_taken_off_leaves_the_others(tiny_model: Path, of_kinds: dict[str, Path]) -> None:
    engine = Engine(tiny_model, "cpu", "fp32")
    for name in ("dora", "dora2", "rslora"):
        engine.load_adapter(name, of_kinds[name])
    requests = [Request("a", {"dora2": 1.0}, messages("fox")), Request("b", {"rslora": 1.0}, messages("fox"))]
    before = texts(answers(engine, requests))
    engine.unload_adapter("dora")
    assert texts(answers(engine, requests)) == before
    without = [Request("a", {"dora2": 0.0}, messages("fox"))]
    assert texts(answers(engine, without)) == base_only(tiny_model, ["fox"])


def test_rows_of_different_lengths_equal_solo_runs(engine: Engine) -> None:
    requests = [Request(q, {"small": 1.0}, messages(q)) for q in QUESTIONS]
    solo = [texts(answers(engine, [request]))[0] for request in requests]
    assert texts(answers(engine, requests)) == solo
    cut = Request("cut", {"huge": 1.0}, messages("fox"), max_new_tokens=2)
    assert texts(answers(engine, [cut, *requests]))[1:] == solo


def test_a_row_that_ends_leaves_the_others_as_they_were(engine: Engine) -> None:
    requests = [Request(q, {}, messages(q)) for q in QUESTIONS]
    whole = answers(engine, requests)
    # Let the second answer end at its fourth token, as if the model had said so.
    fourth = engine.chat._tokenizer.encode(texts(whole)[1], add_special_tokens=False).ids[3]
    seen_elsewhere = [texts(whole)[0], texts(whole)[2]]
    engine.chat.stop_ids = frozenset({fourth})
    ended = answers(engine, requests)
    assert ended[1][-1].finish_reason == "stop"
    for before, after in zip(seen_elsewhere, [texts(ended)[0], texts(ended)[2]], strict=True):
        assert before.startswith(after)


def test_equal_weights_draw_equal_answers_and_seeds_differ(engine: Engine) -> None:
    twins = [Request("a", {}, messages(QUESTIONS[0])), Request("b", {}, messages(QUESTIONS[0]))]
    first = texts(answers(engine, twins, temperature=1.0, seed=1))
    assert first[0] == first[1]
    assert texts(answers(engine, twins, temperature=1.0, seed=1)) == first
    assert texts(answers(engine, twins, temperature=1.0, seed=2)) != first


def test_next_to_no_temperature_is_like_none(engine: Engine) -> None:
    requests = [Request("base", {}, messages(q)) for q in QUESTIONS]
    assert texts(answers(engine, requests, temperature=1e-40)) == texts(answers(engine, requests))


def test_strength_scales_live_and_is_restored(engine: Engine, tiny_model: Path) -> None:
    def at(strength: float) -> list[Request]:
        return [Request("adapted", {"huge": strength}, messages(QUESTIONS[0]))]

    full = texts(answers(engine, at(1.0)))
    assert texts(answers(engine, at(0.0))) == base_only(tiny_model, QUESTIONS[:1])
    half = engine.generate(at(0.5), max_new_tokens=12)
    next(half)
    half.close()
    assert texts(answers(engine, at(1.0))) == full


def test_stopping_ends_within_a_token(engine: Engine) -> None:
    asked = iter([False, False, True])
    rows = answers(
        engine, [Request("base", {}, messages(q)) for q in QUESTIONS], should_stop=lambda: next(asked)
    )
    assert {row[-1].finish_reason for row in rows} <= {"stopped", "stop"}
    assert max(row[-1].tokens for row in rows) == 3


def test_stopping_is_heard_between_prompts_that_are_read(engine: Engine) -> None:
    """Each prompt nearly fills what is read at once, so that the others need not be read."""
    requests = [Request("base", {}, messages("x" * 450)) for _ in range(6)]
    read: list[int] = []
    through = engine._fast.reader.through  # type: ignore[union-attr]
    engine._fast.reader.through = lambda *given: read.append(1) or through(*given)  # type: ignore
    rows = answers(engine, requests, should_stop=lambda: bool(read))
    assert len(read) == 1
    assert [[(one.tokens, one.finish_reason) for one in row] for row in rows] == [[(0, "stopped")]] * 6
    # Also where not all rows are answered at once.
    engine._fast.most_rows = lambda tokens: 1  # type: ignore
    read.clear()
    rows = answers(engine, requests, should_stop=lambda: bool(read))
    assert len(read) == 1
    assert [row[-1].finish_reason for row in rows] == ["stopped"] * 6


def test_half_a_character_waits_for_its_rest(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    fox = engine.chat._tokenizer.encode("a🦊b", add_special_tokens=False).ids
    script = iter(fox)
    monkeypatch.setattr("jobs.generation.engine._choose", lambda *_: torch.tensor([next(script)]))
    rows = answers(engine, [Request("base", {}, messages("?"))], max_new_tokens=len(fox))
    assert texts(rows) == ["a🦊b"]
    assert all("\ufffd" not in delta.text for delta in rows[0])
    assert rows[0][-1].tokens == len(fox) and rows[0][-1].finish_reason == "length"


def test_a_loaded_adapter_stays_as_it_is_and_needs_its_folder_no_more(
    engine: Engine, adapters: dict[str, Path], tmp_path: Path
) -> None:
    request = [Request("small", {"small": 1.0}, messages(QUESTIONS[0]))]
    before = texts(answers(engine, request))
    engine.load_adapter("small", tmp_path / "gone")
    engine.load_adapter("small", adapters["huge"])
    assert texts(answers(engine, request)) == before


def test_the_last_adapter_off_leaves_the_plain_base(engine: Engine, tiny_model: Path) -> None:
    engine.unload_adapter("huge")
    request = Request("small", {"small": 1.0}, messages(QUESTIONS[0]))
    assert texts(answers(engine, [request, Request("base", {}, messages(QUESTIONS[1]))]))[1:] == base_only(
        tiny_model, QUESTIONS[1:2]
    )
    engine.unload_adapter("small")
    assert not any("base_layer" in name for name, _ in engine._plain.base.named_modules())
    assert texts(answers(engine, [Request("base", {}, messages(QUESTIONS[0]))])) == base_only(
        tiny_model, QUESTIONS[:1]
    )


def test_an_adapter_of_another_model_is_refused_and_named(tiny_model: Path, tmp_path: Path) -> None:
    config = copy.deepcopy(LlamaConfig.from_pretrained(tiny_model))
    config.hidden_size, config.intermediate_size = 16, 32
    other = tmp_path / "other-model"
    LlamaForCausalLM(config).save_pretrained(other)
    folder = save_adapter(other, tmp_path / "adapter", 0, 0.1)
    engine = Engine(tiny_model, "cpu", "fp32")
    with pytest.raises(StudioError, match=r"made for .*other-model"):
        engine.load_adapter("x", folder)
    assert texts(answers(engine, [Request("base", {}, messages(QUESTIONS[0]))])) == base_only(
        tiny_model, QUESTIONS[:1]
    )
    (folder / "adapter_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(StudioError, match="cannot be read"):
        engine.load_adapter("x", folder)


@pytest.mark.parametrize("half", ["A", "B"])
def test_an_adapter_with_half_of_its_matrices_is_refused(
    tiny_model: Path, adapters: dict[str, Path], tmp_path: Path, half: str
) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(adapters["small"], folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    kept = {name: one for name, one in tensors.items() if f"lora_{half}" in name or "layers.0" in name}
    save_file(kept, folder / "adapter_model.safetensors")
    engine = Engine(tiny_model, "cpu", "fp32")
    missing = "B" if half == "A" else "A"
    with pytest.raises(StudioError, match=f"torn is not whole: .* no matrix {missing} for .*layers.1"):
        engine.load_adapter("x", folder)


@pytest.mark.parametrize(("content", "words"), [("[]", "holds no settings"), ("{}", "no lora_alpha")])
def test_an_adapter_without_its_settings_is_refused(
    tiny_model: Path, adapters: dict[str, Path], tmp_path: Path, content: str, words: str
) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(adapters["small"], folder)
    config = json.loads(content)
    if isinstance(config, dict):
        config = {"peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(StudioError, match=words):
        Engine(tiny_model, "cpu", "fp32").load_adapter("x", folder)


def test_an_adapter_for_which_there_is_no_room_is_not_put_on_in_part(
    tiny_model: Path, of_kinds: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DoRA adapter, which goes beside the layers one after the other."""
    engine = Engine(tiny_model, "cpu", "fp32")
    put, laid = MixedLinear.put, []

    def no_room_for_the_third(layer: MixedLinear, name: str, change: Any) -> None:
        laid.append(name)
        if len(laid) == 3:
            raise torch.OutOfMemoryError("out of memory")
        put(layer, name, change)

    with monkeypatch.context() as patched:
        patched.setattr(MixedLinear, "put", no_room_for_the_third)
        with pytest.raises(torch.OutOfMemoryError):
            engine.load_adapter("dora", of_kinds["dora"])
    assert not any("base_layer" in name for name, _ in engine._plain.base.named_modules())
    engine.load_adapter("dora", of_kinds["dora"])


def test_hashes_name_the_weights(engine: Engine) -> None:
    base = engine.weights_of(None)
    assert len(base) == 8
    assert engine.weights_of("huge").startswith(f"{base}+") and len(engine.weights_of("huge")) == 17
    assert engine.weights_of("huge") != engine.weights_of("small")


def test_a_folder_without_a_model_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    folder = tmp_path / "empty-model"
    folder.mkdir()
    (folder / "tokenizer.json").write_text((tiny_model / "tokenizer.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "unheard-of"}))
    with pytest.raises(StudioError, match="empty-model"):
        Engine(folder, "cpu")


def test_nf4_needs_an_nvidia_gpu() -> None:
    with pytest.raises(StudioError, match="NVIDIA"):
        number_format("cpu", "nf4")
    assert number_format("cpu", "fp32") == torch.float32
