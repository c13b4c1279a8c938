"""A tiny adapted model and a few rows to train it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from jobs.generation.base import load_base
from jobs.generation.chat import ChatFormat
from jobs.training.examples import Example, tokenized
from jobs.training.model import with_adapters

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
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=options["rank"],
            lora_alpha=options["alpha"],
            target_modules=options["target_modules"],
            layers_to_transform=options.get("layers"),
            lora_dropout=options.get("dropout", 0.0),
        )
        return with_adapters(base, [config], options.get("seed", 0))

    return make


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two threads would only wait for each other on sums so small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
