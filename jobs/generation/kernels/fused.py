"""What a step of few rows needs besides training's kernels, in Triton."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

# Bytes of all products of queries with keys that are read at a time, and how often ahead keys are asked for.
KEY_BYTES, STAGES = 16384, 3
# Rows of x that one program multiplies: few, because adding up a row's products is what takes long.
ROWS_TOGETHER = 2
# Rows of A that one program multiplies, for few rows of x and for many, which pay for sharing what is read.
COLUMNS_FEW, COLUMNS_MANY, FEW_ROWS = 2, 4, 16
# Values of a row that are read at a time where a row may be cut, and values of all rows in registers at once.
MOST_VALUES, MOST_HELD = 4096, 16384


@triton.jit
def _look_back(
    query, key, value, keys, values, slots, lengths, out, scale, size,
    query_row, query_head, key_row, key_head, value_row, value_head, slot_stride, head_stride, out_row,
    GROUP: tl.constexpr, GROUP_ROOM: tl.constexpr, SIZE: tl.constexpr, KEYS: tl.constexpr, STAGES: tl.constexpr,
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
    for start in tl.range(0, length, KEYS, num_stages=STAGES):
        at = start + tl.arange(0, KEYS)
        seen = (at < length)[:, None] & inside[None, :]
        offset = place + at[:, None] * size + column[None, :]
        # Both are asked for at once, so that they are waited for once.
        some_keys = tl.load(keys + offset, mask=seen, other=0.0)
        some_values = tl.load(values + offset, mask=seen, other=0.0)
        scores = tl.sum(asked[:, None, :] * some_keys.to(tl.float32)[None, :, :], 2)
        scores = tl.where((at < length)[None, :], scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        shares = tl.exp(scores - higher[:, None])
        shrunk = tl.exp(highest - higher)
        read = tl.sum(shares[:, :, None] * some_values.to(tl.float32)[None, :, :], 1)
        mixed = mixed * shrunk[:, None] + read
        total = total * shrunk + tl.sum(shares, 1)
        highest = higher
    write = out + row * out_row + (head * GROUP + number)[:, None] * size + column[None, :]
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
    extra: int = 0,
) -> Tensor:
    """What a new token of every row reads from its row and itself; its key and value are remembered.

    Args:
        query: (rows, heads, head_size).
        key, value: (rows, key-value heads, head_size) of the new token.
        keys, values: (slots, key-value heads, room, head_size), of which the row in slot `slots[i]` has filled
            `lengths[i]`.
        extra: columns behind the result that are left to the caller.

    Returns:
        (rows, heads · head_size + extra).
    """
    rows, heads, size = query.shape
    kv_heads = key.shape[1]
    group = heads // kv_heads
    group_room, size_room = triton.next_power_of_2(group), triton.next_power_of_2(size)
    # At most half of the bytes are keys, which wait in shared memory: little of it on smaller GPUs.
    together = KEY_BYTES // (size_room * max(2, group_room) * query.element_size())
    out = query.new_empty(rows, heads * size + extra)
    _look_back[(rows, kv_heads)](
        query, key, value, keys, values, slots, lengths, out, scale, size,
        query.stride(0), query.stride(1), key.stride(0), key.stride(1), value.stride(0), value.stride(1),
        keys.stride(0), keys.stride(1), out.stride(0),
        GROUP=group, GROUP_ROOM=group_room, SIZE=size_room, KEYS=max(16, together), STAGES=STAGES,
    )  # fmt: skip
    return out


# -- x and what the adapters read of it in one kernel -------------------------------------------------------
#
# At few rows a kernel costs its start and one wait for memory, whatever it computes. So what makes x makes
# gains ⊙ Ax as well: every program computes all of x for its rows, and COLUMNS of A; the first ones store x.


@triton.jit
def _columns(a, first, stride, at, inside, COLUMNS: tl.constexpr):
    """COLUMNS rows of A, asked for before anything else so that all of it is waited for at once."""
    asked = ()
    for number in tl.static_range(COLUMNS):
        asked = asked + (tl.load(a + (first + number) * stride + at, mask=inside, other=0.0),)  # type: ignore[assignment]  # noqa: RUF005
    return asked


@triton.jit
def _add_product(total, x, asked, COLUMNS: tl.constexpr):
    """`total` (ROWS, COLUMNS) + x (ROWS, values) times the columns."""
    number = tl.arange(0, COLUMNS)
    for column in tl.static_range(COLUMNS):
        one = tl.sum(x * asked[column].to(tl.float32)[None, :], 1)
        total += tl.where(number[None, :] == column, one[:, None], 0.0)
    return total


@triton.jit
def _store_down(total, gains, wide, row, own, first, width, gain_stride, wide_stride, COLUMNS: tl.constexpr):
    """Store gains ⊙ Ax behind x; no column is cut off, as ranks are multiples of COLUMNS."""
    column = first + tl.arange(0, COLUMNS)[None, :]
    gain = tl.load(gains + row[:, None] * gain_stride + column, mask=own[:, None], other=0.0).to(tl.float32)
    # Rounded before it is scaled, as by a product and a product with the gains.
    down = total.to(wide.dtype.element_ty).to(tl.float32) * gain
    tl.store(wide + row[:, None] * wide_stride + width + column, down, mask=own[:, None])


@triton.jit
def _narrow(
    wide, a, gains, rows, width, wide_stride, a_stride, gain_stride,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, VALUES: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0) * COLUMNS
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    own = row < rows
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in tl.range(0, width, VALUES):
        at = start + tl.arange(0, VALUES)
        asked = _columns(a, first, a_stride, at, at < width, COLUMNS)
        read = wide + row[:, None] * wide_stride + at[None, :]
        x = tl.load(read, mask=own[:, None] & (at < width)[None, :], other=0.0).to(tl.float32)
        total = _add_product(total, x, asked, COLUMNS)
    _store_down(total, gains, wide, row, own, first, width, gain_stride, wide_stride, COLUMNS)


@triton.jit
def _add_norm_narrow(
    residual, delta, weight, a, gains, total, wide, eps, rows, width,
    residual_stride, delta_stride, a_stride, gain_stride, wide_stride,
    HAS_DELTA: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, VALUES: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0) * COLUMNS
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    own = row < rows
    at = tl.arange(0, VALUES)
    asked = _columns(a, first, a_stride, at, at < width, COLUMNS)
    scale = tl.load(weight + at, mask=at < width, other=0.0).to(tl.float32)
    inside = own[:, None] & (at < width)[None, :]
    read = residual + row[:, None] * residual_stride + at[None, :]
    exact = tl.load(read, mask=inside, other=0.0).to(tl.float32)
    if HAS_DELTA:
        read = delta + row[:, None] * delta_stride + at[None, :]
        exact += tl.load(read, mask=inside, other=0.0).to(tl.float32)
        # As in training's `add_norm`.
        rounded = exact.to(total.dtype.element_ty)
        if first == 0:
            tl.store(total + row[:, None] * width + at[None, :], rounded, mask=inside)
        exact = rounded.to(tl.float32)
    inverse = 1.0 / tl.sqrt(tl.sum(exact * exact, 1) / width + eps)
    x = (exact * inverse[:, None] * scale[None, :]).to(wide.dtype.element_ty)
    if first == 0:
        tl.store(wide + row[:, None] * wide_stride + at[None, :], x, mask=inside)
    taken = _add_product(tl.zeros((ROWS, COLUMNS), tl.float32), x.to(tl.float32), asked, COLUMNS)
    _store_down(taken, gains, wide, row, own, first, width, gain_stride, wide_stride, COLUMNS)


@triton.jit
def _swiglu_narrow(
    gate_up, a, gains, wide, rows, width, gate_up_stride, a_stride, gain_stride, wide_stride,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, VALUES: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0) * COLUMNS
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    own = row < rows
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in tl.range(0, width, VALUES):
        at = start + tl.arange(0, VALUES)
        inside = own[:, None] & (at < width)[None, :]
        asked = _columns(a, first, a_stride, at, at < width, COLUMNS)
        read = gate_up + row[:, None] * gate_up_stride + at[None, :]
        gate = tl.load(read, mask=inside, other=0.0).to(tl.float32)
        up = tl.load(read + width, mask=inside, other=0.0).to(tl.float32)
        x = (gate * tl.sigmoid(gate) * up).to(wide.dtype.element_ty)
        if first == 0:
            tl.store(wide + row[:, None] * wide_stride + at[None, :], x, mask=inside)
        total = _add_product(total, x.to(tl.float32), asked, COLUMNS)
    _store_down(total, gains, wide, row, own, first, width, gain_stride, wide_stride, COLUMNS)


def narrow(wide: Tensor, a: Tensor, gains: Tensor) -> None:
    """Write gains ⊙ Ax behind x, the first columns of `wide` (rows, width + rank)."""
    (rank, width), rows = a.shape, len(wide)
    together, columns, values, warps = _cut(rows, width)
    _narrow[(rank // columns, triton.cdiv(rows, together))](
        wide, a, gains, rows, width, wide.stride(0), a.stride(0), gains.stride(0),
        ROWS=together, COLUMNS=columns, VALUES=values, num_warps=warps,
    )  # fmt: skip


def add_norm(
    residual: Tensor, delta: Tensor | None, weight: Tensor, eps: float, a: Tensor, gains: Tensor
) -> tuple[Tensor, Tensor]:
    """The sum, and its norm with gains ⊙ A·norm behind it; see `portable.add_norm`."""
    (rank, width), rows = a.shape, len(residual)
    total = residual if delta is None else residual.new_empty(rows, width)
    wide = residual.new_empty(rows, width + rank)
    added = residual if delta is None else delta
    values = triton.next_power_of_2(width)
    together, columns, _, warps = _cut(rows, width, values)
    _add_norm_narrow[(rank // columns, triton.cdiv(rows, together))](
        residual, added, weight, a, gains, total, wide, eps, rows, width,
        residual.stride(0), added.stride(0), a.stride(0), gains.stride(0), wide.stride(0),
        HAS_DELTA=delta is not None, ROWS=together, COLUMNS=columns, VALUES=values, num_warps=warps,
    )  # fmt: skip
    return total, wide


def swiglu(gate_up: Tensor, a: Tensor, gains: Tensor) -> Tensor:
    """The product (see `portable.swiglu`) with gains ⊙ A·product behind it."""
    (rank, width), rows = a.shape, len(gate_up)
    wide = gate_up.new_empty(rows, width + rank)
    together, columns, values, warps = _cut(rows, width)
    _swiglu_narrow[(rank // columns, triton.cdiv(rows, together))](
        gate_up, a, gains, wide, rows, width, gate_up.stride(0), a.stride(0), gains.stride(0), wide.stride(0),
        ROWS=together, COLUMNS=columns, VALUES=values, num_warps=warps,
    )  # fmt: skip
    return wide


def _cut(rows: int, width: int, values: int = 0) -> tuple[int, int, int, int]:
    """Rows, columns and values that a program has in registers at a time, and its warps."""
    values = values or min(triton.next_power_of_2(width), MOST_VALUES)
    together = max(1, min(ROWS_TOGETHER, triton.next_power_of_2(rows), MOST_HELD // values))
    columns = COLUMNS_FEW if rows <= FEW_ROWS else COLUMNS_MANY
    return together, columns, values, 4 if together * values <= 4096 else 8
