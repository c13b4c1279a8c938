"""Tiny models of every kind that the fast path knows, and what transformers and PEFT compute with them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoConfig

from jobs.training.examples import Example
from jobs.training.lean import LeanEngine
from jobs.training.lean_model import ordered, scales_of, take_apart
from jobs.training.model import adapter_names, adapter_parameters, initial_values, with_adapters
from jobs.training.optimizer import AdapterWeights
from jobs.training.packing import Pack
from tests.jobs.architectures import model_of

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "mistral": {"sliding_window": None, "head_dim": 24},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 32},
    "smollm3": {"no_rope_layers": [1, 0, 1]},
    "phi3": {"partial_rotary_factor": 0.5},
}
CPU = torch.device("cpu")
SYSTEM = [11, 12, 13, 14, 15, 16, 17, 18]


def base_of(kind: str = "llama", dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """A random frozen model; biases and norms are random as well."""
    torch.manual_seed(0)
    values = {**_SIZES, **KINDS.get(kind, {}), **changes}
    base = model_of(AutoConfig.for_model(kind.split()[0], **values), "cpu")
    for value in base.parameters():
        value.data += 0.1 * torch.randn_like(value)
    return base.to(dtype).requires_grad_(False).eval()


def adapted(base: Any, *configs: Mapping[str, Any]) -> Any:
    """A `PeftModel` with an adapter for each config, all of their values random."""
    loras = [
        LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "target_modules": "all-linear", **config})
        for config in configs or ({},)
    ]
    peft = with_adapters(base, loras)
    torch.manual_seed(1)
    for name in adapter_names(len(loras)):
        for value in adapter_parameters(peft, name).values():
            value.data += 0.05 * torch.randn_like(value)
    return peft


def lean_of(peft: Any, in_4_bits: bool = False, engine: type[LeanEngine] = LeanEngine, **options: Any) -> Any:
    """A fast-path engine that takes the model apart."""
    base, names = peft.get_base_model(), adapter_names(len(peft.peft_config))
    initial = [ordered(initial_values(peft, name)) for name in names]
    model = take_apart(base, initial, [scales_of(base, name) for name in names], CPU, in_4_bits)
    return engine(model, AdapterWeights(initial), **{"pack_tokens": 2048, **options})


def texts(prefix: Sequence[int] = (), seed: int = 0) -> list[Example]:
    """Eight examples of 10 to 30 tokens behind `prefix`, two of them of the same length."""
    rng = random.Random(seed)
    found = []
    for row, length in enumerate([10, 30, 17, 17, 25, 12, 22, 14]):
        ids = [*prefix, *(rng.randrange(20, 100) for _ in range(length))]
        found.append(Example(row, ids, [i >= len(prefix) + 4 for i in range(len(ids))]))
    return found


def of_rows(pack: Pack, rows: set[int]) -> Pack:
    """The pack in which only those rows count."""
    spans = [span for span in pack.layout.spans if span.length][bool(pack.layout.spans[-1].prefix) :]
    weights = torch.zeros_like(pack.weights)
    for row, span in zip(pack.rows, spans, strict=False):
        if row in rows:
            weights[(pack.predicts >= span.start) & (pack.predicts < span.start + span.length)] = 1
    return replace(pack, weights=weights)


def true_loss(peft: Any, example: Example) -> Tensor:
    """The summed loss of one text by transformers and PEFT."""
    token_ids, learned = example.tensors
    logits = peft(input_ids=token_ids[None], use_cache=False).logits[0]
    return cross_entropy(logits[learned - 1].float(), token_ids[learned], reduction="sum")


def truth(peft: Any, examples: Iterable[Example], name: str = "default") -> tuple[Tensor, dict[str, Tensor]]:
    """Each text's loss, and the gradient of their sum by parameter name, text by text with autograd."""
    peft.set_adapter(name)
    peft.zero_grad()
    losses = []
    for example in examples:
        losses.append(true_loss(peft, example))
        losses[-1].backward()
    found = {path: value.grad.clone() for path, value in adapter_parameters(peft, name).items()}
    peft.zero_grad()
    return torch.stack(losses).detach(), found


def learned(engine: LeanEngine, *packs: Pack, adapter: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """Summed loss and gradient by parameter name."""
    engine.weights.discard()
    loss = torch.stack([engine.learn(pack, 1.0)[adapter] for pack in packs]).sum()
    return loss, {name: value.clone() for name, value in engine.weights.gradients[adapter].items()}


def assert_near(own: Tensor, other: Tensor, allowed: float = 1e-5, what: str = "") -> None:
    """Equal up to a relative error; nothing is near to zero."""
    assert other.norm() > 0, what
    error = float((own - other).norm() / other.norm())
    assert error < allowed, (what, error)


def assert_all_near(own: Mapping[str, Tensor], other: Mapping[str, Tensor], allowed: float = 1e-5) -> None:
    """Every parameter's gradient equal up to a relative error."""
    assert own.keys() == other.keys()
    for name, value in other.items():
        assert_near(own[name], value, allowed, name)
