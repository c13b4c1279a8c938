"""Texts made comparable: what counts as the same prompt, and short keys that stand for long texts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from hashlib import blake2b
from typing import Any

Message = dict[str, str]
# Signs that frame a word or end a sentence; inside a number, a word or a formula they mean something and stay.
_BEFORE = "\"“”„«»'‘’`*_¿¡("
_BEHIND = ".,!?;:…\"“”„«»'‘’`*_)"


def prompt_key(example: Any) -> Hashable:
    """The same for examples that open with the same prompt, whatever the case, spacing and punctuation.

    Conversations that grow out of one another share their opening, so they share this key.
    """
    return tuple(normal(message["content"]) for message in opening(example.messages))


def opening(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages up to the first thing that is asked."""
    for number, message in enumerate(messages, start=1):
        if message["role"] == "user":
            return messages[:number]
    return messages


def normal(text: str) -> str:
    """The text without differences in case, spacing, and the punctuation around words."""
    text = text.casefold()
    if " * " in text:
        text = text.replace(" * ", " × ")  # a sign of its own here, not a frame
    return " ".join([bare for word in text.split() if (bare := word.rstrip(_BEHIND).lstrip(_BEFORE))])


def words(text: str) -> frozenset[str]:
    """A set of words from a list of them in one text."""
    return frozenset(text.split())


def key(*parts: str) -> int:
    """64 bits that stand for texts."""
    data = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
