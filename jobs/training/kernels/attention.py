"""Causal attention inside each text of a pack, as Triton kernels made for many short texts.

The algorithm is FlashAttention-2 (Dao 2023, https://arxiv.org/abs/2307.08691). Its general kernels spend much
of their time beside the products when texts are short: blocks behind a text's end, sums of gradients in fp32
memory, and one gradient of keys per query head. Here a program belongs to a block of rows that exists, adds
in its registers and goes through all query heads that share a key head, so that every result is written once,
in the format of the inputs and in a fixed order of sums.

No grid depends on values on the device, so a CUDA graph can record all of this.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

# The widest heads that fit into shared memory and registers.
WIDEST = 128
# Texts whose beginnings are compared with a program's number at once.
SEARCH = 256
# Products of two matrices take no fewer rows.
LEAST_ROWS = 16


@dataclass(frozen=True)
class Blocks:
    """How a kernel cuts its work.

    Attributes:
        rows: that a program computes; a multiple of `step`.
        step: rows of the other side that it reads at a time.
        warps: of 32 threads, in a program.
        stages: of the pipeline that reads ahead.
    """

    rows: int
    step: int
    warps: int
    stages: int


# By head width, filled up to a power of two: the fastest of 14 cuts at 64 and 12 at 128 on an H100.
FORWARD = {32: Blocks(64, 64, 4, 2), 64: Blocks(64, 32, 4, 2), 128: Blocks(64, 32, 4, 2)}
BACKWARD_QUERY = {32: Blocks(64, 64, 4, 2), 64: Blocks(64, 64, 4, 3), 128: Blocks(64, 64, 4, 2)}
BACKWARD_KEY = {32: Blocks(64, 64, 4, 2), 64: Blocks(64, 32, 4, 3), 128: Blocks(64, 32, 4, 2)}


def attention_forward(
    query: Tensor, key: Tensor, value: Tensor, offsets: Tensor, longest: int, scale: float
) -> tuple[Tensor, Tensor]:
    """What every token reads from its own text up to itself.

    Args:
        query: (tokens, heads, width), width at most WIDEST; it and the others may be views with the last
            dimension contiguous.
        key, value: (tokens, key-value heads, width); heads share them in consecutive groups.
        offsets: (texts + 1,) int32, where the texts start; from 0 to `tokens`, empty texts allowed.
        longest: the most tokens of a text, or a bound of it.
        scale: of the scores, positive.

    Returns:
        (tokens, heads, width), and the natural logarithm of every row's sum of exponentials, (heads, tokens)
        fp32.
    """
    tokens, heads, width = query.shape
    out = query.new_empty(tokens, heads, width)
    log_sum_exp = query.new_empty(heads, tokens, dtype=torch.float32)
    padded, blocks = _cut(FORWARD, query, longest)
    _forward[_grid(query, heads, offsets, blocks)](
        query, key, value, out, log_sum_exp, offsets, len(offsets) - 1, tokens, heads, heads // key.shape[1], scale,
        *_strides(query, key, value),
        WIDTH=width, PADDED=padded, ROWS=blocks.rows, STEP=blocks.step, SEARCH=SEARCH,
        num_warps=blocks.warps, num_stages=blocks.stages,
    )  # fmt: skip
    return out, log_sum_exp


def attention_backward(
    d_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    log_sum_exp: Tensor,
    offsets: Tensor,
    longest: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients at query, key and value for `d_out` at the first result of `attention_forward`."""
    tokens, heads, width = query.shape
    kv_heads = key.shape[1]
    group = heads // kv_heads
    d_query = query.new_empty(tokens, heads, width)
    d_key, d_value = key.new_empty(tokens, kv_heads, width), key.new_empty(tokens, kv_heads, width)
    d_log = torch.empty_like(log_sum_exp)
    padded, blocks = _cut(BACKWARD_QUERY, query, longest)
    _backward_query[_grid(query, heads, offsets, blocks)](
        d_out, query, key, value, out, log_sum_exp, d_log, d_query,
        offsets, len(offsets) - 1, tokens, heads, group, scale, *_strides(d_out, query, key, value, out),
        WIDTH=width, PADDED=padded, ROWS=blocks.rows, STEP=blocks.step, SEARCH=SEARCH,
        num_warps=blocks.warps, num_stages=blocks.stages,
    )  # fmt: skip
    padded, blocks = _cut(BACKWARD_KEY, query, longest)
    _backward_key[_grid(query, kv_heads, offsets, blocks)](
        d_out, query, key, value, log_sum_exp, d_log, d_key, d_value,
        offsets, len(offsets) - 1, tokens, kv_heads, group, scale, *_strides(d_out, query, key, value),
        WIDTH=width, PADDED=padded, ROWS=blocks.rows, STEP=blocks.step, SEARCH=SEARCH,
        num_warps=blocks.warps, num_stages=blocks.stages,
    )  # fmt: skip
    return d_query, d_key, d_value


def _cut(table: dict[int, Blocks], query: Tensor, longest: int) -> tuple[int, Blocks]:
    """The width that heads are filled up to, and how to cut: finer for fp32 and if all texts are shorter."""
    padded = max(32, triton.next_power_of_2(query.shape[2]))
    blocks = table[padded]
    most = max(LEAST_ROWS, triton.next_power_of_2(longest))
    if query.element_size() > 2:
        most = min(most, 32)
    return padded, Blocks(min(blocks.rows, most), min(blocks.step, most), blocks.warps, blocks.stages)


def _grid(query: Tensor, heads: int, offsets: Tensor, blocks: Blocks) -> tuple[int]:
    """A program for each head and each slot, see `_locate`."""
    return ((len(query) // blocks.rows + len(offsets) - 1) * heads,)


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for tensor in tensors for stride in tensor.stride()[:2]]


@triton.jit
def _locate(offsets, texts, slot, ROWS: tl.constexpr, SEARCH: tl.constexpr):
    """Where the text starts that a slot belongs to, its length, and the block's first row in it.

    Text i has the slots from `offset // ROWS + i` on. That leaves it at least as many as it has blocks, and no
    text more than one too many, without a table of them.
    """
    begun = 0
    for first in tl.range(0, texts, SEARCH):
        text = first + tl.arange(0, SEARCH)
        offset = tl.load(offsets + text, mask=text < texts, other=0)
        begun += tl.sum(((text < texts) & (offset // ROWS + text <= slot)).to(tl.int32), 0)
    start = tl.load(offsets + begun - 1)
    length = tl.load(offsets + begun) - start
    row = (slot - (start // ROWS + begun - 1)) * ROWS
    return start.to(tl.int64), length, row


@triton.jit
def _tile(source, stride, row, length, WIDTH: tl.constexpr, PADDED: tl.constexpr, WHOLE: tl.constexpr):
    """Rows of one head, zeros behind the text's end (WHOLE: none of them is) and behind the head's width."""
    column = tl.arange(0, PADDED)
    read = source + row[:, None] * stride + column[None, :]
    if WHOLE and WIDTH == PADDED:
        values = tl.load(read)
    else:
        values = tl.load(read, mask=(row < length)[:, None] & (column < WIDTH)[None, :], other=0.0)
    return values


@triton.jit
def _store(target, stride, row, length, values, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    column = tl.arange(0, PADDED)
    inside = (row < length)[:, None] & (column < WIDTH)[None, :]
    tl.store(
        target + row[:, None] * stride + column[None, :], values.to(target.dtype.element_ty), mask=inside
    )


# Exponentials are taken to the base 2, which the hardware computes: log2(e) goes into the factors.


@triton.jit
def _read(
    out, total, highest, q, key, value, key_stride, value_stride, start, row, length, factor,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, STEP: tl.constexpr, BEFORE: tl.constexpr,
):  # fmt: skip
    """One step of `_forward`; BEFORE: all these keys are before all its queries."""
    column = start + tl.arange(0, STEP)
    k = _tile(key, key_stride, column, length, WIDTH, PADDED, BEFORE)
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * factor
    if not BEFORE:
        scores = tl.where(row[:, None] >= column[None, :], scores, float("-inf"))
    # Finite from the first key on, which every query sees.
    higher = tl.maximum(highest, tl.max(scores, 1))
    weights = tl.exp2(scores - higher[:, None])
    shrink = tl.exp2(highest - higher)
    v = _tile(value, value_stride, column, length, WIDTH, PADDED, BEFORE)
    out = tl.dot(weights.to(v.dtype), v, out * shrink[:, None], input_precision="ieee")
    return out, total * shrink + tl.sum(weights, 1), higher


@triton.jit(do_not_specialize=["texts", "tokens"])
def _forward(
    query, key, value, out, log_sum_exp, offsets, texts, tokens, heads, group, scale,
    query_stride, query_head, key_stride, key_head, value_stride, value_head,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr, STEP: tl.constexpr, SEARCH: tl.constexpr,
):  # fmt: skip
    """A block of queries of one head reads its text from the first key to the diagonal."""
    head = tl.program_id(0) % heads
    start, length, first = _locate(offsets, texts, tl.program_id(0) // heads, ROWS, SEARCH)
    if first >= length:
        return
    row = first + tl.arange(0, ROWS)
    query += start * query_stride + head * query_head
    key += start * key_stride + head // group * key_head
    value += start * value_stride + head // group * value_head
    factor = scale * 1.4426950408889634
    q = _tile(query, query_stride, row, length, WIDTH, PADDED, False)
    result = tl.zeros((ROWS, PADDED), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    highest = tl.full((ROWS,), float("-inf"), tl.float32)
    for at in tl.range(0, first, STEP):
        result, total, highest = _read(
            result, total, highest, q, key, value, key_stride, value_stride, at, row, length, factor,
            WIDTH, PADDED, STEP, True,
        )  # fmt: skip
    for at in tl.range(first, tl.minimum(first + ROWS, length), STEP):
        result, total, highest = _read(
            result, total, highest, q, key, value, key_stride, value_stride, at, row, length, factor,
            WIDTH, PADDED, STEP, False,
        )  # fmt: skip
    _store(
        out + (start * heads + head) * WIDTH,
        heads * WIDTH,
        row,
        length,
        result / total[:, None],
        WIDTH,
        PADDED,
    )
    logarithm = (highest + tl.log2(total)) * 0.6931471805599453
    tl.store(log_sum_exp + head.to(tl.int64) * tokens + start + row, logarithm, mask=row < length)


@triton.jit
def _read_backward(
    d_q, q, d_o, logarithm, d_log, key, value, key_stride, value_stride, start, row, length, factor,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, STEP: tl.constexpr, BEFORE: tl.constexpr,
):  # fmt: skip
    """One step of `_backward_query`; BEFORE: all these keys are before all its queries."""
    column = start + tl.arange(0, STEP)
    k = _tile(key, key_stride, column, length, WIDTH, PADDED, BEFORE)
    v = _tile(value, value_stride, column, length, WIDTH, PADDED, BEFORE)
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * factor
    weights = tl.exp2(scores - logarithm[:, None])
    if not BEFORE:
        weights = tl.where(row[:, None] >= column[None, :], weights, 0.0)
    d_weights = tl.dot(d_o, tl.trans(v), input_precision="ieee")
    d_scores = weights * (d_weights - d_log[:, None])
    return tl.dot(d_scores.to(k.dtype), k, d_q, input_precision="ieee")


@triton.jit(do_not_specialize=["texts", "tokens"])
def _backward_query(
    d_out, query, key, value, out, log_sum_exp, d_log_sum, d_query, offsets, texts, tokens, heads, group, scale,
    d_out_stride, d_out_head, query_stride, query_head, key_stride, key_head, value_stride, value_head,
    out_stride, out_head,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr, STEP: tl.constexpr, SEARCH: tl.constexpr,
):  # fmt: skip
    """The gradient of a block of queries of one head, and what the softmax's gradient subtracts in its rows.

    Rows behind the text's end are zeros with logarithm 0: their weights are finite and their gradient is 0.
    """
    head = tl.program_id(0) % heads
    start, length, first = _locate(offsets, texts, tl.program_id(0) // heads, ROWS, SEARCH)
    if first >= length:
        return
    row = first + tl.arange(0, ROWS)
    query += start * query_stride + head * query_head
    key += start * key_stride + head // group * key_head
    value += start * value_stride + head // group * value_head
    factor = scale * 1.4426950408889634
    d_o = _tile(
        d_out + start * d_out_stride + head * d_out_head, d_out_stride, row, length, WIDTH, PADDED, False
    )
    o = _tile(out + start * out_stride + head * out_head, out_stride, row, length, WIDTH, PADDED, False)
    d_log = tl.sum(d_o.to(tl.float32) * o.to(tl.float32), 1)
    own = head.to(tl.int64) * tokens + start + row
    tl.store(d_log_sum + own, d_log, mask=row < length)
    logarithm = tl.load(log_sum_exp + own, mask=row < length, other=0.0) * 1.4426950408889634
    q = _tile(query, query_stride, row, length, WIDTH, PADDED, False)
    d_q = tl.zeros((ROWS, PADDED), tl.float32)
    for at in tl.range(0, first, STEP):
        d_q = _read_backward(
            d_q, q, d_o, logarithm, d_log, key, value, key_stride, value_stride, at, row, length, factor,
            WIDTH, PADDED, STEP, True,
        )  # fmt: skip
    for at in tl.range(first, tl.minimum(first + ROWS, length), STEP):
        d_q = _read_backward(
            d_q, q, d_o, logarithm, d_log, key, value, key_stride, value_stride, at, row, length, factor,
            WIDTH, PADDED, STEP, False,
        )  # fmt: skip
    _store(d_query + (start * heads + head) * WIDTH, heads * WIDTH, row, length, d_q * scale, WIDTH, PADDED)


@triton.jit
def _answer(
    d_k, d_v, k, v, d_out, query, log_sum_exp, d_log_sum, d_out_stride, query_stride, start, column, length, factor,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, STEP: tl.constexpr, BEHIND: tl.constexpr,
):  # fmt: skip
    """One step of `_backward_key`, all transposed; BEHIND: all these queries are behind all its keys."""
    row = start + tl.arange(0, STEP)
    q = _tile(query, query_stride, row, length, WIDTH, PADDED, False)
    d_o = _tile(d_out, d_out_stride, row, length, WIDTH, PADDED, False)
    logarithm = tl.load(log_sum_exp + row, mask=row < length, other=0.0) * 1.4426950408889634
    d_log = tl.load(d_log_sum + row, mask=row < length, other=0.0)
    scores = tl.dot(k, tl.trans(q), input_precision="ieee") * factor
    weights = tl.exp2(scores - logarithm[None, :])
    if not BEHIND:
        weights = tl.where(row[None, :] >= column[:, None], weights, 0.0)
    d_v = tl.dot(weights.to(d_o.dtype), d_o, d_v, input_precision="ieee")
    d_weights = tl.dot(v, tl.trans(d_o), input_precision="ieee")
    d_scores = weights * (d_weights - d_log[None, :])
    return tl.dot(d_scores.to(q.dtype), q, d_k, input_precision="ieee"), d_v


@triton.jit(do_not_specialize=["texts", "tokens"])
def _backward_key(
    d_out, query, key, value, log_sum_exp, d_log_sum, d_key, d_value, offsets, texts, tokens, kv_heads, group, scale,
    d_out_stride, d_out_head, query_stride, query_head, key_stride, key_head, value_stride, value_head,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr, STEP: tl.constexpr, SEARCH: tl.constexpr,
):  # fmt: skip
    """The gradients of a block of keys and values of one key head, over all the query heads that share it.

    Queries behind the text's end are zeros with gradient 0, so they add nothing.
    """
    head = tl.program_id(0) % kv_heads
    start, length, first = _locate(offsets, texts, tl.program_id(0) // kv_heads, ROWS, SEARCH)
    if first >= length:
        return
    column = first + tl.arange(0, ROWS)
    k = _tile(key + start * key_stride + head * key_head, key_stride, column, length, WIDTH, PADDED, False)
    v = _tile(
        value + start * value_stride + head * value_head, value_stride, column, length, WIDTH, PADDED, False
    )
    query += start * query_stride + head * group * query_head
    d_out += start * d_out_stride + head * group * d_out_head
    log_sum_exp += head.to(tl.int64) * group * tokens + start
    d_log_sum += head.to(tl.int64) * group * tokens + start
    factor = scale * 1.4426950408889634
    d_k = tl.zeros((ROWS, PADDED), tl.float32)
    d_v = tl.zeros((ROWS, PADDED), tl.float32)
    # All heads in one loop: a short text leaves too few steps of one head to read ahead.
    across = tl.cdiv(tl.minimum(length - first, ROWS), STEP)
    for turn in tl.range(0, group * across):
        member = turn // across
        d_k, d_v = _answer(
            d_k, d_v, k, v, d_out + member * d_out_head, query + member * query_head,
            log_sum_exp + member * tokens, d_log_sum + member * tokens, d_out_stride, query_stride,
            first + turn % across * STEP, column, length, factor, WIDTH, PADDED, STEP, False,
        )  # fmt: skip
    behind = tl.cdiv(tl.maximum(length - first - ROWS, 0), STEP)
    for turn in tl.range(0, group * behind):
        member = turn // behind
        d_k, d_v = _answer(
            d_k, d_v, k, v, d_out + member * d_out_head, query + member * query_head,
            log_sum_exp + member * tokens, d_log_sum + member * tokens, d_out_stride, query_stride,
            first + ROWS + turn % behind * STEP, column, length, factor, WIDTH, PADDED, STEP, True,
        )  # fmt: skip
    target = (start * kv_heads + head) * WIDTH
    _store(d_key + target, kv_heads * WIDTH, column, length, d_k * scale, WIDTH, PADDED)
    _store(d_value + target, kv_heads * WIDTH, column, length, d_v, WIDTH, PADDED)
