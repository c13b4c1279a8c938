"""The rows that every contestant reads: Alpaca's lengths, from a file or made up."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.training.examples import Example

ROWS = 999
LONGEST_TOKENS = 750
# Measured on 999 Alpaca rows with SmolLM2's tokenizer and template: questions of 38 tokens and more (median
# 46, 95 % below 75), answers of 2 to 595 (mean 150, deviation 138): together 201 on average, 75 % learned.
SHORTEST_QUESTION_TOKENS = 38
QUESTION_LOG_MEAN, QUESTION_LOG_DEVIATION = 2.1, 0.9
ANSWER_SHAPE, ANSWER_SCALE = 1.19, 126.0


def made_up(vocabulary: int, rows: int = ROWS, seed: int = 0) -> list[Example]:
    """Rows with Alpaca's lengths and random tokens; the speed of random weights does not depend on them."""
    draw = random.Random(seed)
    examples = []
    for row in range(1, rows + 1):
        question = SHORTEST_QUESTION_TOKENS + round(
            draw.lognormvariate(QUESTION_LOG_MEAN, QUESTION_LOG_DEVIATION)
        )
        question = min(question, LONGEST_TOKENS // 2)
        answer = min(max(2, round(draw.gammavariate(ANSWER_SHAPE, ANSWER_SCALE))), LONGEST_TOKENS - question)
        token_ids = [draw.randrange(3, vocabulary) for _ in range(question + answer)]
        examples.append(Example(row, token_ids, [False] * question + [True] * answer))
    return examples


def read(path: Path, tokenizer_folder: Path, vocabulary: int) -> list[Example]:
    """A list of Alpaca objects as one model's tokens, folded into another's vocabulary where it is smaller."""
    from jobs.generation.chat import ChatFormat
    from jobs.training.examples import tokenized

    objects = json.loads(path.read_text(encoding="utf-8"))
    rows = [{"row": number, "messages": conversation(entry)} for number, entry in enumerate(objects, start=1)]
    examples, _ = tokenized(rows, ChatFormat.load(tokenizer_folder))
    return [
        Example(example.row, example.token_ids % (vocabulary - 3) + 3, example.learned)
        for example in examples
    ]


def conversation(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """An Alpaca object as question and answer."""
    question = "\n\n".join(part for part in (entry["instruction"], entry.get("input")) if part)
    return [{"role": "user", "content": question}, {"role": "assistant", "content": entry["output"]}]


def facts(examples: list[Example]) -> dict[str, Any]:
    """What the lengths are like."""
    lengths = [len(example.token_ids) for example in examples]
    learned = sum(example.supervised_tokens for example in examples)
    return {
        "rows": len(lengths),
        "mean_tokens": round(sum(lengths) / len(lengths)),
        "longest_tokens": max(lengths),
        "learned_share": round(learned / sum(lengths), 3),
    }
