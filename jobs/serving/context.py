"""How much a base model can read, counted before it is asked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from jobs.base_models import catalogue, weights
from jobs.generation.chat import ChatFormat
from jobs.serving.schema import SideRequest
from storage.errors import StudioError

ROOM_FOR_AN_ANSWER = 64

Messages = list[dict[str, str]]


def check_context(base_model_id: str, requests: Iterable[SideRequest]) -> None:
    """Refuse a conversation that is longer than what the model reads.

    Raises: StudioError with both numbers of tokens.
    """
    for request in requests:
        over = _over(base_model_id, request.messages, 1)
        if over is not None:
            tokens, limit = over
            what = "prompt has" if request.side == "base" else f"prompt for “{request.label}” has"
            raise StudioError(
                f"The {what} {tokens:,} tokens.", f"Shorten it: this model reads at most {limit:,}."
            )


def fits(base_model_id: str, messages: Messages, room: int = ROOM_FOR_AN_ANSWER) -> bool:
    """Whether the model can read the conversation and still write an answer, of `room` tokens at least."""
    return _over(base_model_id, messages, room) is None


def _over(base_model_id: str, messages: Messages, room: int) -> tuple[int, int] | None:
    """How many tokens the conversation has and how many the model reads, where that is too many."""
    folder = catalogue.find(base_model_id).folder
    limit = weights.read_config(folder).get("max_position_embeddings") if folder else None
    if folder is None or limit is None:
        return None
    tokens = len(_chat(folder).prompt_ids(messages))
    return (tokens, limit) if tokens + room > limit else None


@lru_cache(maxsize=2)
def _chat(folder: Path) -> ChatFormat:
    return ChatFormat.load(folder)
