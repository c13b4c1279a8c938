"""The operations between a decoder layer's matrix products in plain torch.

Several results are written into the first columns of a wider tensor: the `extra` columns behind them belong to
the adapters, whose part of the product is computed together with the frozen one (see `adapted_linear`). They
come uninitialised. Statistics and sums are in fp32, everything else in the format of the inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def wide_copy(values: Tensor, extra: int) -> Tensor:
    """`values` (tokens, width) in a tensor with `extra` more columns."""
    wide = values.new_empty(len(values), values.shape[1] + extra)
    wide[:, : values.shape[1]] = values
    return wide


def add_norm(
    residual: Tensor, delta: Tensor | None, weight: Tensor, eps: float, extra: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The residual stream with `delta` added, its RMS norm, and what the norm divided by.

    Zhang and Sennrich 2019, equation 4.

    Args:
        residual, delta: (tokens, hidden).
        weight: (hidden,).

    Returns:
        The sum (tokens, hidden), normed (tokens, hidden + extra), and 1 / rms (tokens,) in fp32.
    """
    total = residual if delta is None else residual + delta
    exact = total.float()
    inverse_rms = torch.rsqrt(exact.square().mean(1) + eps)
    return total, _scaled(exact, inverse_rms, weight, extra), inverse_rms


def norm_again(total: Tensor, inverse_rms: Tensor, weight: Tensor, extra: int) -> Tensor:
    """The normed values (tokens, hidden + extra) of `add_norm` once more."""
    return _scaled(total.float(), inverse_rms, weight, extra)


def _scaled(exact: Tensor, inverse_rms: Tensor, weight: Tensor, extra: int) -> Tensor:
    wide = weight.new_empty(len(exact), exact.shape[1] + extra)
    wide[:, : exact.shape[1]] = exact * inverse_rms[:, None] * weight.float()
    return wide


def norm_backward(
    d_normed: Tensor,
    total: Tensor,
    inverse_rms: Tensor,
    weight: Tensor,
    d_residual: Tensor | None,
    extra: int,
) -> Tensor:
    """The gradient at the residual stream (tokens, hidden + extra), through the norm and beside it."""
    unit = total.float() * inverse_rms[:, None]
    d_unit = d_normed.float() * weight.float()
    mean = (d_unit * unit).mean(1, keepdim=True)
    gradient = (d_unit - unit * mean) * inverse_rms[:, None]
    if d_residual is not None:
        gradient += d_residual
    return wide_copy(gradient.to(total.dtype), extra)


def rotate_(qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, head_size: int) -> None:
    """Turn the first `heads` heads of `qkv` by their positions, in place (Su et al. 2021, section 3.4.2).

    Args:
        qkv: (tokens, at least heads × head_size).
        cos, sin: (tokens, rotated), of which the second half repeats the first.
    """
    part = torch.unflatten(qkv[:, : heads * head_size], 1, (heads, head_size))[:, :, : cos.shape[1]]
    part.copy_(_rotated(part, cos, sin))


def _rotated(part: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = part.float().chunk(2, dim=-1)
    cos, sin = (side.float()[:, None, : cos.shape[1] // 2] for side in (cos, sin))
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(part.dtype)


def norm_rotate(
    qkv: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    eps: float,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
) -> tuple[Tensor, Tensor]:
    """Queries and keys, each head normed and then turned; `qkv` stays as it is.

    Returns (tokens, (heads + kv_heads) × head_size) and 1 / rms (tokens, heads + kv_heads) in fp32.
    """
    size = q_weight.shape[0]
    exact = torch.unflatten(qkv[:, : (heads + kv_heads) * size], 1, (heads + kv_heads, size)).float()
    inverse_rms = torch.rsqrt(exact.square().mean(-1) + eps)
    weight = _head_weights(q_weight, k_weight, heads, kv_heads)
    normed = (exact * inverse_rms[:, :, None] * weight).to(qkv.dtype)
    normed[:, :, : cos.shape[1]] = _rotated(normed[:, :, : cos.shape[1]], cos, sin)
    return normed.flatten(1), inverse_rms


def _head_weights(q_weight: Tensor, k_weight: Tensor, heads: int, kv_heads: int) -> Tensor:
    return torch.cat([q_weight.expand(heads, -1), k_weight.expand(kv_heads, -1)]).float()


def rotate_backward(
    d_query: Tensor, d_key: Tensor, d_value: Tensor, cos: Tensor, sin: Tensor, extra: int
) -> Tensor:
    """The gradient at `qkv` (tokens, width + extra) from those at the turned heads (tokens, heads, head_size)."""
    turned_back = []
    for part in (d_query, d_key):
        back = part.clone()
        # The turn by the opposite angle is its transpose.
        back[:, :, : cos.shape[1]] = _rotated(part[:, :, : cos.shape[1]], cos, -sin)
        turned_back.append(back.flatten(1))
    return wide_copy(torch.cat([*turned_back, d_value.flatten(1)], dim=1), extra)


def norm_rotate_backward(
    d_query: Tensor,
    d_key: Tensor,
    d_value: Tensor,
    qkv: Tensor,
    inverse_rms: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    extra: int,
) -> Tensor:
    """The gradient at `qkv` (tokens, width + extra) through `norm_rotate`."""
    heads, kv_heads, size = d_query.shape[1], d_key.shape[1], d_query.shape[2]
    wide = rotate_backward(d_query, d_key, d_value, cos, sin, extra)
    part = torch.unflatten(wide[:, : (heads + kv_heads) * size], 1, (heads + kv_heads, size))
    unit = torch.unflatten(qkv[:, : (heads + kv_heads) * size], 1, (heads + kv_heads, size)).float()
    unit = unit * inverse_rms[:, :, None]
    d_unit = part.float() * _head_weights(q_weight, k_weight, heads, kv_heads)
    mean = (d_unit * unit).mean(-1, keepdim=True)
    part.copy_((d_unit - unit * mean) * inverse_rms[:, :, None])
    return wide


def swiglu(gate_up: Tensor, extra: int) -> Tensor:
    """silu(gate) × up as (tokens, intermediate + extra), from (tokens, 2 × intermediate) (Shazeer 2020)."""
    gate, up = gate_up.chunk(2, dim=1)
    wide = gate_up.new_empty(len(gate_up), gate.shape[1] + extra)
    torch.mul(functional.silu(gate), up, out=wide[:, : gate.shape[1]])
    return wide


def swiglu_backward(d_product: Tensor, gate_up: Tensor, extra: int) -> Tensor:
    """The gradient at gate and up (tokens, 2 × intermediate + extra)."""
    gate, up = gate_up.float().chunk(2, dim=1)
    sigmoid = torch.sigmoid(gate)
    d_silu = d_product.float() * sigmoid
    wide = gate_up.new_empty(len(gate_up), gate_up.shape[1] + extra)
    width = gate.shape[1]
    wide[:, :width] = d_silu * up * (1 + gate * (1 - sigmoid))
    wide[:, width : 2 * width] = d_silu * gate
    return wide


def cross_entropy_(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted loss of every row (rows,) in fp32; `logits` (rows, vocabulary) become their gradient."""
    exact = logits.float()
    normalizer = exact.logsumexp(1)
    losses = normalizer - exact.gather(1, targets[:, None]).squeeze(1)
    # In place: at fp32 the scores of a vocabulary are the largest tensor of a step.
    exact.sub_(normalizer[:, None]).exp_()
    exact.scatter_add_(1, targets[:, None], exact.new_full((len(targets), 1), -1.0))
    logits.copy_(exact.mul_(weights[:, None]))
    return losses * weights


def unpack_nf4(codes: Tensor, scales: Tensor, levels: Tensor, target: Tensor) -> None:
    """Write a matrix in 4 bits (see `jobs.training.nf4.Packed`) into `target` (outputs, inputs)."""
    both = torch.stack([codes & 15, codes >> 4], dim=2).flatten(1)
    blocks = torch.unflatten(levels[both.int()], 1, (scales.shape[1], -1)) * scales.float()[:, :, None]
    target.copy_(blocks.flatten(1))
