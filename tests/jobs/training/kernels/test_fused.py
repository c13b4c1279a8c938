"""The Triton kernels compute what plain torch computes: this file, run as a script, interprets them."""

from __future__ import annotations

import json

import pytest
import torch

from tests.jobs.interpreting import NEEDS_TRITON, interpreted
from tests.jobs.training.kernels.cases import cases, error

CLOSE = {"float32": 2e-6, "bfloat16": 1e-2}

pytestmark = NEEDS_TRITON


@pytest.fixture(scope="module")
def errors() -> dict[str, dict[str, float]]:
    """By format and function, the error as of `cases.error`."""
    return interpreted(__name__)


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
