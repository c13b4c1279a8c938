"""The Triton kernels of a step compute what plain torch computes: this file, run as a script, interprets them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import torch
from torch import Tensor

from tests.jobs.interpreting import NEEDS_TRITON, interpreted, let_lengths_bound_loops

pytestmark = NEEDS_TRITON

# heads, key-value heads, head_size
SHAPES = [(9, 3, 64), (4, 4, 24), (8, 1, 128)]
# rows, width: one row, rows that do not come out even, a row that is cut, many rows
READ = [(1, 200), (3, 600), (3, 5000), (17, 72)]


def test_every_kernel_computes_what_plain_torch_computes() -> None:
    errors: dict[str, float] = interpreted(__name__)
    wrong = {case: error for case, error in errors.items() if not error < 1e-5}
    assert not wrong and len(errors) == 3 * len(SHAPES) + 9 * len(READ)


def _measure() -> dict[str, float]:
    from jobs.generation.kernels import fused
    from jobs.generation.memory import look_back

    let_lengths_bound_loops()
    torch.manual_seed(0)
    found = {}
    for heads, kv_heads, size in SHAPES:
        keys, values = torch.randn(2, 5, kv_heads, 192, size)
        own_keys, own_values = keys.clone(), values.clone()
        slots, lengths = torch.tensor([3, 0, 1]), torch.tensor([0, 70, 191])
        qkv = torch.randn(3, heads + 2 * kv_heads, size)
        query, key, value = qkv.split([heads, kv_heads, kv_heads], dim=1)
        keys[slots, :, lengths], values[slots, :, lengths] = key, value
        wanted = look_back(query, keys, values, slots, lengths, 0.2)
        got = fused.look_back(query, key, value, own_keys, own_values, slots, lengths, 0.2, extra=8)
        name = f"{heads} heads of {size}"
        found[name] = _error(got[:, : heads * size], wanted.flatten(1))
        found[f"{name}: keys"] = _error(own_keys, keys)
        found[f"{name}: values"] = _error(own_values, values)
    for rows, width in READ:
        found |= {f"{name}, {rows} × {width}": error for name, error in _read(rows, width)}
    return found


def _read(rows: int, width: int) -> Iterator[tuple[str, float]]:
    """What makes an input computes what adapters read of it, A and x being parts of something wider."""
    from jobs.generation.kernels import fused
    from jobs.training.kernels import portable

    a, gains = torch.randn(48, width + 40)[8:, :width], torch.rand(rows, 40)
    wide = torch.randn(rows, width + 40)
    x = wide[:, :width].clone()
    fused.narrow(wide, a, gains)
    yield "narrow: x", _error(wide[:, :width], x)
    yield "narrow: down", _error(wide[:, width:], x @ a.T * gains)
    residual, delta, weight = torch.randn(rows, width), torch.randn(rows, width), torch.randn(width)
    for name, added in (("first norm", None), ("norm", delta)):
        wanted, normed, _ = portable.add_norm(residual, added, weight, 1e-5, 0)
        total, wide = fused.add_norm(residual, added, weight, 1e-5, a, gains)
        if added is not None:
            yield f"{name}: sum", _error(total, wanted)
        yield f"{name}: x", _error(wide[:, :width], normed)
        yield f"{name}: down", _error(wide[:, width:], normed @ a.T * gains)
    gate_up = torch.randn(rows, 2 * width)
    product = portable.swiglu(gate_up, 0)
    wide = fused.swiglu(gate_up, a, gains)
    yield "swiglu: x", _error(wide[:, :width], product)
    yield "swiglu: down", _error(wide[:, width:], product @ a.T * gains)


def _error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


if __name__ == "__main__":
    print(json.dumps(_measure()))
