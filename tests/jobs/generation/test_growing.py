"""The text of an answer comes token by token as it is as a whole, and no token costs more than the one before."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models

from jobs.generation.chat import ChatFormat
from jobs.generation.growing import UNFINISHED_CHARACTER, GrowingText

WORDS = ["the", " fox", "  ", "\n\n", "ü", " naïve", "日本語", "🦊", "👩‍👩‍👧", "é", ".", " <b>", "\t", "ﷺ"]


def told(chat: Any, token_ids: Sequence[int]) -> list[str]:
    growing = GrowingText(chat)
    ends = range(1, len(token_ids) + 1)
    return [growing.news(token_ids[:end], is_whole=end == len(token_ids)) for end in ends]


@pytest.fixture(scope="module")
def byte_level(tiny_model: Path) -> ChatFormat:
    return ChatFormat.load(tiny_model)


def with_blanks_before_words() -> Any:
    """Tokens as Llama 2 has them: a blank before the first word is none, and unknown characters are bytes."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁the", "▁fox", "fox", "."]
    tokenizer = Tokenizer(models.BPE({piece: n for n, piece in enumerate(pieces)}, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


@pytest.mark.parametrize("seed", range(8))
def test_the_pieces_are_the_whole(byte_level: ChatFormat, seed: int) -> None:
    text = "".join(random.Random(seed).choices(WORDS, k=300))
    token_ids = byte_level._tokenizer.encode(text, add_special_tokens=False).ids
    pieces = told(byte_level, token_ids)
    assert "".join(pieces) == text and len(token_ids) > 400
    assert not any(UNFINISHED_CHARACTER in piece for piece in pieces)


@pytest.mark.parametrize("seed", range(4))
def test_blanks_and_bytes_of_any_kind_stay_where_they_are(seed: int) -> None:
    tokenizer = with_blanks_before_words()
    fox = [1 + byte for byte in "🦊".encode()]
    some = [[258], [259], [260], [257, 257, 258], fox, [261]]
    token_ids = [token for piece in random.Random(seed).choices(some, k=300) for token in piece]
    assert "".join(told(tokenizer, token_ids)) == tokenizer.decode(token_ids)


@pytest.mark.parametrize("text", ["日本語" * 60, "日é🦊" * 50, "🦊日" * 60, "fox 👩‍👩‍👧" * 20])
def test_a_character_whose_bytes_are_tokens_is_never_torn(text: str) -> None:
    """A run of bytes says nothing of what it holds if it begins in the middle of a character."""
    tokenizer = with_blanks_before_words()
    known = {"fox": [260], " ": [257]}
    token_ids = [
        token
        for one in re.findall("fox|.", text)
        for token in known.get(one) or [1 + b for b in one.encode()]
    ]
    decoded: list[int] = []

    class Counting:
        def decode(self, token_ids: Sequence[int]) -> str:
            decoded.append(len(token_ids))
            return str(tokenizer.decode(token_ids))

    assert "".join(told(Counting(), token_ids)) == tokenizer.decode(token_ids) == text
    assert len(token_ids) > 200 and max(decoded) < 100


def test_a_blank_behind_tokens_that_say_nothing_stays() -> None:
    """As behind many tokens that only steer a model: a word that seems to be the first has no blank before it."""
    tokenizer = with_blanks_before_words()
    tokenizer.add_special_tokens(["<steer>"])
    steer = tokenizer.token_to_id("<steer>")
    token_ids = [258, *[steer] * 100, 259, 258]
    assert "".join(told(tokenizer, token_ids)) == tokenizer.decode(token_ids) == "the fox the"


def test_bytes_that_never_become_a_character_are_told_at_the_end(byte_level: ChatFormat) -> None:
    half = byte_level._tokenizer.encode("🦊", add_special_tokens=False).ids[:-1]
    token_ids = half * 60
    pieces = told(byte_level, token_ids)
    assert "".join(pieces) == byte_level.decode(token_ids) and UNFINISHED_CHARACTER in pieces[-1]


def test_no_token_of_a_long_answer_costs_more_than_an_early_one(byte_level: ChatFormat) -> None:
    decoded: list[int] = []

    class Counting:
        def decode(self, token_ids: Sequence[int]) -> str:
            decoded.append(len(token_ids))
            return byte_level.decode(token_ids)

    text = " fox the 🦊 日本語" * 100
    token_ids = byte_level._tokenizer.encode(text, add_special_tokens=False).ids
    assert "".join(told(Counting(), token_ids)) == text
    assert len(token_ids) > 1000 and max(decoded) < 100
