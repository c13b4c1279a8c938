"""The Triton kernels of a step compute what plain torch computes.

Triton reads at its import whether it interprets, so a process of its own does the work: this file as a script.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

# heads, key-value heads, head_size
SHAPES = [(9, 3, 64), (4, 4, 24), (8, 1, 128)]


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
    assert not wrong and len(errors) == 3 * len(SHAPES) + 2


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
        got = fused.look_back(query, key, value, own_keys, own_values, slots, lengths, 0.2)
        name = f"{heads} heads of {size}"
        found[name] = _error(got, wanted)
        found[f"{name}: keys"] = _error(own_keys, keys)
        found[f"{name}: values"] = _error(own_values, values)
    for rows in (3, 17):
        wide, a, gains = torch.randn(rows, 600 + 40), torch.randn(40, 600), torch.rand(rows, 40)
        wanted = wide[:, :600] @ a.T * gains
        fused.narrow(wide, a, gains)
        found[f"narrow, {rows} rows"] = _error(wide[:, 600:], wanted)
    return found


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
