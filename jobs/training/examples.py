"""Rows of a dataset as tokens, with what is to be learned of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.generation.chat import ChatFormat
from storage.errors import StudioError

NO_ANSWER = "There is no answer to learn."


@dataclass(frozen=True, eq=False)
class Example:
    """One row, ready to be learned; `learned` says for each token whether it belongs to an answer.

    Both are (tokens,) arrays, often views of a file that is not in memory; made from lists as well.
    """

    row: int
    token_ids: NDArray[np.uint32]
    learned: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for name, kind in (("token_ids", np.uint32), ("learned", np.bool_)):
            if type(getattr(self, name)) is not np.ndarray:
                object.__setattr__(self, name, np.array(getattr(self, name), kind))

    @property
    def supervised_tokens(self) -> int:
        """Tokens that the loss counts; the first of a text is predicted from nothing, so it never does."""
        return int(np.count_nonzero(self.learned[1:]))

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """(tokens,) token ids and (supervised,) indices of the tokens that the loss counts, both int64."""
        supervised = np.flatnonzero(self.learned[1:]) + 1
        return torch.from_numpy(self.token_ids.astype(np.int64)), torch.from_numpy(supervised)


@dataclass(frozen=True)
class LeftOut:
    """A row that cannot be trained on, and why."""

    row: int
    reason: str


class Examples(Sequence[Example]):
    """Examples in flat arrays; each is made when it is asked for, so a million take no memory of their own.

    Attributes:
        sources: (token ids, learned) of each file that holds some.
        source, starts, lengths: (examples,), where each one's tokens are.
        rows: (examples,), their row numbers.
    """

    def __init__(
        self,
        sources: Sequence[tuple[NDArray[np.uint32], NDArray[np.bool_]]],
        source: NDArray[np.uint8],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> None:
        self.sources = sources
        self.source, self.starts, self.lengths, self.rows = source, starts, lengths, rows

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Examples:
        """Any examples in flat arrays."""
        if isinstance(examples, Examples):
            return examples
        lengths = np.array([len(example.token_ids) for example in examples], np.int64)
        empty = np.empty(0, np.uint32), np.empty(0, np.bool_)
        flat = (
            np.concatenate([empty[0], *(example.token_ids for example in examples)]),
            np.concatenate([empty[1], *(example.learned for example in examples)]),
        )
        rows = np.array([example.row for example in examples], np.int64)
        return cls([flat], np.zeros(len(rows), np.uint8), lengths.cumsum() - lengths, lengths, rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> Examples: ...
    def __getitem__(self, place: int | slice) -> Example | Examples:
        if isinstance(place, slice):
            return self.taken(place)
        # Raises IndexError beyond the end, which ends an iteration.
        start, (token_ids, learned) = self.starts.item(place), self.sources[self.source.item(place)]
        end = start + self.lengths.item(place)
        return Example(self.rows.item(place), token_ids[start:end], learned[start:end])

    def taken(self, which: Any, lengths: NDArray[np.int64] | None = None) -> Examples:
        """Some of the examples, by a slice, their places or a mask; with other lengths (of all) where given."""
        lengths = self.lengths if lengths is None else lengths
        return Examples(
            self.sources, self.source[which], self.starts[which], lengths[which], self.rows[which]
        )


def token_lengths(examples: Sequence[Example]) -> list[int]:
    """How many tokens each example has."""
    if isinstance(examples, Examples):
        lengths: list[int] = examples.lengths.tolist()
        return lengths
    return [len(example.token_ids) for example in examples]


def tokenized(rows: Iterable[Mapping[str, Any]], chat: ChatFormat) -> tuple[list[Example], list[LeftOut]]:
    """All rows as tokens, and those rows that the model's template refuses or that have no answer.

    Raises:
        StudioError: not a single row can be learned.
    """
    examples, left_out = [], []
    rows, conversations = itertools.tee(rows)
    for row, found in zip(rows, chat.examples(row["messages"] for row in conversations), strict=True):
        if isinstance(found, StudioError):
            left_out.append(LeftOut(row["row"], found.message))
            continue
        token_ids, learned = np.array(found[0], np.uint32), np.array(found[1], np.bool_)
        end = _up_to_learned(learned)
        if end > 1:
            # What follows the last learned token teaches nothing.
            examples.append(Example(row["row"], token_ids[:end], learned[:end]))
        else:
            left_out.append(LeftOut(row["row"], NO_ANSWER))
    some(examples, left_out)
    return examples, left_out


def shortened(examples: Sequence[Example], max_tokens: int | None) -> tuple[Sequence[Example], list[LeftOut]]:
    """The examples cut at their end to `max_tokens`, and those of which no answer remains.

    Raises:
        StudioError: nothing remains of any.
    """
    flat = Examples.of(examples)
    lengths = flat.lengths.copy()
    # Those from the cache end with their last learned token.
    looked_at = lengths > (max_tokens or lengths.max(initial=0)) if flat is examples else lengths >= 0
    for place in np.flatnonzero(looked_at).tolist():
        lengths[place] = _up_to_learned(flat[place].learned[:max_tokens])
    kept = flat.taken(lengths > 1, lengths)
    reason = f"The answer begins after {max_tokens} tokens."
    left_out = [LeftOut(row, reason) for row in flat.rows[lengths <= 1].tolist()]
    some(kept, left_out)
    return kept, left_out


def _up_to_learned(learned: NDArray[np.bool_]) -> int:
    """How many tokens there are up to the last learned one, with it."""
    found = np.flatnonzero(learned)
    return int(found[-1]) + 1 if len(found) else 0


def some(examples: Sequence[Example], left_out: Sequence[LeftOut]) -> None:
    """Raise a StudioError where rows were left out and no example remains."""
    if left_out and not len(examples):
        raise StudioError(
            f"None of the {len(left_out)} rows can be learned. Row {left_out[0].row}: {left_out[0].reason}",
            "Raise max_tokens (longest example), change the rows, or choose another base model.",
        )
