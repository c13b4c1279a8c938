"""Rows of a dataset as tokens, and several of them as the tensors of one micro-batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

    @property
    def supervised_tokens(self) -> int:
        """Tokens that the loss counts; the first of a text is predicted from nothing, so it never does."""
        return sum(self.learned[1:])


@dataclass(frozen=True)
class LeftOut:
    """A row that cannot be trained on, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class Batch:
    """One micro-batch.

    Attributes:
        token_ids: (rows, tokens), padded behind.
        mask: (rows, tokens), or None where nothing is padded, which lets attention take its fastest way.
        positions: (supervised,), indices into the flattened hidden states that predict a learned token.
        targets: (supervised,), those tokens.
    """

    token_ids: Tensor
    mask: Tensor | None
    positions: Tensor
    targets: Tensor


def tokenized(rows: Iterable[Mapping[str, Any]], chat: ChatFormat) -> tuple[list[Example], list[LeftOut]]:
    """All rows as tokens, and those rows that the model's template refuses or that have no answer.

    Raises:
        StudioError: not a single row can be learned.
    """
    examples, left_out = [], []
    for row in rows:
        try:
            example = chat.example(row["messages"])
        except StudioError as error:
            left_out.append(LeftOut(row["row"], error.message))
            continue
        trimmed = _trimmed(row["row"], example.token_ids, example.learned)
        if trimmed is None:
            left_out.append(LeftOut(row["row"], "There is no answer to learn."))
        else:
            examples.append(trimmed)
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
    end = max((i + 1 for i, is_learned in enumerate(learned) if is_learned), default=0)
    return Example(row, token_ids[:end], learned[:end]) if end > 1 else None


def _some(examples: list[Example], left_out: list[LeftOut]) -> tuple[list[Example], list[LeftOut]]:
    if left_out and not examples:
        raise StudioError(
            f"None of the {len(left_out)} rows can be learned. Row {left_out[0].row}: {left_out[0].reason}",
            "Raise max_tokens (longest example), change the rows, or choose another base model.",
        )
    return examples, left_out


def batch_of(examples: Sequence[Example], device: str | torch.device) -> Batch:
    """The tensors of one micro-batch on `device`."""
    width = max(len(example.token_ids) for example in examples)
    token_ids = torch.zeros(len(examples), width, dtype=torch.long)
    mask = torch.zeros(len(examples), width, dtype=torch.long)
    learned = torch.zeros(len(examples), width, dtype=torch.bool)
    for i, example in enumerate(examples):
        length = len(example.token_ids)
        token_ids[i, :length] = torch.tensor(example.token_ids)
        mask[i, :length] = 1
        learned[i, :length] = torch.tensor(example.learned)
    # The hidden state at position t predicts token t + 1.
    predicts = torch.zeros_like(learned)
    predicts[:, :-1] = learned[:, 1:]
    return Batch(
        token_ids.to(device),
        None if bool(mask.all()) else mask.to(device),
        predicts.flatten().nonzero().squeeze(1).to(device),
        token_ids[:, 1:][learned[:, 1:]].to(device),
    )
