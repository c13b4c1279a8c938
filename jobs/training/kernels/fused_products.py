"""Activation, loss and 4 bit weights in Triton; a part of `fused`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def _swiglu(gate_up, wide, width, gate_up_stride, wide_stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    gate = tl.load(gate_up + row * gate_up_stride + column, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * gate_up_stride + width + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(wide + row * wide_stride + column, gate * tl.sigmoid(gate) * up, mask=inside)


def swiglu(gate_up: Tensor, extra: int) -> Tensor:
    """See `portable.swiglu`."""
    tokens, width = len(gate_up), gate_up.shape[1] // 2
    wide = gate_up.new_empty(tokens, width + extra)
    _swiglu[(tokens, triton.cdiv(width, BLOCK))](
        gate_up, wide, width, gate_up.stride(0), wide.stride(0), BLOCK=BLOCK
    )
    return wide


@triton.jit
def _swiglu_backward(
    d_product, gate_up, wide, width, d_stride, gate_up_stride, wide_stride, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    d_exact = tl.load(d_product + row * d_stride + column, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(gate_up + row * gate_up_stride + column, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * gate_up_stride + width + column, mask=inside, other=0.0).to(tl.float32)
    sigmoid = tl.sigmoid(gate)
    write = wide + row * wide_stride + column
    tl.store(write, d_exact * up * sigmoid * (1 + gate * (1 - sigmoid)), mask=inside)
    tl.store(write + width, d_exact * gate * sigmoid, mask=inside)


def swiglu_backward(d_product: Tensor, gate_up: Tensor, extra: int) -> Tensor:
    """See `portable.swiglu_backward`."""
    tokens, width = len(gate_up), gate_up.shape[1] // 2
    wide = gate_up.new_empty(tokens, 2 * width + extra)
    _swiglu_backward[(tokens, triton.cdiv(width, BLOCK))](
        d_product, gate_up, wide, width, d_product.stride(0), gate_up.stride(0), wide.stride(0), BLOCK=BLOCK
    )
    return wide


@triton.jit
def _cross_entropy(logits, targets, weights, losses, stride, vocabulary: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    scores = logits + row * stride
    # One pass for the normaliser (Milakov and Gimelshein 2018), one for the gradient.
    highest = tl.full((), float("-inf"), tl.float32)
    total = tl.full((), 0.0, tl.float32)
    for start in range(0, vocabulary, BLOCK):
        column = start + tl.arange(0, BLOCK)
        part = tl.load(scores + column, mask=column < vocabulary, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(highest, tl.max(part, 0))
        total = total * tl.exp(highest - higher) + tl.sum(tl.exp(part - higher), 0)
        highest = higher
    target = tl.load(targets + row)
    weight = tl.load(weights + row)
    wanted = tl.load(scores + target).to(tl.float32)
    normalizer = highest + tl.log(total)
    tl.store(losses + row, (normalizer - wanted) * weight)
    for start in range(0, vocabulary, BLOCK):
        column = start + tl.arange(0, BLOCK)
        part = tl.load(scores + column, mask=column < vocabulary, other=float("-inf")).to(tl.float32)
        gradient = (tl.exp(part - normalizer) - tl.where(column == target, 1.0, 0.0)) * weight
        tl.store(scores + column, gradient, mask=column < vocabulary)


def cross_entropy_(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """See `portable.cross_entropy_`."""
    losses = logits.new_empty(len(logits), dtype=torch.float32)
    _cross_entropy[(len(logits),)](
        logits,
        targets,
        weights,
        losses,
        logits.stride(0),
        vocabulary=logits.shape[1],
        BLOCK=4096,
        num_warps=8,
    )
    return losses


@triton.jit
def _unpack_nf4(
    codes, scales, levels, target, pairs, blocks, target_stride, HALF_BLOCK: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    pair = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = pair < pairs
    both = tl.load(codes + row * pairs + pair, mask=inside, other=0).to(tl.int32)
    scale = tl.load(scales + row * blocks + pair // HALF_BLOCK, mask=inside, other=0.0).to(tl.float32)
    write = target + row * target_stride + 2 * pair
    tl.store(write, tl.load(levels + (both & 15)) * scale, mask=inside)
    tl.store(write + 1, tl.load(levels + (both >> 4)) * scale, mask=inside)


def unpack_nf4(codes: Tensor, scales: Tensor, levels: Tensor, target: Tensor) -> None:
    """See `portable.unpack_nf4`."""
    outputs, pairs = codes.shape
    blocks = scales.shape[1]
    _unpack_nf4[(outputs, triton.cdiv(pairs, BLOCK))](
        codes,
        scales,
        levels,
        target,
        pairs,
        blocks,
        target.stride(0),
        HALF_BLOCK=pairs // blocks,
        BLOCK=BLOCK,
    )
