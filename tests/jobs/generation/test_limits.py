"""Where prompts and answers end: at what the model reads, and at the memory there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.generation.engine import Delta, Engine, Request
from jobs.generation.memory import ROOM_STEP, Memory
from storage.errors import StudioError

CONTEXT_TOKENS = 512


@pytest.fixture
def engine(tiny_model: Path) -> Engine:
    return Engine(tiny_model, "cpu", "fp32")


def asked(text: str, most: int | None = None) -> Request:
    return Request("base", {}, [{"role": "user", "content": text}], max_new_tokens=most)


def ends(engine: Engine, requests: list[Request], **options: Any) -> list[Delta]:
    """The last of each request's answer."""
    last: dict[int, Delta] = {}
    for deltas in engine.generate(requests, **options):
        last |= {delta.row: delta for delta in deltas}
    return [last[row] for row in range(len(requests))]


def room(engine: Engine) -> int:
    assert engine._fast is not None and engine._fast._memory is not None
    return engine._fast._memory.room


def test_a_prompt_beyond_the_context_is_refused_and_answers_end_at_it(engine: Engine) -> None:
    with pytest.raises(StudioError, match="512"):
        ends(engine, [asked("x y " * 600)])
    prompt_tokens = len(engine.chat.prompt_ids(asked("x" * 480).messages))
    end = ends(engine, [asked("x" * 480)], max_new_tokens=100)[0]
    assert end.finish_reason == "length" and end.tokens == CONTEXT_TOKENS - prompt_tokens


def test_a_prompt_that_leaves_one_token_gets_one(engine: Engine) -> None:
    others = len(engine.chat.prompt_ids(asked("").messages))
    end = ends(engine, [asked("q" * (CONTEXT_TOKENS - others - 1))], max_new_tokens=100)[0]
    assert (end.prompt_tokens, end.tokens) == (CONTEXT_TOKENS - 1, 1)
    with pytest.raises(StudioError, match=r"The prompt has 512 tokens.*at most 512"):
        ends(engine, [asked("q" * (CONTEXT_TOKENS - others))])


def test_room_is_made_for_no_more_than_the_rows_can_fill(engine: Engine) -> None:
    requests = [asked("q" * 380, 1), asked("fox", 300)]
    most = max(len(engine.chat.prompt_ids(one.messages)) + (one.max_new_tokens or 0) for one in requests)
    next(iter(engine.generate(requests)))
    assert most <= room(engine) < most + ROOM_STEP
    next(iter(engine.generate(requests, max_new_tokens=100_000)))
    next(iter(engine.generate([asked("fox")], max_new_tokens=100_000)))
    assert room(engine) == CONTEXT_TOKENS, "the model reads no more"


def test_too_little_memory_for_the_answers_is_said_in_words(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*sizes: Any) -> Memory:
        raise torch.OutOfMemoryError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(Memory, "of", none_left)
        with pytest.raises(StudioError, match="cpu has too little memory for 3 answers at once"):
            ends(engine, [asked("fox")] * 3)
    assert all(end.done for end in ends(engine, [asked("fox")] * 3, max_new_tokens=4))
