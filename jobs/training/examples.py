"""Rows of a dataset as tokens, with what is to be learned of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from jobs.generation.chat import ChatFormat
from storage.errors import StudioError


@dataclass(frozen=True)
class Example:
    """One row, ready to be learned; `learned` says for each token whether it belongs to an answer."""

    row: int
    token_ids: list[int]
    learned: list[bool]

    @cached_property
    def supervised_tokens(self) -> int:
        """Tokens that the loss counts; the first of a text is predicted from nothing, so it never does."""
        return sum(self.learned[1:])

    @cached_property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """(tokens,) token ids and (supervised,) indices of the tokens that the loss counts, both int64."""
        learned = torch.tensor(self.learned, dtype=torch.bool)
        learned[:1] = False
        return torch.tensor(self.token_ids, dtype=torch.long), learned.nonzero().squeeze(1)


@dataclass(frozen=True)
class LeftOut:
    """A row that cannot be trained on, and why."""

    row: int
    reason: str


def tokenized(rows: Iterable[Mapping[str, Any]], chat: ChatFormat) -> tuple[list[Example], list[LeftOut]]:
    """All rows as tokens, and those rows that the model's template refuses or that have no answer.

    Raises:
        StudioError: not a single row can be learned.
    """
    examples, left_out = [], []
    rows, conversations = itertools.tee(rows)
    for row, found in zip(rows, chat.examples(row["messages"] for row in conversations), strict=True):
        trimmed = None if isinstance(found, StudioError) else _trimmed(row["row"], *found)
        if trimmed is not None:
            examples.append(trimmed)
        else:
            reason = found.message if isinstance(found, StudioError) else "There is no answer to learn."
            left_out.append(LeftOut(row["row"], reason))
    return _some(examples, left_out)


def shortened(examples: Sequence[Example], max_tokens: int | None) -> tuple[list[Example], list[LeftOut]]:
    """The examples cut at their end to `max_tokens`, and those of which no answer remains.

    Raises:
        StudioError: nothing remains of any.
    """
    kept, left_out = [], []
    for example in examples:
        trimmed = _trimmed(example.row, example.token_ids[:max_tokens], example.learned[:max_tokens])
        if trimmed is None:
            left_out.append(LeftOut(example.row, f"The answer begins after {max_tokens} tokens."))
        else:
            kept.append(trimmed)
    return _some(kept, left_out)


def _trimmed(row: int, token_ids: list[int], learned: list[bool]) -> Example | None:
    """The example up to its last learned token, since what follows teaches nothing; None without one."""
    end = len(learned)
    while end and not learned[end - 1]:
        end -= 1
    return Example(row, token_ids[:end], learned[:end]) if end > 1 else None


def _some(examples: list[Example], left_out: list[LeftOut]) -> tuple[list[Example], list[LeftOut]]:
    if left_out and not examples:
        raise StudioError(
            f"None of the {len(left_out)} rows can be learned. Row {left_out[0].row}: {left_out[0].reason}",
            "Raise max_tokens (longest example), change the rows, or choose another base model.",
        )
    return examples, left_out
