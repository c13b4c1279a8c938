"""The Triton kernels of a step compute what plain torch computes.

Triton reads at its import whether it interprets, so a process of its own does the work: this file as a script.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

# heads, key-value heads, head_size
SHAPES = [(9, 3, 64), (4, 4, 24), (8, 1, 128)]
# rows, width: one row, rows that do not come out even, a row that is cut, many rows
READ = [(1, 200), (3, 600), (3, 5000), (17, 72)]


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    result = subprocess.run(
        [sys.executable, "-m", __name__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, float] = json.loads(result.stdout)
    return found


def test_every_kernel_computes_what_plain_torch_computes(errors: dict[str, float]) -> None:
    wrong = {case: error for case, error in errors.items() if not error < 1e-5}
    assert not wrong and len(errors) == 3 * len(SHAPES) + 9 * len(READ)


def _measure() -> dict[str, float]:
    from jobs.generation.kernels import fused
    from jobs.generation.memory import look_back

    _let_lengths_bound_loops()
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


def _let_lengths_bound_loops() -> None:
    """Triton 3.6 makes loop bounds of arrays with one element by `int`, which numpy 2.4 refuses."""
    from triton.runtime import interpreter

    tensor_functions = interpreter._patch_lang_tensor

    def with_loop_bounds(tensor: object, scope: interpreter._LangPatchScope) -> None:
        tensor_functions(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = with_loop_bounds


def _error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


if __name__ == "__main__":
    print(json.dumps(_measure()))
