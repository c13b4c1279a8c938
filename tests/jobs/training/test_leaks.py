"""Nothing passes between the examples of a pack, and a pack's gradients are those of its examples alone."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch import Tensor
from transformers import AutoConfig

from jobs.training.examples import Example
from jobs.training.model import initial_values, with_adapters
from jobs.training.optimizer import AdapterWeights
from jobs.training.packing import Pack, PackSize, pack_of
from jobs.training.plain import PlainEngine
from tests.jobs.architectures import CONFIGS, model_of

# One that shares its heads, one that norms them, one with windows (below), one with absolute positions, and one
# whose soft-capped scores keep it from reading packs.
KINDS = ["llama", "qwen3", "gemma3_text", "gpt2", "gemma2"]
SIZES = {"gemma2": "llama"}
CHANGES = {
    "gemma3_text": {"layer_types": [*["sliding_attention"] * 2, "full_attention"], "sliding_window": 6},
    "gpt2": {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "gemma2": {"head_dim": 12},
}
SYSTEM = [11, 12, 13, 14, 15, 16, 17, 18]


def engine_of(kind: str, **options: Any) -> PlainEngine:
    """A random model with a random adapter on all its linear layers, in fp32."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**CONFIGS[SIZES.get(kind, kind)], **CHANGES.get(kind, {})})
    base = model_of(config, "cpu").requires_grad_(False)
    for value in base.parameters():
        value.data += 0.1 * torch.randn_like(value)
    peft = with_adapters(base, [LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")])
    values = {name: 0.3 * torch.randn_like(value) for name, value in initial_values(peft).items()}
    return PlainEngine(peft, AdapterWeights([values]), longest=40, **options)


def texts(prefix: list[int], seed: int = 0) -> list[Example]:
    """Eight examples of 10 to 30 tokens and as many again as the prefix has; two have the same length."""
    rng = random.Random(seed)
    lengths = [10, 30, 17, 17, 25, 12, 22, 14]
    found = []
    for row, length in enumerate(lengths):
        ids = prefix + [rng.randrange(20, 100) for _ in range(length)]
        found.append(Example(row, ids, [i >= len(prefix) + 4 for i in range(len(ids))]))
    return found


def changed(examples: list[Example], row: int, kept: int) -> list[Example]:
    """The same with other tokens in one of them behind its first `kept`."""
    rng = random.Random(99)
    other = [
        *examples[row].token_ids[:kept],
        *(rng.randrange(20, 100) for _ in examples[row].token_ids[kept:]),
    ]
    return [replace(one, token_ids=other) if one.row == row else one for one in examples]


def of_rows(pack: Pack, rows: set[int]) -> Pack:
    """The pack in which only those rows count."""
    spans = [span for span in pack.layout.spans if span.length][-len(pack.rows) :]
    weights = torch.zeros_like(pack.weights)
    for row, span in zip(pack.rows, spans, strict=True):
        if row in rows:
            weights[(pack.predicts >= span.start) & (pack.predicts < span.start + span.length)] = 1
    return replace(pack, weights=weights)


def learned(engine: PlainEngine, *packs: Pack) -> tuple[Tensor, Tensor]:
    """Summed loss and gradient."""
    engine.weights.discard()
    loss = sum(engine.learn(pack, 0.5) for pack in packs)
    return torch.as_tensor(loss), engine.weights.gradient.clone()


def assert_near(own: Tensor, other: Tensor) -> None:
    assert float((own - other).norm() / other.norm()) < 1e-5
    assert float(other.norm()) > 0


@pytest.mark.parametrize("prefix", [[], SYSTEM])
@pytest.mark.parametrize("kind", KINDS)
def test_changing_one_example_changes_no_other_by_a_single_bit(kind: str, prefix: list[int]) -> None:
    engine = engine_of(kind)
    shared = prefix if kind != "gemma2" else []
    examples = texts(prefix)
    # In the middle of the pack, and of the length of another one.
    row, others = 3, {0, 1, 2, 4, 5, 6, 7}
    packs = [
        pack_of(rows, range(8), "cpu", shared) for rows in (examples, changed(examples, row, len(prefix)))
    ]
    before, after = (learned(engine, of_rows(pack, others)) for pack in packs)
    assert torch.equal(before[1], after[1]) and torch.equal(before[0], after[0])
    for other in others:
        assert torch.equal(*(engine.losses(of_rows(pack, {other})) for pack in packs))
    assert not torch.equal(*(engine.losses(of_rows(pack, {row})) for pack in packs))


@pytest.mark.parametrize("kind", KINDS)
def test_a_packs_loss_and_gradient_are_those_of_its_examples_alone(kind: str) -> None:
    engine, examples = engine_of(kind), texts([])
    together = learned(engine, pack_of(examples, range(8), "cpu"))
    alone = learned(engine, *(pack_of(examples, [row], "cpu") for row in range(8)))
    assert_near(together[0], alone[0])
    assert_near(together[1], alone[1])


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_those_that_transformers_computes_from_labels(kind: str) -> None:
    engine, examples = engine_of(kind), texts([])
    model = engine.peft.eval()
    own_attention = "eager" if kind == "gemma2" else "sdpa"
    pack = pack_of(examples, range(8), "cpu")
    losses = [engine.losses(of_rows(pack, {row})) for row in range(8)]
    engine.model.set_attn_implementation(own_attention)
    for example, loss in zip(examples, losses, strict=True):
        ids = example.tensors[0][None]
        labels = torch.where(torch.tensor([example.learned]), ids, -100)
        theirs = model(input_ids=ids, labels=labels).loss * example.supervised_tokens
        torch.testing.assert_close(loss[0], theirs.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gemma2"])
def test_a_shared_prefix_changes_neither_loss_nor_gradient(kind: str) -> None:
    engine, examples = engine_of(kind), texts(SYSTEM)
    shared = pack_of(examples, range(8), "cpu", SYSTEM)
    whole = pack_of(examples, range(8), "cpu")
    assert len(shared.token_ids) == len(whole.token_ids) - 7 * len(SYSTEM)
    one, other = learned(engine, shared), learned(engine, whole)
    assert_near(one[0], other[0])
    assert_near(one[1], other[1])


@pytest.mark.parametrize("prefix", [[], SYSTEM])
@pytest.mark.parametrize("kind", KINDS)
def test_filling_changes_neither_loss_nor_gradient(kind: str, prefix: list[int]) -> None:
    engine, examples = engine_of(kind), texts(prefix)
    shared = prefix if kind != "gemma2" else []
    size = PackSize(tokens=320, supervised=200, texts=20, longest=40)
    filled = learned(engine, pack_of(examples, range(8), "cpu", shared, size))
    tight = learned(engine, pack_of(examples, range(8), "cpu", shared))
    assert_near(filled[0], tight[0])
    assert_near(filled[1], tight[1])
