"""What a step of few rows needs besides training's kernels, in Triton."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

# Keys read at a time, rows of A computed by one program, and values of x read at a time.
KEYS, COLUMNS, VALUES = 64, 16, 512
# tl.dot takes no fewer.
LEAST_ROWS = 16


@triton.jit
def _look_back(
    query, key, value, keys, values, slots, lengths, out, scale, size,
    query_row, query_head, key_row, key_head, value_row, value_head, slot_stride, head_stride,
    GROUP: tl.constexpr, GROUP_ROOM: tl.constexpr, SIZE: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    length = tl.load(lengths + row)
    place = tl.load(slots + row) * slot_stride + head * head_stride
    column = tl.arange(0, SIZE)
    inside = column < size
    own_key = tl.load(key + row * key_row + head * key_head + column, mask=inside, other=0.0)
    own_value = tl.load(value + row * value_row + head * value_head + column, mask=inside, other=0.0)
    tl.store(keys + place + length * size + column, own_key, mask=inside)
    tl.store(values + place + length * size + column, own_value, mask=inside)
    number = tl.arange(0, GROUP_ROOM)
    own = (number < GROUP)[:, None] & inside[None, :]
    reads = query + row * query_row + (head * GROUP + number)[:, None] * query_head + column[None, :]
    asked = tl.load(reads, mask=own, other=0.0).to(tl.float32) * scale
    # What was just stored may not be seen yet: the new token's own part comes from here.
    highest = tl.sum(asked * own_key.to(tl.float32)[None, :], 1)
    total = tl.full((GROUP_ROOM,), 1.0, tl.float32)
    mixed = tl.zeros((GROUP_ROOM, SIZE), tl.float32) + own_value.to(tl.float32)[None, :]
    for start in tl.range(0, length, KEYS):
        at = start + tl.arange(0, KEYS)
        seen = (at < length)[:, None] & inside[None, :]
        offset = place + at[:, None] * size + column[None, :]
        others = tl.load(keys + offset, mask=seen, other=0.0).to(tl.float32)
        scores = tl.sum(asked[:, None, :] * others[None, :, :], 2)
        scores = tl.where((at < length)[None, :], scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        shares = tl.exp(scores - higher[:, None])
        shrunk = tl.exp(highest - higher)
        others = tl.load(values + offset, mask=seen, other=0.0).to(tl.float32)
        mixed = mixed * shrunk[:, None] + tl.sum(shares[:, :, None] * others[None, :, :], 1)
        total = total * shrunk + tl.sum(shares, 1)
        highest = higher
    write = out + (row * tl.num_programs(1) + head) * GROUP * size + number[:, None] * size + column[None, :]
    tl.store(write, mixed / total[:, None], mask=own)


def look_back(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    lengths: Tensor,
    scale: float,
) -> Tensor:
    """What a new token of every row reads from its row and itself; its key and value are remembered.

    Args:
        query: (rows, heads, head_size).
        key, value: (rows, key-value heads, head_size) of the new token.
        keys, values: (slots, key-value heads, room, head_size), of which the row in slot `slots[i]` has filled
            `lengths[i]`.

    Returns:
        (rows, heads, head_size).
    """
    rows, heads, size = query.shape
    kv_heads = key.shape[1]
    group = heads // kv_heads
    out = query.new_empty(rows, heads, size)
    _look_back[(rows, kv_heads)](
        query, key, value, keys, values, slots, lengths, out, scale, size,
        query.stride(0), query.stride(1), key.stride(0), key.stride(1), value.stride(0), value.stride(1),
        keys.stride(0), keys.stride(1),
        GROUP=group, GROUP_ROOM=triton.next_power_of_2(group), SIZE=triton.next_power_of_2(size),
        KEYS=max(16, KEYS // triton.next_power_of_2(group)),
    )  # fmt: skip
    return out


@triton.jit
def _narrow(
    wide, a, gains, rows, rank, inputs, wide_stride, a_stride, gain_stride,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, VALUES: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, inputs, VALUES):
        at = start + tl.arange(0, VALUES)
        left = tl.load(
            wide + row[:, None] * wide_stride + at[None, :],
            mask=(row < rows)[:, None] & (at < inputs)[None, :],
            other=0.0,
        )
        right = tl.load(
            a + column[None, :] * a_stride + at[:, None],
            mask=(column < rank)[None, :] & (at < inputs)[:, None],
            other=0.0,
        )
        total += tl.dot(left, right, input_precision="ieee")
    inside = (row < rows)[:, None] & (column < rank)[None, :]
    gain = tl.load(gains + row[:, None] * gain_stride + column[None, :], mask=inside, other=0.0)
    # Rounded before it is scaled, as by a product and a product with the gains.
    down = total.to(wide.dtype.element_ty).to(tl.float32) * gain.to(tl.float32)
    tl.store(wide + row[:, None] * wide_stride + inputs + column[None, :], down, mask=inside)


def narrow(wide: Tensor, a: Tensor, gains: Tensor) -> None:
    """See `jobs.training.adapted_linear.Narrow`."""
    rows, (rank, inputs) = len(wide), a.shape
    _narrow[(triton.cdiv(rank, COLUMNS), triton.cdiv(rows, LEAST_ROWS))](
        wide, a, gains, rows, rank, inputs, wide.stride(0), a.stride(0), gains.stride(0),
        ROWS=LEAST_ROWS, COLUMNS=COLUMNS, VALUES=VALUES if wide.element_size() == 2 else VALUES // 4,
    )  # fmt: skip
