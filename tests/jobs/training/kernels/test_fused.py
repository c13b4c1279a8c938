"""The Triton kernels compute what plain torch computes.

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

from tests.jobs.training.kernels.cases import cases, error

CLOSE = {"float32": 2e-6, "bfloat16": 1e-2}

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@pytest.fixture(scope="module")
def errors() -> dict[str, dict[str, float]]:
    """By format and function, the error as of `cases.error`."""
    result = subprocess.run(
        [sys.executable, "-m", __name__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, dict[str, float]] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", cases(torch.float32))
def test_computes_what_plain_torch_computes(
    name: str, dtype: str, errors: dict[str, dict[str, float]]
) -> None:
    assert errors[dtype][name] < CLOSE[dtype]


def _measure() -> dict[str, dict[str, float]]:
    from jobs.training.kernels import fused, portable

    return {
        dtype: {
            name: error(case(fused), case(portable)) for name, case in cases(getattr(torch, dtype)).items()
        }
        for dtype in CLOSE
    }


if __name__ == "__main__":
    print(json.dumps(_measure()))
