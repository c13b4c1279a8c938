"""Triton kernels computed by its interpreter, so that they can be tested where no GPU is.

Triton reads at its import whether it interprets, so a process of its own does the work: a test's file as a script,
which ends with `print(json.dumps(...))`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NEEDS_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton comes with torch on Linux only."
)


def interpreted(module: str) -> dict[str, Any]:
    """What a test's file prints when it is run as a script while Triton interprets."""
    ended = subprocess.run(
        [sys.executable, "-m", module],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout)  # type: ignore[no-any-return]


def let_lengths_bound_loops() -> None:
    """Triton 3.6 makes loop bounds of arrays with one element by `int`, which numpy 2.4 refuses."""
    from triton.runtime import interpreter

    tensor_functions = interpreter._patch_lang_tensor

    def with_loop_bounds(tensor: object, scope: interpreter._LangPatchScope) -> None:
        tensor_functions(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = with_loop_bounds
