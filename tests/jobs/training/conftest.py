"""A tiny adapted model and a few rows to train it on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.generation.base import load_base
from jobs.generation.chat import ChatFormat
from jobs.training.examples import Example, tokenized
from jobs.training.model import add_adapter

WORDS = ["the", "quick", "brown", "fox", "answers", "user", "and", "assistant", "in", "JSON"]


def rows_of(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Rows of different lengths whose answers repeat a word of the question."""
    rows = []
    for i in range(start, start + count):
        word = WORDS[i % len(WORDS)]
        question = " ".join([word, *WORDS[: i % 7]])
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": f"{word} {word}"}]
        rows.append({"row": i + 1, "messages": messages})
    return rows


@pytest.fixture
def examples(tiny_model: Path) -> list[Example]:
    """Forty rows as tokens."""
    return tokenized(rows_of(40), ChatFormat.load(tiny_model))[0]


@pytest.fixture
def adapted(tiny_model: Path) -> Callable[..., Any]:
    """Makes a fresh fp32 `PeftModel` of the tiny model."""

    def make(**options: Any) -> Any:
        base = load_base(tiny_model, "cpu", "fp32")
        options = {"rank": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"], **options}
        return add_adapter(base, **options)

    return make
