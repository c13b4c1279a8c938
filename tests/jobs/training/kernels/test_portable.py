"""Every function is what its formula says, and every backward is what autograd makes of the formula in fp64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, rms_norm, silu

from jobs.training.kernels import portable
from tests.jobs.training.kernels.cases import (
    EPS,
    EXTRA,
    HEAD,
    HEADS,
    HIDDEN,
    KV_HEADS,
    TOKENS,
    cases,
    error,
    turns,
    wide,
)

CLOSE = 2e-6
WIDTH = (HEADS + 2 * KV_HEADS) * HEAD


@pytest.fixture(autouse=True)
def _same_values() -> None:
    torch.manual_seed(0)


def _gradient(result: Tensor, d_result: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(result, at, d_result.double())[0]


def _close(own: Tensor, exact: Tensor) -> None:
    assert error([own], [exact]) < CLOSE


def _turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads (tokens, heads, size) with their first pairs turned as complex numbers."""
    half = cos.shape[1] // 2
    numbers = torch.complex(heads[..., :half], heads[..., half : 2 * half])
    numbers = numbers * torch.complex(cos[:, None, :half].double(), sin[:, None, :half].double())
    return torch.cat([numbers.real, numbers.imag, heads[..., 2 * half :]], dim=-1)


def test_norm_with_residual_beside() -> None:
    residual, delta, d_normed, d_residual = (wide(TOKENS, HIDDEN) for _ in range(4))
    weight = torch.rand(HIDDEN) + 0.5
    total, normed, inverse_rms = portable.add_norm(residual, delta, weight, EPS, EXTRA)
    assert torch.equal(total, residual + delta)
    assert normed.shape == (TOKENS, HIDDEN + EXTRA)
    exact = total.double().requires_grad_()
    by_torch = rms_norm(exact, (HIDDEN,), weight.double(), EPS)
    _close(normed[:, :HIDDEN], by_torch)
    _close(portable.norm_again(total, inverse_rms, weight, EXTRA)[:, :HIDDEN], by_torch)

    own = portable.norm_backward(d_normed, total, inverse_rms, weight, d_residual, EXTRA)
    expected = _gradient(by_torch, d_normed, exact)
    _close(own[:, :HIDDEN], expected + d_residual)
    alone = portable.norm_backward(d_normed, total, inverse_rms, weight, None, 0)
    _close(alone, expected)


@pytest.mark.parametrize("rotated", [HEAD, HEAD - 4])
def test_turn_and_back(rotated: int) -> None:
    cos, sin = turns(rotated)
    qkv = wide(TOKENS, WIDTH)
    exact = qkv.double().requires_grad_()
    by_torch = _turned(exact.unflatten(1, (-1, HEAD))[:, : HEADS + KV_HEADS], cos, sin)
    turned = qkv.clone()
    portable.rotate_(turned, cos, sin, HEADS + KV_HEADS, HEAD)
    _close(turned[:, : (HEADS + KV_HEADS) * HEAD], by_torch.flatten(1))
    assert torch.equal(turned[:, -KV_HEADS * HEAD :], qkv[:, -KV_HEADS * HEAD :])

    d_query, d_key, d_value = (torch.randn(TOKENS, n, HEAD) for n in (HEADS, KV_HEADS, KV_HEADS))
    own = portable.rotate_backward(d_query, d_key, d_value, cos, sin, EXTRA)
    expected = _gradient(by_torch, torch.cat([d_query, d_key], dim=1), exact)
    expected[:, -KV_HEADS * HEAD :] = d_value.flatten(1)
    _close(own[:, :WIDTH], expected)


def test_normed_heads_and_back() -> None:
    cos, sin = turns()
    qkv, norms = wide(TOKENS, WIDTH), (torch.rand(HEAD) + 0.5, torch.rand(HEAD) + 0.5)
    exact = qkv.double().requires_grad_()
    query, key, _ = exact.unflatten(1, (-1, HEAD)).split([HEADS, KV_HEADS, KV_HEADS], dim=1)
    normed = [rms_norm(h, (HEAD,), n.double(), EPS) for h, n in zip((query, key), norms, strict=True)]
    by_torch = _turned(torch.cat(normed, dim=1), cos, sin)
    before = qkv.clone()
    turned, inverse_rms = portable.norm_rotate(qkv, *norms, EPS, cos, sin, HEADS, KV_HEADS)
    assert torch.equal(qkv, before)
    _close(turned, by_torch.flatten(1))

    d_query, d_key, d_value = (torch.randn(TOKENS, n, HEAD) for n in (HEADS, KV_HEADS, KV_HEADS))
    own = portable.norm_rotate_backward(d_query, d_key, d_value, qkv, inverse_rms, *norms, cos, sin, EXTRA)
    expected = _gradient(by_torch, torch.cat([d_query, d_key], dim=1), exact)
    expected[:, -KV_HEADS * HEAD :] = d_value.flatten(1)
    _close(own[:, :WIDTH], expected)


def test_swiglu_and_back() -> None:
    gate_up, d_product = wide(TOKENS, 2 * HIDDEN), wide(TOKENS, HIDDEN)
    exact = gate_up.double().requires_grad_()
    by_torch = silu(exact[:, :HIDDEN]) * exact[:, HIDDEN:]
    _close(portable.swiglu(gate_up, EXTRA)[:, :HIDDEN], by_torch)
    own = portable.swiglu_backward(d_product, gate_up, EXTRA)
    _close(own[:, : 2 * HIDDEN], _gradient(by_torch, d_product, exact))


def test_cross_entropy_leaves_its_gradient() -> None:
    logits, targets = 3 * torch.randn(TOKENS, 500), torch.randint(0, 500, (TOKENS,))
    weights = torch.rand(TOKENS)
    exact = logits.double().requires_grad_()
    by_torch = cross_entropy(exact, targets, reduction="none") * weights
    _close(portable.cross_entropy_(logits, targets, weights), by_torch)
    _close(logits, _gradient(by_torch.sum(), torch.ones(()), exact))


def test_4_bits_are_levels_times_scales() -> None:
    codes, scales = torch.tensor([[0x10, 0x32]], dtype=torch.uint8), torch.tensor([[2.0, 3.0]])
    target = torch.empty(1, 4)
    portable.unpack_nf4(codes, scales, torch.arange(16.0), target)
    assert target.tolist() == [[0, 2, 6, 9]]


@pytest.mark.parametrize("name", cases(torch.float32))
def test_bf16_only_rounds(name: str) -> None:
    results = cases(torch.bfloat16)[name](portable)
    values = [result.bfloat16().float() for result in cases(torch.float32)[name](portable)]
    assert all(result.isfinite().all() for result in results)
    # Inputs are rounded as well, each to 2⁻⁹.
    assert error(results, values) < 0.05
