"""What the fast path cannot compute it says in words, and a model that is taken apart computes as before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig

from jobs.lora.memory import LEAN
from jobs.training.lean_model import ordered, scales_of, take_apart, unsupported
from jobs.training.model import initial_values
from tests.jobs.architectures import CONFIGS, model_of
from tests.jobs.training.lean_cases import CPU, KINDS, adapted, base_of, lean_of

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = torch.arange(3, 40).view(1, -1)
FACTORS = [1.0] * 4


def refused(base: Any, longest: int = 64, **config: Any) -> str | None:
    peft = adapted(base, {"target_modules": ["q_proj", "v_proj"], **config})
    return unsupported(peft.get_base_model(), [initial_values(peft)], longest)


@pytest.mark.parametrize("kind", KINDS)
def test_all_known_kinds_are_taken_with_adapters_everywhere(kind: str) -> None:
    base = base_of(kind)
    assert unsupported(base, [initial_values(adapted(base))], 128) is None
    assert {kind.split()[0] for kind in KINDS} == LEAN


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("llama", {"hidden_act": "gelu"}, "activation function gelu is not known"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "unusual way",
        ),
        ("mistral", {"sliding_window": 32}, "sees only 32 tokens back, and the longest example has 64"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 32}, "sees only 32 tokens back"),
        (
            "phi3",
            {
                "partial_rotary_factor": 0.5,
                "original_max_position_embeddings": 32,
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "short_factor": FACTORS,
                    "long_factor": FACTORS,
                    "partial_rotary_factor": 0.5,
                    "original_max_position_embeddings": 32,
                },
            },
            "positions change beyond 32 tokens",
        ),
    ],
)
def test_a_config_it_cannot_compute_is_named(kind: str, changes: dict[str, Any], reason: str) -> None:
    modules = {"target_modules": "all-linear"}
    assert reason in str(refused(base_of(kind, **changes), **modules))
    if "64" in reason or "tokens" in reason:
        assert refused(base_of(kind, **changes), longest=32, **modules) is None


def test_a_window_that_is_switched_off_is_none() -> None:
    assert refused(base_of("qwen2", use_sliding_window=False, sliding_window=32)) is None


def test_fp16_is_refused() -> None:
    assert "bf16" in str(refused(base_of(dtype=torch.float16)))
    assert refused(base_of(dtype=torch.bfloat16)) is None


@pytest.mark.parametrize("kind", ["gemma3_text", "olmo2", "granite"])
def test_unknown_kinds_are_named(kind: str) -> None:
    base = model_of(AutoConfig.for_model(kind, **CONFIGS[kind]), "cpu")
    assert refused(base) == f"models of the kind {kind} are not known to the fast path"


def test_an_output_layer_with_a_bias_is_refused() -> None:
    base = base_of()
    base.lm_head = nn.Linear(64, 100)
    assert "output layer has a bias" in str(refused(base))


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj", "lm_head"]},
        {"use_dora": True},
        {"lora_bias": True},
    ],
)
def test_parts_that_it_does_not_know_are_named(config: dict[str, Any]) -> None:
    assert "is not a part of an adapter" in str(refused(base_of(tie_word_embeddings=False), **config))


def test_adapted_embeddings_are_refused() -> None:
    names = {"base_model.model.model.embed_tokens.lora_embedding_A.default": torch.zeros(4, 100)}
    assert "embed_tokens" in str(unsupported(base_of(), [names], 64))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"rank_pattern": {"layers.1.self_attn.q_proj": 2}}, "differs from layer to layer"),
        ({"layers_to_transform": [0, 2]}, "differs from layer to layer"),
        (
            {"target_modules": r".*layers\.(0\.self_attn\.q|1\.self_attn\.v)_proj"},
            "stand in different layers",
        ),
    ],
)
def test_adapters_that_differ_by_layer_are_refused(config: dict[str, Any], reason: str) -> None:
    assert reason in str(refused(base_of(), **config))


def test_adapters_of_a_sweep_in_different_layers_are_refused() -> None:
    config = {"target_modules": ["q_proj"]}
    peft = adapted(
        base_of(), {**config, "layers_to_transform": [0, 1]}, {**config, "layers_to_transform": [1, 2]}
    )
    values = [initial_values(peft, name) for name in ("default", "trial1")]
    assert "stand in different layers" in str(unsupported(peft.get_base_model(), values, 64))
    assert unsupported(peft.get_base_model(), values[:1], 64) is None


def test_order_is_module_by_module_from_the_lowest_layer_up() -> None:
    base = base_of(num_hidden_layers=11)
    values = ordered(initial_values(adapted(base, {"target_modules": ["q_proj", "up_proj"]})))
    layers = [(name.split(".")[6], int(name.split(".")[4])) for name in values if ".lora_A." in name]
    assert layers == [(module, layer) for module in ("up_proj", "q_proj") for layer in range(11)]


@torch.no_grad()
def logits(peft: Any) -> Tensor:
    return peft.eval()(input_ids=IDS).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_taken_apart_computes_the_same_from_views_of_the_fused_matrices(kind: str) -> None:
    peft = adapted(base_of(kind))
    before = logits(peft)
    engine = lean_of(peft)
    torch.testing.assert_close(logits(peft), before, rtol=1e-5, atol=1e-5)
    # No weight is in memory twice, and what is changed in one place is changed in the other.
    frozen = {name: value for name, value in peft.named_parameters() if name.endswith("base_layer.weight")}
    fused = {linear._matrix.untyped_storage().data_ptr() for linear in engine.model.linears}
    assert len(frozen) == {"phi3": 4}.get(kind, 7) * 3 and len(fused) == 4
    assert {value.untyped_storage().data_ptr() for value in frozen.values()} == fused
    engine.model.layers.weights.down._matrix[0].zero_()
    assert not torch.allclose(logits(peft), before)


def test_a_base_without_peft_in_it_can_be_taken_apart() -> None:
    peft = adapted(base_of())
    values, scales = ordered(initial_values(peft)), scales_of(peft.get_base_model(), "default")
    base = base_of()
    before = logits(base)
    model = take_apart(base, [values], [scales], CPU)
    torch.testing.assert_close(logits(base), before, rtol=1e-5, atol=1e-5)
    assert (model.count, model.first_adapted) == (3, 0)


def test_scales_are_those_of_each_module_and_adapter() -> None:
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"]}
    peft = adapted(
        base_of(),
        {**config, "layers_to_transform": [1, 2], "alpha_pattern": {"up_proj": 2}},
        {**config, "use_rslora": True},
    )
    base = peft.get_base_model()
    assert scales_of(base, "default") == {"self_attn.q_proj": 2.0, "mlp.up_proj": 0.5}
    assert scales_of(base, "trial1") == {"self_attn.q_proj": 4.0, "mlp.up_proj": 4.0}
