"""The functions of `portable`, each as one Triton kernel that reads and writes every value once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from jobs.training.kernels.fused_products import BLOCK, cross_entropy_, swiglu, swiglu_backward, unpack_nf4

__all__ = [
    "add_norm", "cross_entropy_", "norm_again", "norm_backward", "norm_rotate", "norm_rotate_backward",
    "rotate_", "rotate_backward", "swiglu", "swiglu_backward", "unpack_nf4", "wide_copy",
]  # fmt: skip

HEADS_TOGETHER = 8


def _warps(block: int) -> int:
    return 4 if block <= 2048 else 8 if block <= 4096 else 16


@triton.jit
def _wide_copy(values, wide, width, values_stride, wide_stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    tl.store(
        wide + row * wide_stride + column,
        tl.load(values + row * values_stride + column, mask=inside),
        mask=inside,
    )


def wide_copy(values: Tensor, extra: int) -> Tensor:
    """See `portable.wide_copy`."""
    tokens, width = values.shape
    wide = values.new_empty(tokens, width + extra)
    _wide_copy[(tokens, triton.cdiv(width, BLOCK))](
        values, wide, width, values.stride(0), wide.stride(0), BLOCK=BLOCK
    )
    return wide


@triton.jit
def _add_norm(
    residual, delta, weight, total, wide, inverse_rms, eps, width,
    residual_stride, delta_stride, wide_stride,
    HAS_DELTA: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    exact = tl.load(residual + row * residual_stride + column, mask=inside, other=0.0).to(tl.float32)
    if HAS_DELTA:
        exact += tl.load(delta + row * delta_stride + column, mask=inside, other=0.0).to(tl.float32)
        # What later layers add to is the rounded sum, so the norm is taken of it.
        rounded = exact.to(total.dtype.element_ty)
        tl.store(total + row * width + column, rounded, mask=inside)
        exact = rounded.to(tl.float32)
    inverse = 1.0 / tl.sqrt(tl.sum(exact * exact, 0) / width + eps)
    tl.store(inverse_rms + row, inverse)
    scale = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(wide + row * wide_stride + column, exact * inverse * scale, mask=inside)


def add_norm(
    residual: Tensor, delta: Tensor | None, weight: Tensor, eps: float, extra: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `portable.add_norm`."""
    tokens, width = residual.shape
    total = residual if delta is None else residual.new_empty(tokens, width)
    wide = residual.new_empty(tokens, width + extra)
    inverse_rms = residual.new_empty(tokens, dtype=torch.float32)
    block = triton.next_power_of_2(width)
    added = residual if delta is None else delta
    _add_norm[(tokens,)](
        residual, added, weight, total, wide, inverse_rms, eps, width,
        residual.stride(0), added.stride(0), wide.stride(0),
        HAS_DELTA=delta is not None, BLOCK=block, num_warps=_warps(block),
    )  # fmt: skip
    return total, wide, inverse_rms


@triton.jit
def _norm_again(total, inverse_rms, weight, wide, width, total_stride, wide_stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    exact = tl.load(total + row * total_stride + column, mask=inside, other=0.0).to(tl.float32)
    scale = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(wide + row * wide_stride + column, exact * tl.load(inverse_rms + row) * scale, mask=inside)


def norm_again(total: Tensor, inverse_rms: Tensor, weight: Tensor, extra: int) -> Tensor:
    """See `portable.norm_again`."""
    tokens, width = total.shape
    wide = total.new_empty(tokens, width + extra)
    grid = (tokens, triton.cdiv(width, BLOCK))
    _norm_again[grid](total, inverse_rms, weight, wide, width, total.stride(0), wide.stride(0), BLOCK=BLOCK)
    return wide


@triton.jit
def _norm_backward(
    d_normed, total, inverse_rms, weight, d_residual, wide, width,
    d_normed_stride, total_stride, d_residual_stride, wide_stride,
    HAS_RESIDUAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    inverse = tl.load(inverse_rms + row)
    unit = tl.load(total + row * total_stride + column, mask=inside, other=0.0).to(tl.float32) * inverse
    scale = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    d_unit = tl.load(d_normed + row * d_normed_stride + column, mask=inside, other=0.0).to(tl.float32) * scale
    mean = tl.sum(d_unit * unit, 0) / width
    gradient = (d_unit - unit * mean) * inverse
    if HAS_RESIDUAL:
        gradient += tl.load(d_residual + row * d_residual_stride + column, mask=inside, other=0.0).to(
            tl.float32
        )
    tl.store(wide + row * wide_stride + column, gradient, mask=inside)


def norm_backward(
    d_normed: Tensor,
    total: Tensor,
    inverse_rms: Tensor,
    weight: Tensor,
    d_residual: Tensor | None,
    extra: int,
) -> Tensor:
    """See `portable.norm_backward`."""
    tokens, width = total.shape
    wide = total.new_empty(tokens, width + extra)
    block = triton.next_power_of_2(width)
    beside = d_normed if d_residual is None else d_residual
    _norm_backward[(tokens,)](
        d_normed, total, inverse_rms, weight, beside, wide, width,
        d_normed.stride(0), total.stride(0), beside.stride(0), wide.stride(0),
        HAS_RESIDUAL=d_residual is not None, BLOCK=block, num_warps=_warps(block),
    )  # fmt: skip
    return wide


@triton.jit
def _rotate(
    source, target, cos, sin, heads, head_size, half, source_stride, head_stride, target_stride, side_stride,
    SIGN: tl.constexpr, COPY: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    column = tl.arange(0, HALF)
    inside = (head < heads)[:, None] & (column < half)[None, :]
    cosine = tl.load(cos + row * side_stride + column, mask=column < half, other=0.0).to(tl.float32)[None, :]
    sine = (
        SIGN
        * tl.load(sin + row * side_stride + column, mask=column < half, other=0.0).to(tl.float32)[None, :]
    )
    read = source + row * source_stride + head[:, None] * head_stride + column[None, :]
    write = target + row * target_stride + head[:, None] * head_size + column[None, :]
    first = tl.load(read, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(read + half, mask=inside, other=0.0).to(tl.float32)
    tl.store(write, first * cosine - second * sine, mask=inside)
    tl.store(write + half, second * cosine + first * sine, mask=inside)
    if COPY:  # what is not turned
        rest = tl.arange(0, REST)
        left = (head < heads)[:, None] & (rest < head_size - 2 * half)[None, :]
        offset = 2 * half + rest[None, :]
        values = tl.load(source + row * source_stride + head[:, None] * head_stride + offset, mask=left)
        tl.store(target + row * target_stride + head[:, None] * head_size + offset, values, mask=left)


def _turn(
    source: Tensor,
    target: Tensor,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    head_size: int,
    head_stride: int,
    sign: float,
) -> None:
    """Turn heads from `source` into `target`, both (tokens, …), and copy what is not turned."""
    half = cos.shape[1] // 2
    in_place = source.data_ptr() == target.data_ptr()
    rest = head_size - 2 * half
    _rotate[(len(source), triton.cdiv(heads, HEADS_TOGETHER))](
        source, target, cos, sin, heads, head_size, half,
        source.stride(0), head_stride, target.stride(0), cos.stride(0),
        SIGN=sign, COPY=rest > 0 and not in_place, HEADS=HEADS_TOGETHER,
        HALF=triton.next_power_of_2(half), REST=triton.next_power_of_2(max(rest, 1)),
    )  # fmt: skip


def rotate_(qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, head_size: int) -> None:
    """See `portable.rotate_`."""
    _turn(qkv, qkv, cos, sin, heads, head_size, head_size, 1.0)


def rotate_backward(
    d_query: Tensor, d_key: Tensor, d_value: Tensor, cos: Tensor, sin: Tensor, extra: int
) -> Tensor:
    """See `portable.rotate_backward`."""
    tokens, heads, size = d_query.shape
    kv_heads = d_key.shape[1]
    wide = d_query.new_empty(tokens, (heads + 2 * kv_heads) * size + extra)
    _turn(d_query, wide, cos, sin, heads, size, d_query.stride(1), -1.0)
    _turn(d_key, wide[:, heads * size :], cos, sin, kv_heads, size, d_key.stride(1), -1.0)
    _copy_heads(d_value, wide[:, (heads + kv_heads) * size :])
    return wide


@triton.jit
def _copy(
    source,
    target,
    heads,
    size,
    row_stride,
    head_stride,
    target_stride,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    column = tl.arange(0, SIZE)[None, :]
    inside = (head < heads) & (column < size)
    values = tl.load(source + row * row_stride + head * head_stride + column, mask=inside)
    tl.store(target + row * target_stride + head * size + column, values, mask=inside)


def _copy_heads(source: Tensor, target: Tensor) -> None:
    tokens, heads, size = source.shape
    _copy[(tokens, triton.cdiv(heads, HEADS_TOGETHER))](
        source, target, heads, size, source.stride(0), source.stride(1), target.stride(0),
        HEADS=HEADS_TOGETHER, SIZE=triton.next_power_of_2(size),
    )  # fmt: skip


@triton.jit
def _norm_rotate(
    qkv, q_weight, k_weight, cos, sin, turned, inverse_rms, eps, heads, all_heads, size,
    qkv_stride, side_stride, HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    half = size // 2
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    column = tl.arange(0, HALF)[None, :]
    inside = (head < all_heads) & (column < half)
    read = qkv + row * qkv_stride + head * size + column
    first = tl.load(read, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(read + half, mask=inside, other=0.0).to(tl.float32)
    inverse = 1.0 / tl.sqrt((tl.sum(first * first, 1) + tl.sum(second * second, 1)) / size + eps)[:, None]
    tl.store(inverse_rms + row * all_heads + head, inverse, mask=head < all_heads)
    first *= inverse * _head_weights(q_weight, k_weight, head < heads, column, inside)
    second *= inverse * _head_weights(q_weight, k_weight, head < heads, column + half, inside)
    cosine = tl.load(cos + row * side_stride + column, mask=column < half, other=0.0).to(tl.float32)
    sine = tl.load(sin + row * side_stride + column, mask=column < half, other=0.0).to(tl.float32)
    write = turned + (row * all_heads + head) * size + column
    tl.store(write, first * cosine - second * sine, mask=inside)
    tl.store(write + half, second * cosine + first * sine, mask=inside)


@triton.jit
def _head_weights(q_weight, k_weight, is_query, column, inside):
    of_query = tl.load(q_weight + column, mask=inside & is_query, other=0.0).to(tl.float32)
    of_key = tl.load(k_weight + column, mask=inside & (is_query == 0), other=0.0).to(tl.float32)
    return of_query + of_key


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
    """See `portable.norm_rotate`; here all of a head is turned."""
    size, all_heads = q_weight.shape[0], heads + kv_heads
    turned = qkv.new_empty(len(qkv), all_heads * size)
    inverse_rms = qkv.new_empty(len(qkv), all_heads, dtype=torch.float32)
    _norm_rotate[(len(qkv), triton.cdiv(all_heads, HEADS_TOGETHER))](
        qkv, q_weight, k_weight, cos, sin, turned, inverse_rms, eps, heads, all_heads, size,
        qkv.stride(0), cos.stride(0), HEADS=HEADS_TOGETHER, HALF=triton.next_power_of_2(size // 2),
    )  # fmt: skip
    return turned, inverse_rms


@triton.jit
def _norm_rotate_backward(
    d_turned, qkv, inverse_rms, weight, cos, sin, wide, first_head, own_heads, all_heads, size,
    d_row_stride, d_head_stride, qkv_stride, side_stride, wide_stride, HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    half = size // 2
    own = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    head = first_head + own
    column = tl.arange(0, HALF)[None, :]
    inside = (own < own_heads) & (column < half)
    cosine = tl.load(cos + row * side_stride + column, mask=column < half, other=0.0).to(tl.float32)
    sine = tl.load(sin + row * side_stride + column, mask=column < half, other=0.0).to(tl.float32)
    d_read = d_turned + row * d_row_stride + own * d_head_stride + column
    d_first = tl.load(d_read, mask=inside, other=0.0).to(tl.float32)
    d_second = tl.load(d_read + half, mask=inside, other=0.0).to(tl.float32)
    inverse = tl.load(inverse_rms + row * all_heads + head, mask=own < own_heads, other=0.0)
    read = qkv + row * qkv_stride + head * size + column
    first = tl.load(read, mask=inside, other=0.0).to(tl.float32) * inverse
    second = tl.load(read + half, mask=inside, other=0.0).to(tl.float32) * inverse
    scale_first = tl.load(weight + column, mask=column < half, other=0.0).to(tl.float32)
    scale_second = tl.load(weight + half + column, mask=column < half, other=0.0).to(tl.float32)
    back_first = (d_first * cosine + d_second * sine) * scale_first
    back_second = (d_second * cosine - d_first * sine) * scale_second
    mean = ((tl.sum(back_first * first, 1) + tl.sum(back_second * second, 1)) / size)[:, None]
    write = wide + row * wide_stride + head * size + column
    tl.store(write, (back_first - first * mean) * inverse, mask=inside)
    tl.store(write + half, (back_second - second * mean) * inverse, mask=inside)


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
    """See `portable.norm_rotate_backward`."""
    tokens, heads, size = d_query.shape
    kv_heads = d_key.shape[1]
    wide = d_query.new_empty(tokens, (heads + 2 * kv_heads) * size + extra)
    for gradient, weight, first_head in ((d_query, q_weight, 0), (d_key, k_weight, heads)):
        own_heads = gradient.shape[1]
        _norm_rotate_backward[(tokens, triton.cdiv(own_heads, HEADS_TOGETHER))](
            gradient, qkv, inverse_rms, weight, cos, sin, wide, first_head, own_heads, heads + kv_heads, size,
            gradient.stride(0), gradient.stride(1), qkv.stride(0), cos.stride(0), wide.stride(0),
            HEADS=HEADS_TOGETHER, HALF=triton.next_power_of_2(size // 2),
        )  # fmt: skip
    _copy_heads(d_value, wide[:, (heads + kv_heads) * size :])
    return wide
