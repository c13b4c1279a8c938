"""The plain path computes what PEFT computes, for every architecture and kind of adapter, and yields to memory."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import AutoConfig

from jobs.training import plain
from jobs.training.examples import Example
from jobs.training.model import adapter_parameters, initial_values, with_adapters
from jobs.training.optimizer import AdapterWeights
from jobs.training.packing import pack_of
from jobs.training.plain import PlainEngine, check_packing
from tests.jobs.architectures import CONFIGS, model_of

SYSTEM = [11, 12, 13, 14, 15, 16, 17, 18]


def base_of(kind: str = "llama", **changes: Any) -> Any:
    torch.manual_seed(0)
    sizes = CONFIGS.get(kind, CONFIGS["llama"])
    base = model_of(AutoConfig.for_model(kind, **{**sizes, **changes}), "cpu").requires_grad_(False).eval()
    for value in base.parameters():
        value.data += 0.1 * torch.randn_like(value)
    return base


def engine_of(base: Any, *configs: dict[str, Any], **options: Any) -> PlainEngine:
    """An engine over adapters with random values, one for each config."""
    loras = [
        LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "target_modules": "all-linear", **config})
        for config in configs or ({},)
    ]
    peft = with_adapters(base, loras)
    torch.manual_seed(1)
    names = ["default", *(f"trial{number}" for number in range(1, len(loras)))]
    values = [
        {path: value + 0.2 * torch.randn_like(value) for path, value in initial_values(peft, name).items()}
        for name in names
    ]
    return PlainEngine(peft, AdapterWeights(values), longest=40, **options)


@pytest.fixture
def texts() -> list[Example]:
    """Eight examples of 10 to 30 tokens behind the same eight."""
    rng = random.Random(0)
    found = []
    for row, length in enumerate([10, 30, 17, 17, 25, 12, 22, 14]):
        ids = SYSTEM + [rng.randrange(20, 100) for _ in range(length)]
        found.append(Example(row, ids, [i >= 12 for i in range(len(ids))]))
    return found


def gradient(engine: PlainEngine, examples: list[Example], rows: Any = range(8)) -> torch.Tensor:
    """The loss, then the gradient."""
    engine.weights.discard()
    losses = [engine.learn(pack, 0.5) for pack in engine.packs(examples, rows)]
    return torch.cat([torch.stack(losses).sum(0), engine.weights.gradient])


def assert_near(own: torch.Tensor, other: torch.Tensor, allowed: float = 1e-5) -> None:
    assert float((own - other).norm() / other.norm()) < allowed


def test_packs_hold_every_row_within_their_size_and_share_the_prefix(texts: list[Example]) -> None:
    engine = engine_of(base_of(), pack_tokens=64, prefix=SYSTEM)
    packs = list(engine.packs(texts, [7, 1, 2, 3, 4]))
    assert sorted(row for pack in packs for row in pack.rows) == [1, 2, 3, 4, 7]
    assert all(len(pack.token_ids) <= 64 and pack.layout.key_index is not None for pack in packs)
    assert len(packs) == 2


def test_several_adapters_learn_what_each_learns_alone(texts: list[Example]) -> None:
    configs = ({"r": 2}, {"r": 8, "lora_alpha": 32}, {"r": 4, "target_modules": ["q_proj"]})
    together = engine_of(base_of(), *configs)
    pack = next(together.packs(texts, range(8)))
    losses = together.learn(pack, 0.5)
    for i, config in enumerate(configs):
        alone = engine_of(base_of(), config)
        for path, value in alone.weights.masters[0].items():
            value.copy_(together.weights.masters[i][path])
        alone.refresh()
        assert torch.equal(alone.learn(pack, 0.5)[0], losses[i])
        for path, value in alone.weights.gradients[0].items():
            assert torch.equal(value, together.weights.gradients[i][path]), path
        assert torch.equal(alone.losses(pack)[0], losses[i])
    assert len(set(losses.tolist())) == 3


def test_the_bases_losses_are_those_without_adapters_and_leave_them_learning(texts: list[Example]) -> None:
    engine = engine_of(base_of(), {}, {"r": 2})
    pack = next(engine.packs(texts, range(8)))
    base = engine.losses(pack, base=True)
    before = engine.losses(pack)
    for names in engine.weights.masters:
        for value in names.values():
            value.zero_()
    engine.refresh()
    assert torch.equal(engine.losses(pack), base) and not torch.equal(before, base)
    assert base.shape == (2,)
    engine.learn(pack, 1.0)
    # With A and B zero nothing moves; with the values back both learn.
    engine.weights.master.normal_()
    engine.refresh()
    engine.learn(pack, 1.0)
    assert all(value.any() for names in engine.weights.gradients for value in names.values())


def test_gradients_add_up_in_shares(texts: list[Example]) -> None:
    engine = engine_of(base_of())
    pack = next(engine.packs(texts, range(8)))
    engine.learn(pack, 0.5)
    once = engine.weights.gradient.clone()
    engine.learn(pack, 1.5)
    assert_near(engine.weights.gradient, 4 * once)
    assert all(parameter.grad is None for parameter in engine.peft.parameters())


@pytest.mark.parametrize(
    "config", [{"use_dora": True}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}}]
)
def test_every_kind_of_adapter_learns(config: dict[str, Any], texts: list[Example]) -> None:
    engine = engine_of(base_of(), config)
    whole = gradient(engine, texts)
    assert_near(whole, sum(gradient(engine, texts, [row]) for row in range(8)))
    assert all(value.any() for value in engine.weights.gradients[0].values())


def test_dropout_shares_no_prefix_and_is_off_for_losses(texts: list[Example]) -> None:
    engine = engine_of(base_of(), {"lora_dropout": 0.5}, prefix=SYSTEM)
    pack = next(engine.packs(texts, range(8)))
    assert pack.layout.key_index is None
    assert torch.equal(engine.losses(pack), engine.losses(pack))
    assert not torch.equal(engine.learn(pack, 1.0), engine.learn(pack, 1.0))


def test_backward_stops_below_the_first_adapted_layer(texts: list[Example]) -> None:
    engine = engine_of(base_of(), {"target_modules": ["q_proj"], "layers_to_transform": [1, 2]})
    reached = []
    for layer in engine.model.base_model.layers:
        layer.register_forward_hook(lambda _, inputs, out: reached.append(inputs[0].requires_grad))
    gradient(engine, texts)
    assert reached == [False, False, True]


def test_out_of_memory_first_computes_twice_then_takes_less_but_whole_examples(texts: list[Example]) -> None:
    engine = engine_of(base_of(), pack_tokens=100)
    before = gradient(engine, texts)
    computed = []
    engine.model.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_: computed.append(1))
    assert "second time" in str(engine.halve())
    assert_near(gradient(engine, texts), before)
    assert len(computed) == 2 * len(list(engine.packs(texts, range(8))))
    assert "at most 50 tokens" in str(engine.halve())
    assert "at most 40 tokens" in str(engine.halve())
    assert engine.halve() is None
    assert max(len(pack.token_ids) for pack in engine.packs(texts, range(8))) <= 40
    assert_near(gradient(engine, texts), before)


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("gemma2", {"head_dim": 12}, "softcap"),
        ("mamba", {}, "would change"),
        ("jamba", {"use_mamba_kernels": False}, "would change"),
        ("bloom", {}, "code of its own"),
        ("nemotron", {}, "not told where texts begin"),
        ("gpt2", {}, "dropout"),
    ],
)
def test_models_that_cannot_read_packs_say_so_and_are_right_all_the_same(
    kind: str, changes: dict[str, Any], reason: str, texts: list[Example]
) -> None:
    modules = ["in_proj", "x_proj"] if kind == "mamba" else "all-linear"
    engine = engine_of(base_of(kind, **changes), {"target_modules": modules}, prefix=SYSTEM)
    attention = engine.model.config._attn_implementation
    if kind == "gpt2":
        # Its attention drops connections at random, but only while it learns.
        pack = next(engine.packs(texts, [1]))
        engine.learn(pack, 1.0)
    else:
        assert attention in ("sdpa", "eager")
        pack = pack_of(texts, range(8), "cpu")
        parts = [engine.losses(pack_of(texts, [row], "cpu")) for row in range(8)]
        assert_near(engine.losses(pack), torch.stack(parts).sum(0))
        assert next(engine.packs(texts, range(8))).layout.key_index is None
    assert f"kind {kind}" in engine.words[0] and reason in engine.words[0]


def test_the_check_sees_texts_that_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model = base_of()
    assert check_packing(model, 40) is None
    real = plain.hidden_of_pack

    def as_one_text(model: Any, token_ids: Any, positions: Any, layout: Any) -> Any:
        one = pack_of([Example(0, token_ids.tolist(), [True] * len(token_ids))], [0], "cpu")
        return real(model, token_ids, positions, one.layout)

    monkeypatch.setattr(plain, "hidden_of_pack", as_one_text)
    model.set_attn_implementation("sdpa")
    assert "would change" in str(check_packing(model, 40))
    assert model.config._attn_implementation == "sdpa"


def test_the_check_reaches_beyond_a_window_shorter_than_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"layer_types": ["sliding_attention"] * 3, "sliding_window": 16}
    assert check_packing(base_of("gemma3_text", **changes), 40) is None
    model = base_of("gemma3_text", **changes)
    for layer in model.base_model.layers:
        # As a model whose attention modules do not tell what only its masks know.
        layer.self_attn.sliding_window = None
    assert "would change" in str(check_packing(model, 40))
    model.set_attn_implementation("sdpa")
    assert check_packing(model, 16) is None


def test_fp16_gradients_that_overflow_are_computed_again(texts: list[Example]) -> None:
    exact = gradient(engine_of(base_of()), texts)
    engine = engine_of(base_of().half())
    assert "fp16" in engine.words[0]
    assert_near(gradient(engine, texts), exact, 0.02)
    engine._gradient_scale = 2.0**24
    assert_near(gradient(engine, texts), exact, 0.02)
    assert engine._gradient_scale < 2.0**24


def test_a_model_that_exceeds_fp16_computes_in_fp32(texts: list[Example]) -> None:
    base = base_of()
    base.base_model.norm.weight *= 1e6
    engine = engine_of(base.half())
    assert engine.model.dtype == torch.float32 and "fp32" in engine.words[0]
    assert all(value.dtype == torch.float32 for value in adapter_parameters(engine.peft).values())


def test_fp16_gradients_that_overflow_at_every_scale_are_no_silent_zeros(texts: list[Example]) -> None:
    engine = engine_of(base_of().half())
    engine._gradient_scale = 2.0**80
    assert not gradient(engine, texts).isfinite().all()
