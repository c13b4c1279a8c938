"""The fast path computes what transformers and PEFT compute, whatever is packed with what and kept or not."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from jobs.training import lean
from jobs.training.lean import LeanEngine, _balanced
from jobs.training.model import adapter_parameters
from jobs.training.packing import PackSize, pack_of, plan_run
from tests.jobs.training.lean_cases import (
    KINDS,
    SYSTEM,
    adapted,
    assert_all_near,
    assert_near,
    base_of,
    lean_of,
    learned,
    of_rows,
    texts,
    true_loss,
    truth,
)

pytestmark = pytest.mark.usefixtures("one_thread")

ATTENTION = {"target_modules": ["q_proj", "v_proj"]}


@pytest.mark.parametrize("activations", ["keep", "selective", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_transformers_and_peft(kind: str, activations: str) -> None:
    peft, examples = adapted(base_of(kind)), texts()
    losses, gradient = truth(peft, examples)
    with torch.no_grad(), peft.disable_adapter():
        base_losses = torch.stack([true_loss(peft, example) for example in examples])
    engine = lean_of(peft, activations=activations)
    pack = pack_of(examples, range(8), "cpu")
    own_loss, own = learned(engine, pack)
    assert_near(own_loss, losses.sum())
    assert_all_near(own, gradient)
    alone = torch.cat([engine.losses(of_rows(pack, {row})) for row in range(8)])
    assert_near(alone, losses)
    assert_near(engine.losses(pack, base=True), base_losses.sum()[None])
    assert torch.equal(engine.losses(pack), own_loss[None])


@pytest.mark.parametrize("activations", ["keep", "selective", "full"])
@pytest.mark.parametrize(
    "config",
    [
        ATTENTION,
        {**ATTENTION, "layers_to_transform": [1]},
        {"target_modules": ["q_proj", "k_proj", "o_proj", "up_proj"], "layers_to_transform": [1, 2]},
        {"target_modules": ["gate_proj", "o_proj"], "layers_to_transform": [0, 1]},
        {"target_modules": ["down_proj"], "layers_to_transform": [2]},
        {"use_rslora": True, "r": 5},
        {
            "rank_pattern": {"q_proj": 2, "up_proj": 7},
            "alpha_pattern": {"q_proj": 3, "v_proj": 20, "down_proj": 1},
        },
    ],
    ids=str,
)
def test_any_choice_of_modules_layers_ranks_and_scales_is_right(
    config: dict[str, Any], activations: str
) -> None:
    peft, examples = adapted(base_of("qwen3"), config), texts()
    losses, gradient = truth(peft, examples)
    own_loss, own = learned(lean_of(peft, activations=activations), pack_of(examples, range(8), "cpu"))
    assert_near(own_loss, losses.sum())
    assert_all_near(own, gradient)


def test_backward_stops_at_the_first_adapted_layer() -> None:
    engine = lean_of(adapted(base_of(), {**ATTENTION, "layers_to_transform": [1, 2]}))
    through, backward = [], engine.model.layers.backward

    def watched(layer: int, *rest: Any, **options: Any) -> Any:
        through.append((layer, options["through"]))
        return backward(layer, *rest, **options)

    engine.model.layers.backward = watched
    learned(engine, pack_of(texts(), range(8), "cpu"))
    assert through == [(2, True), (1, False)]


@pytest.mark.parametrize("activations", ["selective", "full"])
def test_keeping_less_keeps_less_and_changes_no_bit(
    activations: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, pack = lean_of(adapted(base_of("qwen3"))), pack_of(texts(), range(8), "cpu")
    kept: list[int] = []
    forward = engine.model.layers.forward

    def watched(*arguments: Any) -> Any:
        *outputs, own = forward(*arguments)
        values = vars(own).values()
        kept.append(sum(value.numel() for value in values if isinstance(value, torch.Tensor)))
        return *outputs, own

    monkeypatch.setattr(engine.model.layers, "forward", watched)
    loss, gradient = learned(engine, pack)
    engine.model.layers.activations = activations
    other_loss, other = learned(engine, pack)
    assert torch.equal(loss, other_loss)
    assert all(torch.equal(value, other[name]) for name, value in gradient.items())
    assert kept[3] < kept[0] * (0.8 if activations == "selective" else 0.15)


@pytest.mark.parametrize("kind", ["qwen3", "smollm3"])
def test_a_shared_prefix_changes_neither_loss_nor_gradient(kind: str) -> None:
    engine = lean_of(adapted(base_of(kind)), prefix=SYSTEM)
    # One that does not begin with it is computed as well.
    examples = [*texts(SYSTEM), replace(texts()[1], row=8)]
    packs = list(engine.packs(examples, range(9)))
    assert [len(pack.rows) for pack in packs] == [8, 1]
    assert len(packs[0].token_ids) == sum(len(one.token_ids) - 8 for one in examples[:8]) + 8
    shared = learned(engine, *packs)
    whole = learned(engine, pack_of(examples, range(9), "cpu"))
    assert_near(shared[0], whole[0])
    assert_all_near(shared[1], whole[1])


@pytest.mark.parametrize("prefix", [[], SYSTEM])
@pytest.mark.parametrize("kind", ["llama with biases", "qwen3"])
def test_filling_changes_neither_loss_nor_gradient(kind: str, prefix: list[int]) -> None:
    engine, examples = lean_of(adapted(base_of(kind))), texts(prefix)
    size = PackSize(tokens=256, supervised=192, texts=20, longest=40)
    filled = learned(engine, pack_of(examples, range(8), "cpu", prefix, size))
    tight = learned(engine, pack_of(examples, range(8), "cpu", prefix))
    assert_near(filled[0], tight[0])
    assert_all_near(filled[1], tight[1])


@pytest.mark.parametrize("prefix", [[], SYSTEM])
@pytest.mark.parametrize("activations", ["keep", "selective", "full"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_changing_one_example_changes_no_other_by_a_single_bit(
    kind: str, activations: str, prefix: list[int]
) -> None:
    engine, examples = lean_of(adapted(base_of(kind)), activations=activations), texts(prefix)
    row, others, rng = 3, {0, 1, 2, 4, 5, 6, 7}, random.Random(9)
    other = [*prefix, *(rng.randrange(20, 100) for _ in examples[row].token_ids[len(prefix) :])]
    changed = [replace(one, token_ids=other) if one.row == row else one for one in examples]
    packs = [pack_of(rows, range(8), "cpu", prefix) for rows in (examples, changed)]
    before, after = (learned(engine, of_rows(pack, others)) for pack in packs)
    assert torch.equal(before[0], after[0])
    assert all(torch.equal(value, after[1][name]) for name, value in before[1].items())
    for one in others:
        assert torch.equal(*(engine.losses(of_rows(pack, {one})) for pack in packs))
    assert not torch.equal(*(engine.losses(of_rows(pack, {row})) for pack in packs))


@pytest.mark.parametrize("tokens", [1, 60, 2048])
def test_a_packs_gradient_is_that_of_its_examples_alone(tokens: int) -> None:
    engine, examples = lean_of(adapted(base_of()), pack_tokens=tokens), texts()
    packs = list(engine.packs(examples, range(8)))
    assert sorted(row for pack in packs for row in pack.rows) == list(range(8))
    assert len(packs) == {1: 8, 60: 3, 2048: 1}[tokens]
    together = learned(engine, *packs)
    alone = learned(engine, *(pack_of(examples, [row], "cpu") for row in range(8)))
    assert_near(together[0], alone[0])
    assert_all_near(together[1], alone[1])


def test_gradients_add_up_in_shares_and_losses_do_not_depend_on_them() -> None:
    engine, pack = lean_of(adapted(base_of())), pack_of(texts(), range(8), "cpu")
    whole = engine.learn(pack, 1.0)
    once = engine.weights.gradient.clone()
    assert_near(engine.learn(pack, 0.25), whole)
    assert_near(engine.weights.gradient, 1.25 * once)


def test_scores_may_be_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, pack = lean_of(adapted(base_of())), pack_of(texts(), range(8), "cpu")
    whole = learned(engine, pack)
    monkeypatch.setattr(lean, "HEAD_ROWS_CPU", 7)
    parts = learned(engine, pack)
    assert_near(parts[0], whole[0])
    assert_all_near(parts[1], whole[1])


def test_a_sweep_moves_every_adapter_as_it_would_move_alone() -> None:
    configs = ({"r": 2}, {"r": 8, "lora_alpha": 32}, {"r": 3, "use_rslora": True})
    rates, examples = [0.01, 0.002, 0.03], texts()
    together = lean_of(adapted(base_of("qwen3"), *configs))
    pack = pack_of(examples, range(8), "cpu")
    initial = [{name: value.clone() for name, value in one.items()} for one in together.weights.masters]
    swept = moved(together, pack, rates)
    assert len({float(losses[-1]) for losses in swept.T}) == 3
    for i, config in enumerate(configs):
        alone = lean_of(adapted(base_of("qwen3"), config))
        for name, value in alone.weights.masters[0].items():
            value.copy_(initial[i][name])
        alone.refresh()
        losses = moved(alone, pack, [rates[i]])
        assert_near(swept[:, i], losses[:, 0])
        assert_near(together.losses(pack, base=True)[i], alone.losses(pack, base=True)[0])


def moved(engine: LeanEngine, pack: Any, rates: list[float]) -> torch.Tensor:
    """(steps, adapters), the losses of five steps."""
    losses = []
    for _ in range(5):
        losses.append(engine.learn(pack, 1 / pack.supervised))
        engine.weights.step(rates)
        engine.refresh()
    return torch.stack(losses)


def test_unused_columns_stay_empty() -> None:
    engine = lean_of(adapted(base_of(), {"r": 3, **ATTENTION}, {"r": 2, **ATTENTION}))
    moved(engine, pack_of(texts(), range(8), "cpu"), [0.01, 0.01])
    fused = engine.model.layers.weights.qkv
    # Two adapters, each with a part on q and a part on v.
    assert fused.rank == 16 and not engine.model.layers.weights.down.rank
    a, b = fused._matrix[:, fused.outputs :], fused._matrix[:, :, fused.inputs :]
    assert a[:, :10, : fused.inputs].all() and not a[:, 10:].any()
    assert not a[:, :, fused.inputs :].any() and not b[:, :, 10:].any()
    # B of q changes q alone, and nothing changes k.
    query, key = 64, 64 + 32
    assert b[:, :query, :3].all() and not b[:, query:, :3].any() and not b[:, query:key].any()


def test_the_masters_are_what_computes_after_refresh() -> None:
    peft, examples = adapted(base_of()), texts()
    engine, pack = lean_of(peft), pack_of(examples, range(8), "cpu")
    before = engine.losses(pack)
    for name, value in engine.weights.masters[0].items():
        value += 0.1
        adapter_parameters(peft)[name].data.copy_(value)
    assert torch.equal(engine.losses(pack), before)
    engine.refresh()
    assert_near(engine.losses(pack)[0], truth(peft, examples)[0].sum())


# -- shapes and memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [[], SYSTEM])
def test_every_pack_of_a_plan_gets_the_recorded_shape(prefix: list[int]) -> None:
    rng = random.Random(0)
    examples = [
        replace(
            one, row=row, token_ids=[*one.token_ids, *[30] * extra], learned=[*one.learned, *[True] * extra]
        )
        for row, (one, extra) in enumerate((texts(prefix)[i % 8], rng.randrange(60)) for i in range(50))
    ]
    lengths = [len(one.token_ids) for one in examples]
    plan = plan_run(lengths, 3, 400, None, 0)
    engine = lean_of(adapted(base_of(), ATTENTION), pack_tokens=256, prefix=prefix)
    engine.record_for(examples, plan)
    size = engine._size
    assert size is not None and size.tokens % 64 == 0 and size.supervised % 64 == 0
    shapes, real = set(), 0
    for rows in plan:
        packs = list(engine.packs(examples, rows))
        assert sorted(row for pack in packs for row in pack.rows) == sorted(rows)
        for pack in packs:
            layout = pack.layout
            keys = None if layout.key_index is None else len(layout.key_index)
            longest = (layout.longest_query, layout.longest_key)
            shapes.add((len(pack.token_ids), len(pack.targets), len(layout.query_offsets), keys, longest))
            real += pack.real_tokens
    assert len(shapes) == 1 and size.tokens <= 1.1 * 256 + 64
    assert real == sum(lengths[row] for rows in plan for row in rows)
    # What was not planned is computed in its own shape.
    assert len(next(engine.packs(list(examples), plan[0])).token_ids) != size.tokens
    long = [*examples, replace(examples[0], row=50, token_ids=[5] * 300, learned=[True] * 300)]
    engine._recorded = long
    assert [len(pack.token_ids) for pack in engine.packs(long, [50])] == [300]
    engine._recorded, engine.pack_tokens = examples, 1 << 20
    for roomy in (
        size,
        PackSize(tokens=size.tokens, supervised=1 << 14, texts=1 << 10, longest=size.longest),
    ):
        engine._size = roomy
        (pack,) = engine.packs(examples, range(50))
        assert len(pack.token_ids) > size.tokens


def test_packs_are_balanced_and_at_most_a_tenth_larger_than_asked_for() -> None:
    rng = random.Random(0)
    for case in range(200):
        lengths = {row: rng.randrange(1, 80) for row in range(1 + case % 25)}
        groups = _balanced(list(lengths), lengths, 100)
        assert sorted(row for group in groups for row in group) == list(lengths)
        sizes = [sum(lengths[row] for row in group) for group in groups]
        assert min(sizes) > 0 and max(sizes) <= 110
        assert max(sizes) - min(sizes) <= 80
    # Three that fit neither in one nor, two by two, in two.
    assert len(_balanced([0, 1, 2], {0: 73, 1: 73, 2: 73}, 100)) == 3
    # A longer one goes alone, and a small rest goes with the others.
    assert _balanced([0, 1, 2], {0: 300, 1: 60, 2: 55}, 100) == [[0], [1], [2]]
    assert _balanced([0, 1], {0: 60, 1: 45}, 100) == [[0, 1]]
    assert _balanced([], {}, 100) == []


def test_out_of_memory_first_keeps_less_then_takes_less() -> None:
    engine, examples = lean_of(adapted(base_of()), pack_tokens=200, activations="selective"), texts()
    before = learned(engine, *engine.packs(examples, range(8)))
    engine.record_for(examples, [list(range(8))])
    assert "computes more again" in str(engine.halve()) and engine.model.layers.activations == "full"
    assert engine.pack_tokens == 200
    assert "100 tokens" in str(engine.halve()) and "50 tokens" in str(engine.halve())
    assert engine.halve() is None and engine.pack_tokens == 50
    packs = list(engine.packs(examples, range(8)))
    assert max(len(pack.token_ids) for pack in packs) <= 55
    after = learned(engine, *packs)
    assert_near(after[0], before[0])
    assert_all_near(after[1], before[1])


def test_running_out_of_memory_in_the_bases_losses_leaves_the_adapters_on() -> None:
    engine, pack = lean_of(adapted(base_of())), pack_of(texts(), range(8), "cpu")
    before, forward = engine.learn(pack, 1.0), engine.model.layers.forward

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError

    engine.model.layers.forward = full
    with pytest.raises(torch.OutOfMemoryError):
        engine.losses(pack, base=True)
    engine.model.layers.forward = forward
    assert torch.equal(engine.learn(pack, 1.0), before)
