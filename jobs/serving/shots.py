"""The training rows that a base model is shown before a prompt: drawn once, or the most similar ones."""

from __future__ import annotations

import random
from functools import lru_cache

from jobs.datasets import rows
from jobs.datasets.row_view import RowView
from jobs.serving.context import ROOM_FOR_AN_ANSWER, Messages, fits
from jobs.serving.similar import Similar

SHOTS = 3
# Of a larger set, similar rows are looked for among so many, from all over it.
MOST_SEARCHED = 20_000


def shots(
    dataset_id: str, count: int = SHOTS, seed: int = 0, exclude_row: int | None = None
) -> list[Messages]:
    """The turns of `count` training rows each, drawn by `seed`; without the row of that number."""
    view = rows.opened(dataset_id)
    places = view.of_kind("train")
    # One more, so that a row left out has another one in its place and the others stay.
    drawn = random.Random(seed).sample(range(len(places)), min(count + 1, len(places)))
    shown = [view.read(places[[place]])[0] for place in drawn]
    return _turns([row for row in shown if row["row"] != exclude_row][:count])


def similar_shots(
    dataset_id: str, prompt: str, count: int = SHOTS, exclude_row: int | None = None
) -> list[Messages]:
    """The turns of the `count` training rows with the most similar prompts, the most similar one last.

    Last, because a model heeds most what stands nearest to the question (Liu et al. 2021, arXiv 2101.06804).
    """
    searched, similar = _searched(rows.opened(dataset_id), dataset_id)
    nearest = [searched[place] for place in similar.nearest(prompt, count + 1)]
    view = rows.opened(dataset_id)
    found = [view.find(number) for number in nearest if number != exclude_row]
    return _turns([row for row in found if row is not None][:count][::-1])


def with_shots(
    messages: Messages, examples: list[Messages], base_model_id: str, room: int = ROOM_FOR_AN_ANSWER
) -> tuple[Messages, int]:
    """The conversation behind as many examples as leave the model room for an answer, and how many those are."""
    start = 1 if messages and messages[0]["role"] == "system" else 0
    for left_out in range(len(examples)):
        # The first ones leave: the last ones are the most similar.
        shown = [turn for example in examples[left_out:] for turn in example]
        asked = messages[:start] + shown + messages[start:]
        if fits(base_model_id, asked, room):
            return asked, len(examples) - left_out
    return messages, 0


# The view stands for the very rows; one takes 30 MB at most.
@lru_cache(maxsize=2)
def _searched(_view: RowView, dataset_id: str) -> tuple[list[int], Similar]:
    """The numbers of the training rows that are searched, and their prompts."""
    searched = rows.some_rows(dataset_id, "train", MOST_SEARCHED)
    prompts = [_prompt_of(row["messages"]) for row in searched]
    return [row["row"] for row in searched], Similar(prompts)


def _prompt_of(messages: Messages) -> str:
    """What the last answer of a row answers."""
    return next((turn["content"] for turn in reversed(messages) if turn["role"] == "user"), "")


def _turns(shown: list[rows.Row]) -> list[Messages]:
    return [[turn for turn in row["messages"] if turn["role"] != "system"] for row in shown]
