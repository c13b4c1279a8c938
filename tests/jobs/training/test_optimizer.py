"""Every adapter moves as torch's own AdamW moves it alone, by a rate that rises and falls."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from jobs.training.optimizer import CLIP_NORM, AdapterWeights, learning_rate_at

LAYER = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.default.weight"


def adapter(rank: int, layers: int = 3) -> dict[str, Tensor]:
    """Random values under PEFT's names; odd sizes, so that no part begins at a round address."""
    shapes = {"A": (rank, 33), "B": (17, rank)}
    return {
        LAYER.format(i, part): torch.randn(shape) for i in range(layers) for part, shape in shapes.items()
    }


def collect(weights: AdapterWeights, gradients: list[dict[str, Tensor]]) -> None:
    for own, given in zip(weights.gradients, gradients, strict=True):
        for name, gradient in given.items():
            own[name] += gradient


def random_like(adapters: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    return [{name: torch.randn_like(value) for name, value in names.items()} for names in adapters]


def test_the_rate_warms_up_to_its_peak_and_falls_towards_zero() -> None:
    rates = [learning_rate_at(step, 100, 1e-3) for step in range(1, 101)]
    assert rates[0] == 1e-3 / 5 and max(rates) == rates[4] == 1e-3
    assert rates[5:] == sorted(rates[5:], reverse=True) and 0 < rates[-1] < 1e-5
    assert all(learning_rate_at(step, total, 1.0) > 0 for total in (1, 2, 3) for step in range(1, total + 1))


@pytest.mark.parametrize(("ratio", "size"), [(1.0, 1.0), (16.0, 1.0), (1.0, 1e-3)])
def test_clipped_steps_equal_adamw_with_clipped_gradients(ratio: float, size: float) -> None:
    torch.manual_seed(0)
    ours = adapter(4)
    theirs = {name: Parameter(value.clone()) for name, value in ours.items()}
    weights = AdapterWeights([ours], ratio)
    groups = [
        {"params": [p for name, p in theirs.items() if part in name], "lr": rate}
        for part, rate in (("lora_A", 1e-2), ("lora_B", 1e-2 * ratio))
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    for _ in range(3):
        parts = [random_like([ours]) for _ in range(2)]
        for part in parts:
            collect(weights, [{name: size * value for name, value in part[0].items()}])
        for name, parameter in theirs.items():
            parameter.grad = size * (parts[0][0][name] + parts[1][0][name])
        norm = torch.nn.utils.clip_grad_norm_(theirs.values(), CLIP_NORM)
        optimizer.step()
        assert math.isclose(weights.step([1e-2])[0], float(norm), rel_tol=1e-5)
        assert not weights.gradient.any()
    for name, mine in weights.masters[0].items():
        torch.testing.assert_close(mine, theirs[name].detach())


@pytest.mark.parametrize("ratio", [1.0, 16.0])
def test_adapters_side_by_side_move_bit_for_bit_as_alone(ratio: float) -> None:
    torch.manual_seed(0)
    adapters, rates = [adapter(2), adapter(4), adapter(7)], [1e-2, 3e-3, 1e-4]
    together = AdapterWeights(adapters, ratio)
    alone = [AdapterWeights([names], ratio) for names in adapters]
    for step in range(5):
        gradients = random_like(adapters)
        if step == 2:
            # A broken neighbour disturbs nobody, and goes on as if the step had never been.
            gradients[1][LAYER.format(1, "B")][0, 0] = math.nan
        collect(together, gradients)
        for weights, own in zip(alone, gradients, strict=True):
            collect(weights, [own])
        norms = together.step(rates)
        single = [weights.step([rate])[0] for weights, rate in zip(alone, rates, strict=True)]
        assert [norm for norm in norms if norm == norm] == [norm for norm in single if norm == norm]
        assert math.isnan(norms[1]) == (step == 2)
    for masters, weights in zip(together.masters, alone, strict=True):
        assert all(torch.equal(masters[name], value) for name, value in weights.masters[0].items())


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_moves_nothing(broken: float) -> None:
    torch.manual_seed(0)
    adapters = [adapter(4)]
    weights, reference = AdapterWeights(adapters), AdapterWeights(adapters)
    steps = [random_like(adapters) for _ in range(2)]
    collect(weights, [{LAYER.format(0, "A"): torch.full((4, 33), broken)}])
    assert not math.isfinite(weights.step([1e-2])[0])
    assert torch.equal(weights.master, reference.master) and not weights.gradient.any()
    # Nor are its averages spoilt, nor the step counted.
    for gradients in steps:
        for one in (weights, reference):
            collect(one, gradients)
            one.step([1e-2])
    assert torch.equal(weights.master, reference.master)


def test_masters_hold_steps_too_small_for_bf16_and_first_all_a_then_all_b() -> None:
    torch.manual_seed(0)
    initial = {name: value.bfloat16() for name, value in adapter(4).items()}
    weights = AdapterWeights([initial])
    assert weights.master.dtype == torch.float32
    names = list(weights.masters[0])
    assert names == sorted(names, key=lambda name: "lora_B" in name) and set(names) == set(initial)
    start = 0
    for view in weights.masters[0].values():
        assert view.data_ptr() == weights.master[start:].data_ptr()
        start += view.numel()
    collect(weights, random_like([initial]))
    weights.step([1e-5])
    assert all(0 < (value - initial[name]).abs().max() < 1e-4 for name, value in weights.masters[0].items())


def test_a_loaded_state_goes_on_bit_for_bit() -> None:
    torch.manual_seed(0)
    adapters = [adapter(2), adapter(5)]
    weights, other = AdapterWeights(adapters, 4.0), AdapterWeights([adapter(2), adapter(5)], 4.0)
    steps = [random_like(adapters) for _ in range(4)]
    for gradients in steps[:2]:
        collect(weights, gradients)
        weights.step([1e-2, 1e-3])
    collect(weights, steps[2])
    other.load_state({name: value.clone() for name, value in weights.state().items()})
    for one in (weights, other):
        collect(one, steps[3])
        one.step([1e-2, 1e-3])
    assert torch.equal(weights.master, other.master)
    assert all(
        torch.equal(a, b) for a, b in zip(weights.state().values(), other.state().values(), strict=True)
    )
