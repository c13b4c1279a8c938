"""The optimiser moves as torch's own AdamW does, by a rate that rises and falls."""

from __future__ import annotations

import math

import torch
from torch.nn import Parameter

from jobs.training.optimizer import CLIP_NORM, AdapterWeights, learning_rate_at


def test_the_rate_warms_up_to_its_peak_and_falls_towards_zero() -> None:
    rates = [learning_rate_at(step, 100, 1e-3) for step in range(1, 101)]
    assert rates[0] == 1e-3 / 5 and max(rates) == rates[4] == 1e-3
    assert rates[5:] == sorted(rates[5:], reverse=True) and 0 < rates[-1] < 1e-5
    assert all(learning_rate_at(step, total, 1.0) > 0 for total in (1, 2, 3) for step in range(1, total + 1))


def test_clipped_steps_equal_adamw_with_clipped_gradients() -> None:
    torch.manual_seed(0)
    ours = [Parameter(torch.randn(3, 4)), Parameter(torch.randn(5))]
    theirs = [Parameter(p.detach().clone()) for p in ours]
    weights, optimizer = AdapterWeights(ours), torch.optim.AdamW(theirs, lr=1e-2, weight_decay=0.0)
    for _ in range(3):
        parts = [[torch.randn_like(p) for p in ours] for _ in range(2)]
        for part in parts:
            for parameter, gradient in zip(ours, part, strict=True):
                parameter.grad = gradient.clone()
            weights.collect()
        for i, parameter in enumerate(theirs):
            parameter.grad = parts[0][i] + parts[1][i]
        norm = torch.nn.utils.clip_grad_norm_(theirs, CLIP_NORM)
        optimizer.step()
        assert math.isclose(weights.step(1e-2), float(norm), rel_tol=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_a_gradient_that_is_no_number_moves_nothing() -> None:
    parameter = Parameter(torch.ones(4))
    weights = AdapterWeights([parameter])
    parameter.grad = torch.tensor([1.0, math.nan, 1.0, 1.0])
    weights.collect()
    assert math.isnan(weights.step(1e-2))
    assert torch.equal(parameter, torch.ones(4)) and not weights.gradient.any()
