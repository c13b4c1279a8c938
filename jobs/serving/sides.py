"""What each side of a comparison is asked: the same prompt, with what belongs to that side around it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from jobs.base_models import catalogue, weights
from jobs.datasets import rows
from jobs.datasets.row_view import RowView
from jobs.generation.chat import ChatFormat
from jobs.serving.schema import SideRequest
from storage import adapters, files
from storage.errors import StudioError

SHOTS = 3
ROOM_FOR_AN_ANSWER = 64

Messages = list[dict[str, str]]


def shared_system(dataset_id: str) -> str | None:
    """The system message that all training rows begin with; None when they differ or the dataset is gone.

    An adapter learned its answers behind this message, so it is asked behind it too.
    """
    if not dataset_id or not files.dataset_folder(dataset_id).exists():
        return None
    return _shared_system(rows.opened(dataset_id), dataset_id)


@lru_cache(maxsize=16)
def _shared_system(_view: RowView, dataset_id: str) -> str | None:
    """Kept, because of a large set it takes a while; the view stands for the very rows."""
    found: set[str | None] = set()
    for row in rows.iterate(dataset_id, "train"):
        found.add(_system_of(row["messages"]))
        if len(found) > 1:
            return None
    return found.pop() if found else None


def behind(messages: Messages, system: str | None) -> Messages:
    """The conversation behind `system`, unless it brings a system message of its own."""
    if not system or _system_of(messages) is not None:
        return messages
    return [{"role": "system", "content": system}, *messages]


def with_system(messages: Messages, system: str) -> Messages:
    """The conversation behind `system` in place of its own; "" leaves none."""
    return behind([turn for turn in messages if turn["role"] != "system"], system)


def shots(dataset_id: str, count: int = SHOTS, seed: int = 0) -> list[Messages]:
    """The turns of `count` training rows each, drawn by `seed`, to be shown before the prompt (few-shot)."""
    view = rows.opened(dataset_id)
    places = view.of_kind("train")
    drawn = random.Random(seed).sample(range(len(places)), min(count, len(places)))
    shown = [view.read(places[[place]])[0]["messages"] for place in drawn]
    return [[turn for turn in messages if turn["role"] != "system"] for messages in shown]


def with_shots(messages: Messages, examples: list[Messages], base_model_id: str) -> tuple[Messages, int]:
    """The conversation behind as many examples as the model can read, and how many those are."""
    folder = catalogue.find(base_model_id).folder
    context = weights.read_config(folder).get("max_position_embeddings") if folder else None
    for count in range(len(examples), 0, -1):
        asked = _before_the_prompt(messages, [turn for example in examples[:count] for turn in example])
        if folder is None or context is None:
            return asked, count
        if len(_chat(folder).prompt_ids(asked)) + ROOM_FOR_AN_ANSWER <= context:
            return asked, count
    return messages, 0


@lru_cache(maxsize=2)
def _chat(folder: Path) -> ChatFormat:
    return ChatFormat.load(folder)


def conversation(prompt: str | Messages) -> Messages:
    """A prompt as a conversation that waits for an answer.

    Raises: StudioError when there is nothing to answer.
    """
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if not messages or messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise StudioError("The prompt is empty.", "Write what the model should answer.")
    return messages


def requests_for(
    sides: Sequence[str], adapter: adapters.Adapter | None, base_model_id: str, messages: Messages
) -> list[SideRequest]:
    """One request for each side, in the order of `sides`.

    Raises: StudioError when a side needs an adapter that is not given, or is one made for another base model.
    """
    requests = []
    for side in sides:
        asked, answering = messages, None
        if side == "base":
            label = "Base model"
        elif side == "few_shot":
            examples = shots(_given(adapter, side).dataset_id)
            asked, shown = with_shots(messages, examples, base_model_id)
            label = f"Base model + {shown} examples"
        else:
            answering = _given(adapter, side) if side == "adapted" else adapters.get(side)
            label = answering.name
            if answering.base_model_id != base_model_id:
                raise StudioError(
                    f"The adapter “{label}” was made for the base model {answering.base_model_id}, "
                    f"not for {base_model_id}.",
                    "Compare adapters of the same base model.",
                )
        adapter_id = answering.id if answering is not None else None
        requests.append(SideRequest(side=side, label=label, adapter_id=adapter_id, messages=asked))
    return requests


def _given(adapter: adapters.Adapter | None, side: str) -> adapters.Adapter:
    if adapter is None:
        raise StudioError(f"The side {side} needs an adapter.", "Choose an adapter first.")
    return adapter


def _before_the_prompt(messages: Messages, examples: Messages) -> Messages:
    start = 0 if _system_of(messages) is None else 1
    return messages[:start] + examples + messages[start:]


def _system_of(messages: Messages) -> str | None:
    return messages[0]["content"] if messages and messages[0]["role"] == "system" else None
