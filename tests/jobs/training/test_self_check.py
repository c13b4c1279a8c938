"""A fast path that computes something else is seen before it trains anything, and the look leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from jobs.training.examples import Example
from jobs.training.lean import LeanEngine
from jobs.training.lean_layer import Positions
from jobs.training.model import adapter_parameters
from jobs.training.packing import Pack, pack_of
from jobs.training.self_check import CHECKED_TOKENS, difference
from tests.jobs.training.lean_cases import KINDS, adapted, base_of, lean_of, texts

pytestmark = pytest.mark.usefixtures("one_thread")

FORMATS = [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_right_one_passes(kind: str, dtype: torch.dtype) -> None:
    peft = adapted(base_of(kind, dtype))
    assert difference(lean_of(peft), peft, texts()) is None


@pytest.mark.parametrize("options", [{"in_4_bits": True}, {"activations": "full"}])
def test_the_right_one_passes_with_less_memory(options: dict[str, Any]) -> None:
    peft = adapted(base_of("qwen3", torch.bfloat16), {"target_modules": ["q_proj", "v_proj"]}, {"r": 2})
    assert difference(lean_of(peft, **options), peft, texts()) is None


class AsOneText(LeanEngine):
    """Every text of a pack sees those before it."""

    def _positions(self, pack: Pack) -> Positions:
        whole = Example(0, pack.token_ids.tolist(), [True] * len(pack.token_ids))
        return replace(super()._positions(pack), layout=pack_of([whole], [0], "cpu").layout)


class TurnedWrongly(LeanEngine):
    """Sine and cosine swapped."""

    def _positions(self, pack: Pack) -> Positions:
        positions = super()._positions(pack)
        return replace(positions, cos=positions.sin, sin=positions.cos)


class PlacedWrongly(LeanEngine):
    """Two tokens in every place."""

    def _positions(self, pack: Pack) -> Positions:
        return super()._positions(replace(pack, positions=pack.positions // 2))


class TooLarge(LeanEngine):
    """The right direction, one and a half times as long."""

    def _learn(self, pack: Pack) -> torch.Tensor:
        losses = super()._learn(pack)
        self.weights.gradient.mul_(1.5)
        return losses


class WithoutScale(LeanEngine):
    """Gradients of A as if the scale were 1."""

    def _learn(self, pack: Pack) -> torch.Tensor:
        losses = super()._learn(pack)
        for name, value in self.weights.gradients[0].items():
            if ".lora_A." in name:
                value.mul_(0.25)
        return losses


class OtherLoss(LeanEngine):
    """The right gradient of another loss."""

    def _learn(self, pack: Pack) -> torch.Tensor:
        return super()._learn(pack) * 1.1


def with_other_eps(engine: LeanEngine) -> None:
    engine.model.layers.sizes = replace(engine.model.layers.sizes, eps=0.1)


def with_other_scores(engine: LeanEngine) -> None:
    engine.model.layers.sizes = replace(engine.model.layers.sizes, scale=2.0)


def with_other_norms(engine: LeanEngine) -> None:
    engine.model.final_norm = engine.model.final_norm + 0.5


def with_lost_weights(engine: LeanEngine) -> None:
    engine.model.layers.weights.gate_up._matrix[1, :64, :64] = 0


def with_numbers_that_are_none(engine: LeanEngine) -> None:
    engine.model.final_norm = engine.model.final_norm * float("nan")


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize(
    "broken", [AsOneText, TurnedWrongly, PlacedWrongly, TooLarge, WithoutScale, OtherLoss]
)
def test_a_broken_engine_is_caught(broken: type[LeanEngine], dtype: torch.dtype) -> None:
    peft = adapted(base_of("llama", dtype), {"lora_alpha": 16})
    engine = lean_of(peft, engine=broken)
    assert "it computes something else here" in str(difference(engine, peft, texts()))


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize(
    "break_", [with_other_eps, with_other_scores, with_other_norms, with_numbers_that_are_none]
)
def test_a_broken_model_is_caught(break_: Callable[[LeanEngine], None], dtype: torch.dtype) -> None:
    peft = adapted(base_of("llama", dtype))
    engine = lean_of(peft)
    break_(engine)
    assert "it computes something else here" in str(difference(engine, peft, texts()))


def test_adapters_that_reach_into_each_others_tokens_are_caught() -> None:
    peft = adapted(base_of(), {}, {"r": 2})
    engine = lean_of(peft)
    for linear in engine.model.linears:
        linear._mask.fill_(1)
    assert "it computes something else here" in str(difference(engine, peft, texts()))


def test_a_scale_that_differs_by_layer_is_caught() -> None:
    peft = adapted(base_of(), {"alpha_pattern": {"layers.1.self_attn.q_proj": 64}})
    assert "it computes something else here" in str(difference(lean_of(peft), peft, texts()))


@pytest.mark.parametrize("engine", [LeanEngine, TurnedWrongly])
def test_everything_is_afterwards_as_it_was(engine: type[LeanEngine]) -> None:
    peft, pack = adapted(base_of(), {}, {"r": 2}), pack_of(texts(), range(8), "cpu")
    own = lean_of(peft, engine=engine)
    before = own.weights.master.clone(), own.losses(pack), torch.get_rng_state()
    parameters = {name: value.clone() for name, value in adapter_parameters(peft).items()}
    assert (difference(own, peft, texts()) is None) is (engine is LeanEngine)
    after = own.weights.master, own.losses(pack), torch.get_rng_state()
    assert all(torch.equal(*both) for both in zip(before, after, strict=True))
    assert not own.weights.gradient.any()
    for name, value in adapter_parameters(peft).items():
        assert torch.equal(value, parameters[name]) and value.grad is None


def test_an_error_on_the_way_leaves_no_trace_either() -> None:
    peft, pack = adapted(base_of()), pack_of(texts(), range(8), "cpu")
    own = lean_of(peft)
    before, losses = own.weights.master.clone(), own.losses(pack)
    parameters = {name: value.clone() for name, value in adapter_parameters(peft).items()}

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError

    hook = peft.get_base_model().base_model.layers[2].register_forward_hook(full)
    with pytest.raises(torch.OutOfMemoryError):
        difference(own, peft, texts())
    hook.remove()
    assert torch.equal(own.weights.master, before) and torch.equal(own.losses(pack), losses)
    assert not own.weights.gradient.any()
    assert all(torch.equal(value, parameters[name]) for name, value in adapter_parameters(peft).items())


def test_fresh_adapters_without_effect_are_checked_with_an_effect() -> None:
    peft = adapted(base_of(), {"lora_alpha": 16})
    for name, value in adapter_parameters(peft).items():
        if ".lora_B." in name:
            value.data.zero_()
    engine = lean_of(peft, engine=WithoutScale)
    assert "it computes something else here" in str(difference(engine, peft, texts()))


def test_long_examples_are_read_around_their_first_learned_token() -> None:
    peft, read = adapted(base_of(max_position_embeddings=4096)), []
    long = Example(0, [5] * 3000, [i >= 2000 for i in range(3000)])
    peft.get_base_model().base_model.embed_tokens.register_forward_hook(
        lambda _, inputs, out: read.append(inputs[0].shape[1])
    )
    assert difference(lean_of(peft), peft, [long, *texts()]) is None
    assert read == [CHECKED_TOKENS, 10]
