"""The rows that are asked and what is wanted of them: held-out ones to count, training ones to learn rules from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.base_models import weights
from jobs.datasets import rows
from jobs.generation.chat import ChatFormat

Messages = list[dict[str, str]]

LONGEST_ANSWER_TOKENS = 1024
# Every answer may have what this share of the wanted ones need, a quarter more, and a few: where the wanted answer
# is one word, a model that says the same with two more is not to be cut in the middle.
USUAL_SHARE = 0.9
MORE_TOKENS = 16
# Without room for so many tokens a prompt is not worth asking.
ROOM_FOR_AN_ANSWER = 16


@dataclass(frozen=True)
class HeldOutRow:
    """One example that training never saw: what is asked, and the answer that was wanted."""

    row: int
    messages: Messages
    reference: str

    @property
    def prompt(self) -> str:
        """The last thing that was said before the wanted answer."""
        return self.messages[-1]["content"] if self.messages else ""

    @classmethod
    def of(cls, row: dict[str, Any]) -> HeldOutRow:
        """Split a dataset row before its last answer."""
        messages = row["messages"]
        last = max(index for index, turn in enumerate(messages) if turn["role"] == "assistant")
        return cls(row["row"], messages[:last], messages[last]["content"])


def rows_of(dataset_id: str, split: str, most: int) -> list[HeldOutRow]:
    """At most `most` rows of one split, as many as there are, evenly spread over it and always the same.

    Raises: StudioError when the rows are gone.
    """
    view = rows.opened(dataset_id)
    places = view.of_kind(split)
    count = min(most, len(places))
    chosen = [index * len(places) // count for index in range(count)]
    return [row for row in map(HeldOutRow.of, view.read(places[chosen])) if row.messages]


def answer_lengths(base_folder: Path, asked: Sequence[HeldOutRow]) -> list[int]:
    """How many tokens the answers to each row may have, whoever answers.

    What nine tenths of the wanted answers need, or this row's own if that is more, and something more: one long
    example must not let every answer of a model that never ends run on.
    """
    chat = ChatFormat.load(base_folder)
    needed = [_answer_tokens(chat, row) for row in asked]
    usual = sorted(needed)[int(USUAL_SHARE * (len(needed) - 1))] if needed else 0
    return [min(max(own, usual) * 5 // 4 + MORE_TOKENS, LONGEST_ANSWER_TOKENS) for own in needed]


def that_fit(base_folder: Path, asked: Sequence[HeldOutRow], before: Messages) -> list[HeldOutRow]:
    """The rows that the base model can read with the turns `before` them and the wanted answer behind them."""
    context = weights.read_config(base_folder).get("max_position_embeddings")
    if context is None:
        return list(asked)
    chat = ChatFormat.load(base_folder)
    return [
        row
        for row in asked
        if len(chat.prompt_ids([*before, *row.messages])) + max(ROOM_FOR_AN_ANSWER, _answer_tokens(chat, row))
        <= int(context)
    ]


def _answer_tokens(chat: ChatFormat, row: HeldOutRow) -> int:
    """How long the wanted answer is as a turn of its own: a few tokens more than behind its question."""
    return len(chat.prompt_ids([{"role": "user", "content": row.reference}]))
